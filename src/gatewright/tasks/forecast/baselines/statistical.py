"""The automatic models of statsforecast: exponential smoothing, ARIMA and Theta, series by series.

They are fitted once to the training part of each series, and then forecast from every origin with
all values before it.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.tasks.baseline import Baseline, Fitted
from gatewright.tasks.forecast.metrics import LEVELS
from gatewright.tasks.forecast.spec import ForecastSpec
from gatewright.tasks.forecast.windows import stretch

Array = NDArray[np.float64]

#: Longest season that the models are given: a longer one takes ARIMA minutes for each series.
MAX_SEASON = 24
#: Levels of statsforecast's intervals, in percent: each is two of the quantiles.
INTERVALS = [20, 40, 60, 80]
#: Origins that are forecast when a model is timed.
TIMED_ORIGINS = 5

#: By name: the title, and the class in `statsforecast.models`.
MODELS = {
    "auto_ets": ("AutoETS (statsforecast)", "AutoETS"),
    "auto_arima": ("AutoARIMA (statsforecast)", "AutoARIMA"),
    "theta": ("Theta (statsforecast)", "DynamicOptimizedTheta"),
}


def statistical_baselines(spec: ForecastSpec) -> list[Baseline]:
    """Return the three models, with the reason where they cannot run."""
    return [_baseline(spec, name) for name in MODELS]


def _baseline(spec: ForecastSpec, name: str) -> Baseline:
    title, kind = MODELS[name]
    return Baseline(
        name,
        title,
        "Fitted to each series by statsforecast, which chooses the form and the order itself.",
        lambda training, _: _fit(spec, kind, training),
        seconds=lambda training: _seconds(spec, kind, training),
        why_not=_why_not(),
    )


def _why_not() -> str | None:
    # The package itself takes seconds to import, so it is only looked for.
    try:
        version("statsforecast")
    except PackageNotFoundError:
        pass
    else:
        return None
    titles = [title.split(" ")[0] for title, _ in MODELS.values()]
    return (
        f"{', '.join(titles[:-1])} and {titles[-1]} are left out: statsforecast is not installed "
        "(pip install 'gatewright[peers]')."
    )


def _learn(spec: ForecastSpec, kind: str, values: Array) -> Callable[[Array], Array]:
    """Fit a model to the values (T,) of one series; return its quantiles (H, Q) after others."""
    import statsforecast.models

    season = spec.season if spec.season <= MAX_SEASON else 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optimisers warn where they do not converge
        model = getattr(statsforecast.models, kind)(season_length=season).fit(values)

    def ahead(known: Array) -> Array:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = model.forward(known, h=spec.horizon, level=INTERVALS)
        low = [result[f"lo-{level}"] for level in reversed(INTERVALS)]
        high = [result[f"hi-{level}"] for level in INTERVALS]
        quantiles: Array = np.stack([*low, result["mean"], *high], axis=-1)
        return quantiles

    return ahead


def _fit(spec: ForecastSpec, kind: str, training: Any) -> Fitted:
    targets = spec.positions(spec.targets)
    series = stretch(training).series
    models = [
        [_learn(spec, kind, np.ascontiguousarray(values[:, target])) for target in targets]
        for values in series.values
    ]

    def predict(part: Any) -> Array:
        windows = spec.windows(part)
        quantiles = np.empty((len(windows), spec.horizon, len(targets), len(LEVELS)))
        for row, (origin, position) in enumerate(zip(windows.origins, windows.series, strict=True)):
            known = windows.values[windows.begins[position] : origin]
            for k, target in enumerate(targets):
                past = np.ascontiguousarray(known[:, target])
                quantiles[row, :, k] = models[position][k](past)
        return spec.bounded(quantiles)

    return Fitted(predict, None)


def _seconds(spec: ForecastSpec, kind: str, training: Any) -> float:
    """Estimate the time of both fits and all forecasts from one series."""
    series, windows = stretch(training).series, spec.windows(training)
    values = series.values[int(windows.series[0])][:, spec.positions(spec.targets)[0]]
    _learn(spec, kind, np.ascontiguousarray(values[: max(2 * spec.season, 20)]))  # compiles
    began = time.perf_counter()
    ahead = _learn(spec, kind, np.ascontiguousarray(values))
    fitted = time.perf_counter()
    for _ in range(TIMED_ORIGINS):
        ahead(np.ascontiguousarray(values))
    forecast = (time.perf_counter() - fitted) / TIMED_ORIGINS
    # Without and with the validation part; that part and the test part are about half as many
    # origins as the training part.
    each = 2 * (fitted - began) * len(series) + 0.5 * forecast * len(windows)
    return each * len(spec.targets)
