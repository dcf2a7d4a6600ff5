"""The simple methods that a base is blended of: each is fitted to a `TargetMap`.

From the simplest on: persistence, seasonal naive, the mean, exponential smoothing, an
autoregression that is iterated, and a ridge regression of every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from types import MappingProxyType

import numpy as np

from gatewright.tasks.forecast.base.frame import Array, TargetFrame, TargetMap
from gatewright.tasks.forecast.base.smoothing import Smoothing

#: The numbers that tell one variant of a method from another.
Setting = tuple[float, ...]

#: Penalties of the regressions, in the sum of squares of standardised features.
PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0)
LEVEL_GAINS = (0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.85, 1.0)
#: (gain of the trend, damping); without a trend both are 0.
TRENDS = ((0.0, 0.0), (0.05, 0.9), (0.2, 0.9), (0.02, 1.0), (0.1, 1.0), (0.2, 0.98))
SEASON_GAINS = (0.05, 0.15, 0.3, 0.5)
#: Features of a regression on all channels; beyond these it is left out.
MAX_FEATURES = 400


def persistence(frame: TargetFrame, setting: Setting) -> TargetMap:
    """Repeat the last value; with setting 1, add the median error."""
    return _corrected(TargetMap.zero(frame), frame, setting)


def seasonal_naive(frame: TargetFrame, setting: Setting) -> TargetMap:
    """Repeat the value a season earlier; with setting 1, add the median error."""
    fitted = TargetMap.zero(frame)
    for h in range(frame.horizon):
        # Beyond the first season ahead, go back as many seasons as it takes to a known value.
        back = frame.season * (h // frame.season + 1) - h
        fitted.own[-min(back, frame.window), h] = 1.0
    return _corrected(fitted, frame, setting)


def _corrected(fitted: TargetMap, frame: TargetFrame, setting: Setting) -> TargetMap:
    if setting[0]:
        fitted.bias[:] = np.median(frame.truth - fitted(frame), axis=0)
    return fitted


def mean(frame: TargetFrame, setting: Setting) -> TargetMap:
    """Forecast the mean of the training part."""
    fitted = TargetMap.zero(frame)
    fitted.mean[:] = 1.0
    return fitted


def smoothing(frame: TargetFrame, setting: Setting) -> TargetMap:
    """Smooth the window exponentially; the constants are the setting, -1 means without."""
    level, trend, damping, seasonal = setting
    constants = Smoothing(
        level,
        None if damping == 0.0 else trend,
        damping or 1.0,
        None if seasonal < 0.0 else seasonal,
    )
    fitted = TargetMap.zero(frame)
    fitted.own[:] = constants.matrix(frame.window, frame.horizon, frame.season).T
    return fitted


def autoregression(frame: TargetFrame, setting: Setting) -> TargetMap:
    """Regress the next value on the last ones, and iterate; a second part lets the mean pull."""
    lags, penalty, pulls = int(setting[0]), setting[1], bool(setting[2])

    def features() -> Array:
        # The last value is 0 in its own units, so that it is no feature; see the iteration below.
        x = frame.own[:, -lags:-1]
        return np.column_stack([x, -frame.level]) if pulls else x

    key = ("next", lags, pulls)
    weights, bias = _ridge(frame, key, features, "next", lambda: frame.truth[:, :1], penalty)
    pull = float(weights[-1, 0]) if pulls else 0.0
    earlier = weights[: lags - 1, 0]
    # In the units of the data: the last value has the rest of the sum of weights.
    reads = np.append(earlier, 1.0 - earlier.sum() - pull)
    # Each value as a linear function of the window, the level and 1.
    window = frame.window
    values = list(np.eye(window, window + 2))
    for _ in range(frame.horizon):
        value = reads @ np.array(values[-lags:])
        value[window] += pull
        value[window + 1] += bias[0]
        values.append(value)
    ahead = np.array(values[window:])
    fitted = TargetMap.zero(frame)
    fitted.own[:] = ahead[:, :window].T
    fitted.mean[:] = ahead[:, window]
    fitted.bias[:] = ahead[:, window + 1]
    return fitted


def ridge(frame: TargetFrame, setting: Setting) -> TargetMap:
    """Regress every step on the last values and on what is known of it.

    The setting: lags, penalty, whether all channels are read, and whether the weights shrink
    towards the seasonal naive forecast instead of the last value.
    """
    lags, penalty, reads_all, seasonal = int(setting[0]), setting[1], setting[2], setting[3]
    start = seasonal_naive(frame, (0,)) if seasonal else TargetMap.zero(frame)

    @cache
    def common() -> Array:
        lagged = frame.past[:, -lags:].reshape(len(frame), -1)
        past = lagged if reads_all else frame.own[:, -lags:-1]
        return np.column_stack([past, -frame.level, frame.static])

    @cache
    def rest() -> Array:
        return frame.truth - start(frame)

    def regression(steps: slice, *ahead: Array) -> tuple[Array, Array]:
        return _ridge(
            frame,
            (lags, reads_all, steps.start),
            lambda: np.column_stack([common(), *ahead]) if ahead else common(),
            seasonal,
            lambda: rest()[:, steps],
            penalty,
        )

    fitted = TargetMap.zero(frame)
    if reads_all:
        fitted = replace(fitted, past=np.zeros((*frame.past.shape[1:], frame.horizon)))
    known = frame.ahead.shape[2]
    if known:
        for h in range(frame.horizon):
            step = slice(h, h + 1)
            weights, bias = regression(step, frame.ahead[:, h])
            fitted.ahead[:, h] = weights[-known:, 0]
            _store(fitted, weights[:-known], bias, step, lags, frame)
    else:
        weights, bias = regression(slice(None))
        _store(fitted, weights, bias, slice(None), lags, frame)
    return fitted + start


def _store(
    fitted: TargetMap, weights: Array, bias: Array, steps: slice, lags: int, frame: TargetFrame
) -> None:
    """Put the weights (F, steps) of lags, level and static values into their places."""
    static = frame.static.shape[1]
    count = len(weights) - 1 - static
    if fitted.past is None:
        fitted.own[-lags:-1, steps] = weights[:count]
    else:
        fitted.past[-lags:, :, steps] = weights[:count].reshape(lags, -1, weights.shape[1])
    fitted.mean[steps] = weights[count]
    fitted.static[:, steps] = weights[count + 1 :]
    fitted.bias[steps] = bias


def _ridge(
    frame: TargetFrame,
    key: tuple[object, ...],
    features: Callable[[], Array],
    target: object,
    truth: Callable[[], Array],
    penalty: float,
) -> tuple[Array, Array]:
    """Return weights (F, H) and intercepts (H,) of a weighted ridge regression.

    The features are standardised for the penalty, and the weights have mean 1. All penalties
    share one eigendecomposition and one projection of the truth, which is nearly all of the work.

    Args:
        key: The name of the features among all of the frame's, for that.
        features: Computes them, (N, F); called once.
        target: The name of the truth among those that the features are fitted to.
        truth: Computes it, (N, H); called once.
    """
    if key not in frame.decompositions:
        w = frame.weight / max(frame.weight.mean(), 1e-300)
        x = features()
        centre = w @ x / w.sum()
        deviation = np.sqrt(w @ np.square(x - centre) / w.sum())
        deviation[deviation < 1e-9] = 1.0
        z = (x - centre) / deviation
        weighted = z * w[:, None]
        values, vectors = np.linalg.eigh(weighted.T @ z)
        frame.decompositions[key] = (w, centre, deviation, weighted, values.clip(0.0), vectors)
    w, centre, deviation, weighted, values, vectors = frame.decompositions[key]
    if (*key, target) not in frame.decompositions:
        y = truth()
        middle = w @ y / w.sum()
        projected = vectors.T @ (weighted.T @ (y - middle))
        frame.decompositions[*key, target] = (middle, projected)
    middle, projected = frame.decompositions[*key, target]
    weights = vectors @ (projected / (values + penalty)[:, None]) / deviation[:, None]
    return weights, middle - centre @ weights


#: A method's fit and, from the frame, the settings to try, the simplest first.
METHODS: Mapping[str, Callable[[TargetFrame, Setting], TargetMap]] = MappingProxyType(
    {
        "persistence": persistence,
        "seasonal naive": seasonal_naive,
        "mean": mean,
        "smoothing": smoothing,
        "autoregression": autoregression,
        "ridge": ridge,
    }
)


def settings(method: str, frame: TargetFrame) -> Sequence[Setting]:
    """Return the settings of a method to try on windows like these, the simplest first."""
    season, window = frame.season, frame.window
    fits = 1 < season <= window
    if method == "persistence":
        return [(0,), (1,)]
    if method == "seasonal naive":
        return [(0,), (1,)] if fits else []
    if method == "mean":
        return [()]
    if method == "smoothing":
        seasonal = (-1.0, *SEASON_GAINS) if fits and window >= 2 * season else (-1.0,)
        return [(a, *t, g) for g, t, a in product(seasonal, TRENDS, LEVEL_GAINS)]
    if method == "autoregression":
        orders = _orders((1, 2, 3, 5, 9, season + 1, 2 * season + 1), window)
        return [(p, s, m) for p, s, m in product(orders, (0.1, 1.0, 10.0), (0, 1))]
    return _ridge_settings(frame, fits)


def _ridge_settings(frame: TargetFrame, fits: bool) -> list[Setting]:
    season, window = frame.season, frame.window
    lags = _orders((2, window // 4, season + 1, window // 2, window), window)
    channels = frame.past.shape[2]
    tried: list[Setting] = []
    for count, reads_all, seasonal in product(lags, (0, 1), (0, 1)):
        if reads_all and (channels == 1 or count * channels > MAX_FEATURES):
            continue
        if not seasonal or fits:
            tried += [(count, s, reads_all, seasonal) for s in reversed(PENALTIES)]
    return tried


def _orders(lags: Iterable[int], window: int) -> list[int]:
    return sorted({min(max(count, 1), window) for count in lags})
