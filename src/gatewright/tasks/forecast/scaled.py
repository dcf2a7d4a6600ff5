"""Errors of a forecast in units of each series: what makes the large and the small comparable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gatewright.data import Series
from gatewright.errors import DataError
from gatewright.tasks.forecast.windows import Windows

#: A seasonal change smaller than this, beside that of one step, is one of float32's digits.
ROUNDING = 1e-6


def naive_error(training: Series, season: int) -> tuple[tuple[float, ...], ...]:
    """Of each series and target, (N, K), the mean absolute change over a season.

    Over a step where the series is shorter than two seasons. 0 where it never changes.

    Raises:
        DataError: if a target changes in no series.
    """
    at = training.target_positions
    error = np.stack([_change(values[:, at], season) for values in training.values])
    for name, one in zip(training.targets, error.T, strict=True):
        if not one.any():
            raise DataError(
                f"{name} of {training.name} never changes: there is nothing to forecast; "
                "leave it out of the targets"
            )
    return tuple(map(tuple, error.tolist()))


def _change(values: NDArray[np.float64], season: int) -> NDArray[np.float64]:
    """(K,), from the values (T, K) of one series."""

    def over(lag: int) -> NDArray[np.float64]:
        change: NDArray[np.float64] = np.abs(values[lag:] - values[:-lag]).mean(0)
        return change

    if len(values) < 2:
        return np.zeros(values.shape[1])
    step = over(1)
    if len(values) <= 2 * season:
        return step
    # A target that repeats itself has no seasonal error to be divided by but rounding.
    seasonal = over(season)
    return np.where(seasonal > ROUNDING * step, seasonal, step)


def scaled(
    errors: Mapping[str, NDArray[np.float64]],
    windows: Windows,
    naive: Sequence[Sequence[float]],
) -> dict[str, float]:
    """Errors of windows (N, K), each over the naive error (S, K) of its series and target.

    The mean over the windows of a series, then over the series, then over the targets
    (Hyndman and Koehler 2006, section 3). A series that never changed while one could learn
    from it has no unit to be measured in, and does not count.

    Raises:
        DataError: if that is true of every series that has a window.
    """
    there, of = np.unique(windows.series, return_inverse=True)
    units = np.array(naive)[there]
    moves = units > 0.0
    if not moves.any(0).all():
        raise DataError(
            "a target never changes in any series that is long enough to be measured on: there "
            "is nothing to measure its errors in; leave it out of the targets"
        )
    units[~moves] = 1.0
    found = {}
    for name, one in errors.items():
        sums = np.stack([np.bincount(of, weights=target) for target in one.T], axis=1)
        own = sums / np.bincount(of)[:, None] / units
        found[name] = float(own.mean(0, where=moves).mean())
    return found


def floors(training: Series) -> tuple[float | None, ...]:
    """Of each target, 0 where it goes down to 0 and never below, as rain and counts do."""
    lowest = np.min([one[:, training.target_positions].min(0) for one in training.values], axis=0)
    return tuple(0.0 if low == 0.0 else None for low in lowest)
