"""Numbers that mark a missing value, such as -999, as instruments and archives write them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Numbers that stand for a missing value in many files.
_PLACEHOLDERS = (-99.0, -99.9, -99.99, -999.0, -999.9, -999.99, -9999.0, -9999.9, -99999.0)
#: Distance from all other values, in multiples of their range, from which one is no measurement.
_FAR = 3.0


def find_placeholder(values: NDArray[np.float64]) -> float | None:
    """Return the number that marks missing values in a column, or None.

    It lies far from all other values, or below 0 where these are not.

    >>> find_placeholder(np.array([12.0, 13.5, -999.0, 12.5, 14.0]))
    -999.0
    >>> find_placeholder(np.array([-1200.0, -999.0, 300.0]))
    """
    present = values[np.isfinite(values)]
    if not len(present) or (lowest := float(present.min())) not in _PLACEHOLDERS:
        return None
    others = present[present > lowest]
    if len(others) < 2 or len(others) < len(present) / 2:
        return None
    smallest, largest = float(others.min()), float(others.max())
    is_far = smallest - lowest > _FAR * (largest - smallest)
    is_below_zero = smallest >= 0.0 and len(present) - len(others) > 1
    return lowest if is_far or is_below_zero else None
