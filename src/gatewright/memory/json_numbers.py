"""Convert results to the types of JSON."""

from __future__ import annotations

import math
from typing import Any


def plain(value: Any) -> Any:
    """Round the numbers of nested results to six digits; infinities and NaN become strings.

    >>> plain({2: (0.123456789, float("inf"))})
    {'2': [0.123457, 'inf']}
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    return value
