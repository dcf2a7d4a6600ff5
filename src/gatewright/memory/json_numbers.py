"""Results in JSON's types."""

from __future__ import annotations

import math
from typing import Any


def plain(given: Any) -> Any:
    """Mappings and sequences of numbers: six digits, and as a string what JSON has no number for.

    >>> plain({2: (0.123456789, float("inf"))})
    {'2': [0.123457, 'inf']}
    """
    if isinstance(given, dict):
        return {str(key): plain(value) for key, value in given.items()}
    if isinstance(given, list | tuple):
        return [plain(one) for one in given]
    if isinstance(given, float):
        return float(f"{given:.6g}") if math.isfinite(given) else str(given)
    return given
