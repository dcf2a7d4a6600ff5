"""The checked build: kernels whose every access is compared with the bounds of its buffer."""

from __future__ import annotations

import os
from functools import cache


@cache
def checked() -> bool:
    """Tell if this process uses the checked build: `GATEWRIGHT_CHECKED=1` asks for it."""
    return os.environ.get("GATEWRIGHT_CHECKED", "") not in ("", "0")
