"""Quantiles around the base, from the errors that it made at rolling origins.

Each error was made by a base that had not seen the truth. Few errors say little about an outer
quantile, so the levels are corrected for the number of independent errors: then an interval for
80 % is expected to hold 80 % of new values, as long as these are like the old ones.
"""

from __future__ import annotations

import numpy as np

from gatewright.tasks.forecast.base.frame import Array
from gatewright.tasks.forecast.metrics import LEVELS, MEDIAN

#: Independent errors from which each step of the horizon has quantiles of its own. With fewer, all
#: steps share the shape of the distribution, and only its scale is that of the step.
OWN_QUANTILES = 60
#: Half of the narrowest interval, in units of the window.
ROUNDING = 1e-5


def independent(windows: int, horizon: int) -> float:
    """Return the number of independent errors among those of overlapping windows.

    Errors h steps ahead are dependent up to h origins apart: (H + 1) / 2 in the mean over the
    steps. The shape of their distribution is shared by all steps, which counts twice.
    """
    return max(4.0 * windows / (horizon + 1), 2.0)


def corrected(level: float, count: float) -> float:
    """Return the level whose sample quantile is expected to hold `level` of a new value.

    The k-th of n errors in order holds k / (n + 1) of new ones, in expectation.

    >>> corrected(0.9, 1e6) < 0.9001, round(corrected(0.9, 21), 3), corrected(0.9, 5)
    (True, 0.94, 1.0)
    """
    return float(np.clip((level * (count + 1.0) - 1.0) / (count - 1.0), 0.0, 1.0))


def error_quantiles(errors: Array, count: float, *, shift: bool) -> Array:
    """Return quantiles (H, Q) of errors (N, H), truth minus forecast.

    Args:
        errors: Errors at N origins.
        count: The number of independent ones.
        shift: Whether the median error is added to the forecasts; else the median is 0.
    """
    levels = [corrected(level, count) for level in LEVELS]
    if count >= OWN_QUANTILES:
        quantiles = np.quantile(errors, levels, axis=0).T
    else:
        scale = smoothed(np.abs(errors).mean(0)) + 1e-12
        shape = np.quantile(errors / scale, levels)
        quantiles = scale[:, None] * shape
    if not shift:
        quantiles = quantiles - quantiles[:, MEDIAN : MEDIAN + 1]
    # A series that repeats exactly has no errors, but the model rounds to float32.
    result: Array = quantiles + ROUNDING * np.linspace(-1.0, 1.0, len(LEVELS))
    return result


def smoothed(scale: Array) -> Array:
    """Return the mean with both neighbours; the ends keep a larger share of their own."""
    padded = np.pad(scale, 1, mode="edge")
    smooth: Array = (padded[:-2] + 2.0 * padded[1:-1] + padded[2:]) / 4.0
    return smooth


def pinball_sum(errors: Array, quantiles: Array) -> Array:
    """Return the pinball loss (N,) of quantiles (N or 1, H, Q) of the errors (N, H)."""
    levels = np.array(LEVELS)
    rest = errors[..., None] - quantiles
    loss: Array = np.maximum(levels * rest, (levels - 1.0) * rest).mean((1, 2))
    return loss
