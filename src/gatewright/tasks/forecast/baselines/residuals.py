"""Quantiles around point forecasts, from the errors that the same method made before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gatewright.tasks.forecast.metrics import LEVELS

#: Errors of a series that are enough to estimate its own spread; below, those of all are used.
MIN_ERRORS = 20


def around(
    point: NDArray[np.float64],
    series: NDArray[np.int64],
    residuals: NDArray[np.float64],
    residual_series: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return quantiles (N, H, K, Q): point forecasts plus the quantiles of past errors.

    Args:
        point: Point forecasts (N, H, K).
        series: The series of each forecast, (N,).
        residuals: Past errors (M, H, K), truth minus forecast.
        residual_series: The series of each error, (M,).
    """
    quantiles = np.empty((*point.shape, len(LEVELS)))
    for position in np.unique(series):
        own = residuals[residual_series == position]
        sample = own if len(own) >= MIN_ERRORS else residuals
        spread = np.quantile(sample, LEVELS, axis=0)  # (Q, H, K)
        rows = series == position
        quantiles[rows] = point[rows, ..., None] + np.moveaxis(spread, 0, -1)
    return quantiles
