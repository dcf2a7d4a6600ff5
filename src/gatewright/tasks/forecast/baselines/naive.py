"""Forecasts that repeat earlier values: persistence and the seasonal naive forecast.

Both are the textbook's: the median is the repeated value itself. The corrected variant adds the
median error of the training part, which is its drift.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.tasks.baseline import Baseline, Fitted
from gatewright.tasks.forecast.baselines.residuals import around
from gatewright.tasks.forecast.metrics import MEDIAN
from gatewright.tasks.forecast.spec import ForecastSpec
from gatewright.tasks.forecast.windows import Windows


def naive_baselines(spec: ForecastSpec) -> list[Baseline]:
    """Return persistence, the seasonal naive forecast if there is a season, and the corrected one.

    The corrected one is the seasonal naive forecast, or persistence where there is no season.
    """
    title, about = "persistence", "The last value is repeated"
    baselines = [_repeat(spec, title, f"{about}.", 1)]
    if spec.season > 1:
        title, about = "seasonal naive", f"The value {spec.season} steps earlier is repeated"
        baselines.append(_repeat(spec, title, f"{about}.", spec.season))
    about = f"{about}, with its median error added."
    baselines.append(_repeat(spec, f"{title}, corrected", about, spec.season, corrected=True))
    return baselines


def _repeat(
    spec: ForecastSpec, title: str, about: str, season: int, *, corrected: bool = False
) -> Baseline:
    def point(windows: Windows) -> NDArray[np.float64]:
        ahead = np.arange(spec.horizon)
        # Beyond the first season ahead, go back as many seasons as it takes to a known value.
        back = season * (ahead // season + 1)
        rows = windows.origins[:, None] + ahead - back
        last = windows.origins[:, None] - 1
        rows = np.where(rows >= windows.first[:, None], rows, last)
        values: NDArray[np.float64] = windows.values[:, list(windows.targets)][rows]
        return values

    def fit(training: Any, _: Any) -> Fitted:
        windows = spec.windows(training)
        # Before the end of the first season the last value is the fallback; its errors are those
        # of another method, so they are used only where there are no others.
        seasonal = windows.origins - windows.first >= season
        sample = windows.take(np.flatnonzero(seasonal)) if seasonal.any() else windows
        residuals = sample.truth - point(sample)

        def forecast(part: Any) -> NDArray[np.float64]:
            windows = spec.windows(part)
            repeated = point(windows)
            quantiles = around(repeated, windows.series, residuals, sample.series)
            if not corrected:
                quantiles += (repeated - quantiles[..., MEDIAN])[..., None]
            return spec.bounded(quantiles)

        return Fitted(forecast, 0)

    return Baseline(title.replace(",", "").replace(" ", "_"), title, about, fit)
