"""Missing values: how a cell marks one, and how they are filled."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Fill = Literal["linear", "previous", "drop"]

#: Share of the values of a column, and of the steps of a series, that may be missing where nobody
#: said how to fill them: they are interpolated, with a note. More would be made up.
MAX_FILLED = 0.25

# Cells that mean "no number" or "no time", in lower case ...
NO_VALUE = frozenset({"", "na", "n/a", "nan", "<na>", "nat", "null", "none", "?", "-", ".", "#n/a"})
# ... and "no name". "none" is left out because it may be the name of a class.
NO_NAME = NO_VALUE - {"none", "-", "."}


def is_missing(cell: str) -> bool:
    """Return True if the cell means that there is no number or time."""
    return cell.strip().lower() in NO_VALUE


def fill_missing(
    values: NDArray[np.float64], times: NDArray[Any], fill: Fill
) -> NDArray[np.float64]:
    """Return a copy (T, C) in which NaN and infinity are replaced, channel by channel.

    "linear" interpolates between the neighbours in time and repeats the first and the last
    value at the ends. "previous" repeats the last value, so a gap at the start stays. A channel
    without any value stays empty.

    >>> gap = np.array([[1.0], [np.nan], [4.0]])
    >>> fill_missing(gap, np.array([0, 1, 3]), "linear").ravel()
    array([1., 2., 4.])
    >>> fill_missing(gap, np.array([0, 1, 3]), "previous").ravel()
    array([1., 1., 4.])
    """
    result = np.array(values)
    # Distances from the first time: nanoseconds since 1970 would lose digits in float64.
    elapsed = (times - times[:1]).astype(np.float64)
    for channel in result.T:
        present = np.flatnonzero(np.isfinite(channel))
        if not len(present) or len(present) == len(channel):
            continue
        if fill == "linear":
            channel[:] = np.interp(elapsed, elapsed[present], channel[present])
        else:
            latest = np.searchsorted(present, np.arange(len(channel)), side="right") - 1
            has_value = latest >= 0
            channel[has_value] = channel[present[latest[has_value]]]
    return result
