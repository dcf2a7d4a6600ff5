"""The simple forecasts that a network has to beat, from the simplest on."""

from __future__ import annotations

from gatewright.tasks.baseline import Baseline
from gatewright.tasks.forecast.base.base import Base
from gatewright.tasks.forecast.baselines.climatology import climatology
from gatewright.tasks.forecast.baselines.lags import lag_baselines
from gatewright.tasks.forecast.baselines.methods import method_baselines
from gatewright.tasks.forecast.baselines.naive import naive_baselines
from gatewright.tasks.forecast.baselines.statistical import statistical_baselines
from gatewright.tasks.forecast.spec import ForecastSpec


def forecast_baselines(spec: ForecastSpec, base: Base | None = None) -> list[Baseline]:
    """Return all baselines of a forecast, including those that cannot run here.

    Args:
        base: What the networks start from, if they do.
    """
    return [
        *naive_baselines(spec),
        climatology(spec),
        *method_baselines(spec, base),
        *statistical_baselines(spec),
        *lag_baselines(spec),
    ]
