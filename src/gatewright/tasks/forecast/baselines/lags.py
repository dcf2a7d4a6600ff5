"""Regressions on the last values: ridge, and gradient boosting where scikit-learn is installed.

Each is tried on raw values and on values in units of their window, which suits series of unequal
sizes; validation decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.tasks.baseline import Baseline, Fitted
from gatewright.tasks.forecast.base.reading import Places
from gatewright.tasks.forecast.baselines.residuals import around
from gatewright.tasks.forecast.spec import ForecastSpec
from gatewright.tasks.forecast.windows import Windows
from gatewright.tasks.ridge import PENALTIES, Array, ridge

#: Training windows of a regression; more add time and hardly any accuracy.
MAX_WINDOWS = 20_000
#: Folds of the cross-validation that measures the errors of a regression.
FOLDS = 3
#: Windows of the first fit when boosting is timed, which only loads what scikit-learn needs.
WARM_UP_WINDOWS = 20
#: Smallest spread of a window, as a share of its last value.
LEAST_SPREAD = 0.001

#: From features (N, F) and truth (N, H, K) to (a function of features, its number of parameters).
Learner = Callable[[Array, Array], tuple[Callable[[Array], Array], int]]


def lag_baselines(spec: ForecastSpec) -> list[Baseline]:
    """Return ridge on lags and gradient boosting on lags."""
    lags = sorted({1, max(spec.window // 4, 1), spec.window})
    return [_ridge_on_lags(spec, lags), _boosting_on_lags(spec, lags[-2:][0])]


def _ridge_on_lags(spec: ForecastSpec, lags: list[int]) -> Baseline:
    def fit(training: Any, setting: tuple[int, float, bool]) -> Fitted:
        count, penalty, scales = setting
        return _regress(spec, training, count, lambda x, y: ridge(x, y, penalty), scales)

    return Baseline(
        "ridge",
        "ridge on lags",
        "Linear regression of every step on the last values and the known future values.",
        fit,
        list(product(lags, PENALTIES, (False, True))),
    )


def _boosting_on_lags(spec: ForecastSpec, lags: int) -> Baseline:
    return Baseline(
        "boosting",
        "boosting on lags",
        "Regression trees (scikit-learn) on the last values and the known future values.",
        lambda training, scales: _regress(spec, training, lags, _boost, scales),
        (False, True),
        seconds=lambda training: _boosting_seconds(spec, training, lags),
        why_not=_why_no_boosting(),
    )


def _why_no_boosting() -> str | None:
    # The package itself takes a second to import, so it is only looked for.
    try:
        version("scikit-learn")
    except PackageNotFoundError:
        return (
            "Boosting on lags is left out: scikit-learn is not installed "
            "(pip install 'gatewright[sklearn]')."
        )
    return None


def _boost(x: Array, y: Array) -> tuple[Callable[[Array], Array], int]:
    """Fit a `Learner` of trees: one model per target for all steps, with the step as a feature."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    horizon, targets = y.shape[1:]
    rows = _with_steps(x, horizon)
    models = [
        HistGradientBoostingRegressor(loss="absolute_error", random_state=0).fit(
            rows, y[:, :, target].reshape(-1)
        )
        for target in range(targets)
    ]

    def predict(new: Array) -> Array:
        rows = _with_steps(new, horizon)
        return np.stack([m.predict(rows).reshape(-1, horizon) for m in models], -1)

    leaves = sum(m.n_iter_ * m.max_leaf_nodes for m in models)
    return predict, leaves


def _boosting_seconds(spec: ForecastSpec, training: Any, lags: int) -> float:
    """Estimate the time of all fits from a single one, of one target."""
    windows = spec.windows(training).thinned(MAX_WINDOWS)
    x, y = features(windows, lags, None), windows.truth[:, :, :1]
    _boost(x[:WARM_UP_WINDOWS], y[:WARM_UP_WINDOWS])
    started = time.perf_counter()
    _boost(x, y)
    one_fit = time.perf_counter() - started
    # On raw values, on scaled ones and then on the validation part too; each a full fit and
    # `FOLDS` smaller ones.
    return 3 * (1 + (FOLDS - 1)) * len(spec.targets) * one_fit


def _with_steps(x: Array, horizon: int) -> Array:
    """Repeat each row (N, F) for every step ahead, with the step as a feature: (N H, F + 1)."""
    ahead = np.tile(np.arange(horizon), len(x))
    return np.column_stack([np.repeat(x, horizon, axis=0), ahead])


def features(windows: Windows, lags: int, units: WindowUnits | None) -> Array:
    """Return the last `lags` values of every channel and the known future values, (N, F)."""
    past = windows.past
    if units is not None:
        past[:, :, units.channels] = (past[:, :, units.channels] - units.level) / units.spread
    past = past[:, -lags:].reshape(len(windows), -1)
    return np.hstack([past, windows.ahead(windows.known).reshape(len(windows), -1)])


@dataclass(frozen=True, slots=True, eq=False)
class WindowUnits:
    """The units of windows: last values and spreads of the channels that have them."""

    channels: list[int]
    level: Array  # (N, 1, channels)
    spread: Array
    targets: list[int]  # among these channels

    @classmethod
    def of(cls, spec: ForecastSpec, windows: Windows) -> WindowUnits:
        """Measure the windows of a forecast."""
        places = Places.of(spec)
        past = windows.past[:, :, places.own]
        level, spread = past[:, -1:], past.std(1, keepdims=True)
        # A window that never changes has a unit too.
        spread = np.hypot(spread, LEAST_SPREAD * np.abs(level)) + 1e-9
        targets = [places.own.index(position) for position in places.targets]
        return cls(places.own, level, spread, targets)

    def scaled(self, values: Array) -> Array:
        """Return values (N, H, K) of the targets in these units."""
        result: Array = (values - self.level[:, :, self.targets]) / self.spread[:, :, self.targets]
        return result

    def restored(self, values: Array) -> Array:
        """Return such values in the units of the data."""
        result: Array = values * self.spread[:, :, self.targets] + self.level[:, :, self.targets]
        return result


def _regress(spec: ForecastSpec, training: Any, lags: int, learn: Learner, scales: bool) -> Fitted:
    """Fit on all windows; take the spread of the quantiles from cross-validated errors.

    Args:
        scales: Whether windows are read and predicted in their own units.
    """
    windows = spec.windows(training).thinned(MAX_WINDOWS)
    units = WindowUnits.of(spec, windows) if scales else None
    x, y = features(windows, lags, units), windows.truth
    y = y if units is None else units.scaled(y)
    predict, size = learn(x, y)
    predicted = np.empty_like(y)
    for fold, others in _folds(windows):
        # With fewer rows than features the fit would be arbitrary: then all rows are used.
        rows = others if others.sum() > x.shape[1] else np.ones(len(y), dtype=bool)
        without_fold, _ = learn(x[rows], y[rows])
        predicted[fold] = without_fold(x[fold])
    residuals = windows.truth - (predicted if units is None else units.restored(predicted))

    def forecast(part: Any) -> Array:
        new = spec.windows(part)
        units = WindowUnits.of(spec, new) if scales else None
        point = predict(features(new, lags, units))
        point = point if units is None else units.restored(point)
        return spec.bounded(around(point, new.series, residuals, windows.series))

    return Fitted(forecast, size)


def _folds(windows: Windows) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Yield masks (N,) of the windows of each fold and of those to learn from without it.

    A fold is a contiguous part of every series. Windows within a horizon of it share its truth,
    so they are in neither mask.
    """
    series, origins = windows.series, windows.origins
    first = np.searchsorted(series, series)  # windows are sorted by series
    # The windows of each series are numbered from 0 and cut into FOLDS equal parts.
    number = FOLDS * (np.arange(len(series)) - first) // np.bincount(series)[series]
    for fold in np.unique(number):
        inside = number == fold
        low = np.full(len(windows.begins), np.iinfo(np.int64).max)
        high = np.full(len(windows.begins), -1)
        np.minimum.at(low, series[inside], origins[inside])
        np.maximum.at(high, series[inside], origins[inside])
        earlier = origins < low[series] - windows.horizon
        later = origins > high[series] + windows.horizon
        yield inside, (earlier | later) & ~inside
