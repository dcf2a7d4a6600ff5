"""Regressions on the last values: ridge, and gradient boosting where scikit-learn is installed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gatewright.tasks.forecast.naive import LEAST, around
from gatewright.tasks.forecast.ridge import PENALTIES, Array, ridge
from gatewright.tasks.forecast.windows import Windows
from gatewright.tasks.task import Baseline, Fitted

if TYPE_CHECKING:
    from gatewright.tasks.forecast.task import Forecast

#: More windows than this tell a regression nothing new; they are taken at equal distances.
MOST = 20_000
#: Parts that the errors of a regression are measured on, each left out once.
FOLDS = 3

#: From windows (features (N, F), truth (N, H, K)) to (a function of features, its size).
Learner = Callable[[Array, Array], tuple[Callable[[Array], Array], int]]


def lag_baselines(task: Forecast) -> list[Baseline]:
    """Ridge on lags, and gradient boosting on lags if scikit-learn is installed."""
    lags = sorted({1, max(task.window // 4, 1), task.window})
    settings = [(lag, penalty) for lag in lags for penalty in PENALTIES]
    about = "Linear regression of every step on the last values and what is known ahead."
    found = [Baseline("ridge", "ridge on lags", about, lambda t, s: _ridge(task, t, *s), settings)]
    boost = _boosting()
    if boost is not None:
        about = "Regression trees (scikit-learn) on the last values and what is known ahead."
        found.append(
            Baseline(
                "boosting",
                "boosting on lags",
                about,
                lambda training, _: _regress(task, training, lags[-2:][0], boost),
                seconds=lambda training: _boosting_seconds(task, training, lags[-2:][0]),
            )
        )
    return found


def _ridge(task: Forecast, training: Any, lags: int, penalty: float) -> Fitted:
    return _regress(task, training, lags, lambda x, y: ridge(x, y, penalty))


def boosting_left_out() -> list[str]:
    """What there is to say where scikit-learn is not installed."""
    if _boosting() is not None:
        return []
    return [
        "Boosting on lags is left out: scikit-learn is not installed "
        "(pip install 'gatewright[sklearn]')."
    ]


def _boosting() -> Learner | None:
    try:
        from sklearn.ensemble import HistGradientBoostingRegressor
    except ImportError:
        return None

    def learn(x: Array, y: Array) -> tuple[Callable[[Array], Array], int]:
        # One model a target, with the step ahead as a feature: the steps share what they learn.
        horizon, targets = y.shape[1:]
        rows = _with_steps(x, horizon)
        models = [
            HistGradientBoostingRegressor(loss="absolute_error", random_state=0).fit(
                rows, y[:, :, at].reshape(-1)
            )
            for at in range(targets)
        ]

        def predict(new: Array) -> Array:
            rows = _with_steps(new, horizon)
            return np.stack([m.predict(rows).reshape(-1, horizon) for m in models], -1)

        leaves = sum(m.n_iter_ * m.max_leaf_nodes for m in models)
        return predict, leaves

    return learn


def _boosting_seconds(task: Forecast, training: Any, lags: int) -> float:
    """The time of the models of one target, for all targets, folds and parts."""
    learn = _boosting()
    assert learn is not None  # a baseline of its own
    windows = _thinned(task.batches(training))
    x, y = features(windows, lags), windows.truth[:, :, :1]
    learn(x[:LEAST], y[:LEAST])  # the first call imports what it needs
    started = time.perf_counter()
    learn(x, y)
    one_fit = time.perf_counter() - started
    # On the part without validation and on all of it, each with the folds, which are smaller.
    return 2 * (1 + (FOLDS - 1)) * len(task.targets) * one_fit


def _thinned(windows: Windows) -> Windows:
    """At most `MOST` of the windows, at equal distances."""
    if len(windows) <= MOST:
        return windows
    return windows.take(np.linspace(0, len(windows) - 1, MOST).astype(int))


def _with_steps(x: Array, horizon: int) -> Array:
    ahead = np.tile(np.arange(horizon), len(x))
    return np.column_stack([np.repeat(x, horizon, axis=0), ahead])


def features(windows: Windows, lags: int) -> Array:
    """(N, F), the last `lags` values of every channel and what is known of the steps ahead."""
    past = windows.past[:, -lags:].reshape(len(windows), -1)
    return np.hstack([past, windows.ahead(windows.known).reshape(len(windows), -1)])


def _regress(task: Forecast, training: Any, lags: int, learn: Learner) -> Fitted:
    windows = _thinned(task.batches(training))
    x, y = features(windows, lags), windows.truth
    predict, size = learn(x, y)
    residuals = np.empty_like(y)
    for fold, away in _folds(windows):
        chosen = away if away.sum() > x.shape[1] else np.ones(len(y), dtype=bool)
        without, _ = learn(x[chosen], y[chosen])
        residuals[fold] = y[fold] - without(x[fold])

    def forecast(part: Any) -> Array:
        new = task.batches(part)
        point = predict(features(new, lags))
        return task.bounded(around(point, new.series, residuals, windows.series))

    return Fitted(forecast, size)


def _folds(windows: Windows) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Which windows (N,) to leave out, a stretch of every series, and which to learn from then.

    Windows that overlap with those left out have seen their truth: they are in neither.
    """
    series, origins = windows.series, windows.origins
    first = np.searchsorted(series, series)  # windows stand series by series
    which = FOLDS * (np.arange(len(series)) - first) // np.bincount(series)[series]
    for fold in np.unique(which):
        inside = which == fold
        low = np.full(len(windows.begins), np.iinfo(np.int64).max)
        high = np.full(len(windows.begins), -1)
        np.minimum.at(low, series[inside], origins[inside])
        np.maximum.at(high, series[inside], origins[inside])
        before = origins < low[series] - windows.horizon
        after = origins > high[series] + windows.horizon
        yield inside, (before | after) & ~inside
