"""Climatology: the distribution of past values at the same time of the year and of the day."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.calendar.periods import calendar_values
from gatewright.tasks.baseline import Baseline, Fitted
from gatewright.tasks.forecast.metrics import LEVELS
from gatewright.tasks.forecast.spec import ForecastSpec
from gatewright.tasks.forecast.windows import stretch

#: Largest distance of two steps that count as the same time, in every cycle, as a share of it:
#: 15 days of a year.
NEAR = 15 / 365
#: Tolerance of the first search: far below a step in any cycle, far above rounding of a phase.
ROUNDING = 1e-9


def climatology(spec: ForecastSpec) -> Baseline:
    """Return the baseline; the cycles are those of the calendar, or else the season."""
    about = "The usual values at this time of the year and the day, and how they spread."
    if not spec.calendar:
        about = "The usual values at this place in the season, and how they spread."
    return Baseline("climatology", "climatology", about, lambda training, _: _fit(spec, training))


def _fit(spec: ForecastSpec, training: Any) -> Fitted:
    """Store values and phases; a forecast is the quantiles of its series' values near in phase."""
    series = stretch(training).series
    targets, ends = spec.positions(spec.targets), np.cumsum(series.lengths)
    values = [channels[:, targets] for channels in series.values]
    phases = np.split(_phases(spec, training), ends[:-1])

    def predict(part: Any) -> NDArray[np.float64]:
        windows = spec.windows(part)
        rows = windows.origins[:, None] + np.arange(spec.horizon)
        # Windows overlap, so each step is computed once and then copied to all of them.
        steps, place = np.unique(rows, return_inverse=True)
        owner = np.atleast_1d(windows.begins.searchsorted(steps, side="right")) - 1
        step_phases = _phases(spec, part)[steps]
        usual = np.empty((len(steps), len(targets), len(LEVELS)))
        for position in np.unique(owner):
            own = owner == position
            usual[own] = _quantiles(values[position], phases[position], step_phases[own])
        quantiles: NDArray[np.float64] = usual[place.reshape(rows.shape)]
        return quantiles

    return Fitted(predict, None)


def _quantiles(
    values: NDArray[np.float64], phases: NDArray[np.float64], steps: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return quantiles (A, K, Q) of the values near each of A steps in all cycles.

    The values are sorted by their phase in one cycle, so that each search is only in a slice.

    Args:
        values: Values (T, K).
        phases: Their phases (T, cycles).
        steps: Phases of the steps to forecast, (A, cycles).
    """
    steps, places = np.unique(steps, axis=0, return_inverse=True)  # a season repeats its phases
    # The cycle with the most different phases has the shortest slices.
    cycle = int(np.argmax([len(np.unique(column)) for column in phases.T]))
    order = np.argsort(phases[:, cycle], kind="stable")
    # Three turns of the circle of phases, so that no slice crosses its ends.
    turns = np.concatenate([phases[order, cycle] + turn for turn in (-1.0, 0.0, 1.0)])
    usual = np.empty((len(steps), values.shape[1], len(LEVELS)))
    lows = np.searchsorted(turns, steps[:, cycle] - NEAR - ROUNDING)
    highs = np.searchsorted(turns, steps[:, cycle] + NEAR + ROUNDING)
    for row, (low, high) in enumerate(zip(lows, highs, strict=True)):
        candidates = order[np.arange(low, high) % len(order)]
        apart = np.abs(phases[candidates] - steps[row])
        apart = np.minimum(apart, 1.0 - apart)  # each phase is on a circle of length 1
        near = candidates[(apart <= NEAR).all(1)]
        usual[row] = np.quantile(values[near] if len(near) else values, LEVELS, axis=0).T
    quantiles: NDArray[np.float64] = usual[places.reshape(-1)]
    return quantiles


def _phases(spec: ForecastSpec, part: Any) -> NDArray[np.float64]:
    """Return the phase of each step in each cycle, (all steps, cycles), from 0 to 1."""
    series = stretch(part).series
    if not spec.calendar:
        places = [np.arange(len(values)) % spec.season / spec.season for values in series.values]
        return np.concatenate(places)[:, None]
    # The day of the week would leave a seventh of the values; it is used only without others.
    cycles = tuple(name for name in spec.calendar if name != "day of week") or spec.calendar
    waves = np.concatenate([calendar_values(times, cycles) for times in series.times])
    angles = np.arctan2(waves[:, 0::2], waves[:, 1::2])
    phases: NDArray[np.float64] = angles / (2 * np.pi) % 1.0
    return phases
