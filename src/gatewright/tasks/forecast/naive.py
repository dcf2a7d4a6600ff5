"""Forecasts that learn next to nothing: the last value, that of a season ago, the usual one.

Persistence and the seasonal naive forecast are the textbook's: the median is the value that is
repeated. A corrected one adds the median error that it has made before, which is a drift.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.calendar.periods import calendar_values
from gatewright.tasks.forecast.quantiles import LEVELS, MEDIAN
from gatewright.tasks.forecast.windows import Windows, stretch
from gatewright.tasks.task import Baseline, Fitted

if TYPE_CHECKING:
    from gatewright.tasks.forecast.task import Forecast

#: How far from its place in the year a step is still like it, in shares of the year.
NEAR = 15 / 365
#: Far less than a step in any cycle, and far more than the digits of a phase.
ROUNDING = 1e-9
#: Errors of a series that are enough to tell how they spread.
LEAST = 20


def naive_baselines(task: Forecast) -> list[Baseline]:
    """Persistence, the seasonal naive forecast where there is a season, and climatology.

    The one that repeats the most, in addition, with its usual error taken off.
    """
    title, about = "persistence", "The last value goes on."
    baselines = [_repeat(task, title, about, 1)]
    if task.season > 1:
        title, about = "seasonal naive", f"What was {task.season} steps before."
        baselines.append(_repeat(task, title, about, task.season))
    about = f"{about.removesuffix('.')}, and its median error added."
    baselines.append(_repeat(task, f"{title}, corrected", about, task.season, corrected=True))
    about = "The usual values at this time of the year and the day, and how they spread."
    if not task.calendar:
        about = "The usual values at this place in the season, and how they spread."
    baselines.append(Baseline("climatology", "climatology", about, lambda t, _: _climate(task, t)))
    return baselines


def around(
    point: NDArray[np.float64],
    series: NDArray[np.int64],
    residuals: NDArray[np.float64],
    seen: NDArray[np.int64],
) -> NDArray[np.float64]:
    """(N, H, K, Q), from forecasts (N, H, K) and the errors (M, H, K) that such ones have made.

    `series` (N,) and `seen` (M,) say which series each is of: a series has the spread of its own
    errors, or of all where it has fewer than `LEAST`.
    """
    quantiles = np.empty((*point.shape, len(LEVELS)))
    for one in np.unique(series):
        own = residuals[seen == one]
        spread = np.quantile(own if len(own) >= LEAST else residuals, LEVELS, axis=0)  # (Q, H, K)
        here = series == one
        quantiles[here] = point[here, ..., None] + np.moveaxis(spread, 0, -1)
    return quantiles


def _repeat(
    task: Forecast, title: str, about: str, season: int, *, corrected: bool = False
) -> Baseline:
    def point(windows: Windows) -> NDArray[np.float64]:
        ahead = np.arange(task.horizon)
        back = season * (ahead // season + 1)  # so many seasons that it is known
        rows = windows.origins[:, None] + ahead - back
        last = windows.origins[:, None] - 1
        rows = np.where(rows >= windows.first[:, None], rows, last)
        values: NDArray[np.float64] = windows.values[:, list(windows.targets)][rows]
        return values

    def fit(training: Any, _: Any) -> Fitted:
        windows = task.batches(training)
        # Where no season lies before a window yet, the last value stands in: not learned from.
        whole = windows.origins - windows.first >= season
        seen = windows.take(np.flatnonzero(whole)) if whole.any() else windows
        residuals = seen.truth - point(seen)

        def forecast(part: Any) -> NDArray[np.float64]:
            windows = task.batches(part)
            repeated = point(windows)
            quantiles = around(repeated, windows.series, residuals, seen.series)
            if not corrected:
                quantiles += (repeated - quantiles[..., MEDIAN])[..., None]
            return task.bounded(quantiles)

        return Fitted(forecast, 0)

    return Baseline(title.replace(",", "").replace(" ", "_"), title, about, fit)


def _climate(task: Forecast, training: Any) -> Fitted:
    """Of each step, the quantiles of its series' values that lie near it in their cycles."""
    series = stretch(training).series
    at, ends = task.positions(task.targets), np.cumsum(series.lengths)
    values = [one[:, at] for one in series.values]
    phases = np.split(_phases(task, training), ends[:-1])

    def predict(part: Any) -> NDArray[np.float64]:
        windows = task.batches(part)
        rows = windows.origins[:, None] + np.arange(task.horizon)
        wanted, place = np.unique(rows, return_inverse=True)
        of = np.atleast_1d(windows.begins.searchsorted(wanted, side="right")) - 1
        asked = _phases(task, part)[wanted]
        usual = np.empty((len(wanted), len(at), len(LEVELS)))
        for one in np.unique(of):
            usual[of == one] = _quantiles(values[one], phases[one], asked[of == one])
        found: NDArray[np.float64] = usual[place.reshape(rows.shape)]
        return found

    return Fitted(predict, None)


def _quantiles(
    values: NDArray[np.float64], phases: NDArray[np.float64], asked: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(A, K, Q), of the values (T, K) whose phases (T, cycles) are near those asked (A, cycles).

    The values are sorted by one cycle first, so that only a slice of them is looked through.
    """
    asked, places = np.unique(asked, axis=0, return_inverse=True)  # a season repeats its phases
    cycle = int(np.argmax([len(np.unique(column)) for column in phases.T]))
    order = np.argsort(phases[:, cycle], kind="stable")
    # The circle opened: a turn before and a turn after, so that no slice runs over its ends.
    turns = np.concatenate([phases[order, cycle] + turn for turn in (-1.0, 0.0, 1.0)])
    usual = np.empty((len(asked), values.shape[1], len(LEVELS)))
    lows = np.searchsorted(turns, asked[:, cycle] - NEAR - ROUNDING)
    highs = np.searchsorted(turns, asked[:, cycle] + NEAR + ROUNDING)
    for row, (low, high) in enumerate(zip(lows, highs, strict=True)):
        candidates = order[np.arange(low, high) % len(order)]
        apart = np.abs(phases[candidates] - asked[row])
        apart = np.minimum(apart, 1.0 - apart)  # each phase is a circle
        near = candidates[(apart <= NEAR).all(1)]
        usual[row] = np.quantile(values[near] if len(near) else values, LEVELS, axis=0).T
    unique: NDArray[np.float64] = usual[places.reshape(-1)]
    return unique


def _phases(task: Forecast, part: Any) -> NDArray[np.float64]:
    """(all steps, cycles), where each step stands in each cycle, from 0 to 1."""
    series = stretch(part).series
    if not task.calendar:
        places = [np.arange(len(one)) % task.season / task.season for one in series.values]
        return np.concatenate(places)[:, None]
    cycles = tuple(one for one in task.calendar if one != "day of week") or task.calendar
    waves = np.concatenate([calendar_values(times, cycles) for times in series.times])
    angles = np.arctan2(waves[:, 0::2], waves[:, 1::2])
    phases: NDArray[np.float64] = angles / (2 * np.pi) % 1.0
    return phases
