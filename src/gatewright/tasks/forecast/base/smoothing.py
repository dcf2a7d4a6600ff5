"""Exponential smoothing of a window as a matrix: its forecasts are linear in the window's values.

With fixed smoothing constants, an additive exponential smoothing (Hyndman et al. 2008) is linear
in the values and in its first state; the first state with the smallest squared one-step errors is
linear in the values, too. So the whole method is one matrix from W values to H forecasts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

#: Penalty on the first state except its level, in squared units of the values: it decides where a
#: window is too short to determine trend and seasons, and hardly matters elsewhere.
PENALTY = 1e-2


@dataclass(frozen=True, slots=True)
class Smoothing:
    """The constants of an exponential smoothing; a constant of 0 with no state leaves it out."""

    level: float  # alpha
    trend: float | None = None  # beta; None where there is no trend
    damping: float = 1.0  # phi
    seasonal: float | None = None  # gamma; None where there are no seasons

    def matrix(self, window: int, horizon: int, season: int) -> NDArray[np.float64]:
        """Return the matrix (H, W) from the values of a window to the forecasts.

        >>> Smoothing(1.0).matrix(4, 2, 1).round(6) + 0.0
        array([[0., 0., 0., 1.],
               [0., 0., 0., 1.]])
        """
        return _matrix(self, window, horizon, season)


@lru_cache(maxsize=4096)
def _matrix(smoothing: Smoothing, window: int, horizon: int, season: int) -> NDArray[np.float64]:
    step, reads, gain, penalties = _state_space(smoothing, season)
    size = len(gain)
    # The state as a linear function of (first state, values), and so are the one-step errors.
    state = np.hstack([np.eye(size), np.zeros((size, window))])
    errors = np.empty((window, size + window))
    for t in range(window):
        errors[t] = -(reads @ state)
        errors[t, size + t] += 1.0
        state = step @ state + np.outer(gain, errors[t])
    first, values = errors[:, :size], errors[:, size:]
    # The level starts near the first value, so that the forecasts move with the values.
    anchor = np.zeros((size, window))
    anchor[0, 0] = 1.0
    weights = np.diag(penalties)
    solution = np.linalg.solve(first.T @ first + weights, -first.T @ values + weights @ anchor)
    state = state[:, :size] @ solution + state[:, size:]
    forecasts = np.empty((horizon, window))
    for h in range(horizon):
        forecasts[h] = reads @ state
        state = step @ state
    return forecasts


def _state_space(smoothing: Smoothing, season: int) -> tuple[NDArray[np.float64], ...]:
    """Return transition (S, S), reading (S,), gain (S,) and the penalties of the first state (S,).

    The state is the level, the trend if there is one, and the seasons, the next one first.
    """
    trend, seasonal = smoothing.trend is not None, smoothing.seasonal is not None
    size = 1 + trend + (season if seasonal else 0)
    step, reads, gain = np.zeros((size, size)), np.zeros(size), np.zeros(size)
    step[0, 0] = reads[0] = 1.0
    gain[0] = smoothing.level
    penalties = np.full(size, PENALTY)
    penalties[0] = 1e-8  # it only keeps the solution unique
    if trend:
        step[0, 1] = step[1, 1] = reads[1] = smoothing.damping
        gain[1] = smoothing.trend
    if seasonal:
        seasons = np.arange(1 + trend, size)
        reads[seasons[0]] = 1.0
        step[seasons, np.roll(seasons, -1)] = 1.0  # the next season moves to the front
        gain[seasons[-1]] = smoothing.seasonal
    return step, reads, gain, penalties
