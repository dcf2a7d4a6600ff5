"""The simple forecasts that a network has to beat, from the simplest on."""

from __future__ import annotations

from gatewright.tasks.baseline import Baseline
from gatewright.tasks.forecast.baselines.climatology import climatology
from gatewright.tasks.forecast.baselines.lags import lag_baselines
from gatewright.tasks.forecast.baselines.naive import naive_baselines
from gatewright.tasks.forecast.spec import ForecastSpec


def forecast_baselines(spec: ForecastSpec) -> list[Baseline]:
    """Return all baselines of a forecast, including those that cannot run here."""
    return [*naive_baselines(spec), climatology(spec), *lag_baselines(spec)]
