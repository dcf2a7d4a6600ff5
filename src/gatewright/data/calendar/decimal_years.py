"""Decimal years, as R writes the times of a monthly or quarterly series: 1990.25 is April 1990."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_FIRST, _LAST = 1600.0, 2200.0
#: Months that a rounded number may be below its month: 1990.08 is February.
_ROUNDING = 0.06
#: Share of a month that a step may be off whole months: 1990.08 follows 1990, as both are rounded.
_MAX_OFF = 0.13
#: Share of a month that the times may differ by within their months.
_MAX_SPREAD = 0.5


def from_decimal_years(years: NDArray[Any]) -> NDArray[Any] | None:
    """Return the first days of the months that these numbers lie in, (T,) datetime64[ns].

    The result is None for other numbers: whole years, numbers that are no years, ones that are not
    whole months apart, or that lie now at the start and now at the end of their month.

    >>> from_decimal_years(np.array([1990.0, 1990.25, 1990.5])).astype("datetime64[M]")
    array(['1990-01', '1990-04', '1990-07'], dtype='datetime64[M]')
    >>> from_decimal_years(np.array([1990.0, 1990.1, 1990.2])) is None
    True
    """
    different = np.unique(years)
    if years.dtype.kind != "f" or len(different) < 2 or not np.isfinite(different).all():
        return None
    if different[0] < _FIRST or different[-1] >= _LAST or (different % 1.0 == 0.0).all():
        return None
    steps = 12.0 * np.diff(different)
    if (np.abs(steps - np.round(steps)) > _MAX_OFF).any():
        return None
    months = np.floor(12.0 * different + _ROUNDING)
    if np.ptp(12.0 * different - months) > _MAX_SPREAD or (np.diff(months) == 0.0).any():
        return None
    numbers = np.floor(12.0 * years + _ROUNDING).astype(np.int64) - 12 * 1970
    return np.asarray(numbers.astype("datetime64[M]").astype("datetime64[ns]"))
