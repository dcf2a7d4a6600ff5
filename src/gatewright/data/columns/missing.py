"""What is missing in a table: how a cell says so, and how it is filled."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Fill = Literal["linear", "previous", "drop"]

# How tables write that there is no number or time, in lower case ...
NO_VALUE = frozenset({"", "na", "n/a", "nan", "<na>", "nat", "null", "none", "?", "-", ".", "#n/a"})
# ... and no name: "none" may well be the name of a class.
NO_NAME = NO_VALUE - {"none", "-", "."}


def is_missing(cell: str) -> bool:
    """Does the cell say that there is no number or time?"""
    return cell.strip().lower() in NO_VALUE


def filled(values: NDArray[np.float64], times: NDArray[Any], how: Fill) -> NDArray[np.float64]:
    """(T, C): a copy in which what is not finite is filled, channel by channel.

    "linear" draws a line between the neighbours in time, and goes on level before the first
    and after the last; "previous" repeats the last value, so that a gap at the beginning
    stays. A channel without any value stays empty as well.

    >>> gap = np.array([[1.0], [np.nan], [4.0]])
    >>> filled(gap, np.array([0, 1, 3]), "linear").ravel()
    array([1., 2., 4.])
    >>> filled(gap, np.array([0, 1, 3]), "previous").ravel()
    array([1., 1., 4.])
    """
    filled = np.array(values)
    # As distances from the first: nanoseconds since 1970 would lose digits in float64.
    along = (times - times[:1]).astype(np.float64)
    for channel in filled.T:
        there = np.flatnonzero(np.isfinite(channel))
        if not len(there) or len(there) == len(channel):
            continue
        if how == "linear":
            channel[:] = np.interp(along, along[there], channel[there])
        else:
            last = np.searchsorted(there, np.arange(len(channel)), side="right") - 1
            after = last >= 0
            channel[after] = channel[there[last[after]]]
    return filled
