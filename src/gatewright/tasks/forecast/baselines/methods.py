"""The methods that a network's base is made of, each as a baseline, and the base itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gatewright.data import Series
from gatewright.tasks.baseline import Baseline, Fitted
from gatewright.tasks.forecast.base.base import Base
from gatewright.tasks.forecast.base.choice import choose_base
from gatewright.tasks.forecast.base.fit import fit_map, fit_quantiles, forecast
from gatewright.tasks.forecast.base.frame import scaled_past
from gatewright.tasks.forecast.base.reading import Places, scaling_of
from gatewright.tasks.forecast.base.transform import backward_array, transformed_array
from gatewright.tasks.forecast.spec import ForecastSpec
from gatewright.tasks.forecast.windows import stretch


def method_baselines(spec: ForecastSpec, base: Base | None) -> list[Baseline]:
    """Return exponential smoothing, the autoregression and, if there is one, the chosen base."""
    baselines = [
        Baseline(
            "smoothing",
            "exponential smoothing",
            "With a damped trend and a season where they help; constants by rolling origins.",
            lambda training, _: _chosen(spec, training, ["smoothing"]),
        ),
        Baseline(
            "autoregression",
            "autoregression",
            "The next value from the last ones, iterated; its order by rolling origins.",
            lambda training, _: _chosen(spec, training, ["autoregression"]),
        ),
    ]
    if base is None:
        return baselines
    about = "The blend of simple methods that the networks start from, before any training."
    blend = Baseline(
        "base", "base only", about, lambda training, _: fit_base(spec, base, _series(training))
    )
    return [*baselines, blend]


def _series(training: Any) -> Series:
    return stretch(training).series


def _chosen(spec: ForecastSpec, training: Any, methods: Sequence[str]) -> Fitted:
    series = _series(training)
    return fit_base(spec, choose_base(spec, series, methods), series)


def fit_base(spec: ForecastSpec, base: Base, training: Series) -> Fitted:
    """Fit a base without a network."""
    mean, deviation = scaling = scaling_of(spec, training, base.transforms)
    tensors = {
        **fit_map(spec, base, training, scaling),
        **fit_quantiles(spec, base, training),
    }
    numbers = sum(tensor.numel() for name, tensor in tensors.items() if name != "base_fixed")
    return Fitted(_predictor(spec, base, tensors, mean, deviation), numbers)


def _predictor(
    spec: ForecastSpec,
    base: Base,
    tensors: dict[str, torch.Tensor],
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
) -> Callable[[Any], NDArray[np.float64]]:
    places = Places.of(spec)
    own = [places.own.index(position) for position in places.targets]

    def predict(part: Any) -> NDArray[np.float64]:
        windows = spec.windows(part)
        values = transformed_array(windows.values, places.targets, base.transforms, spec.seen.low)
        scaled = replace(windows, values=(values - mean) / deviation)
        past, level, spread = scaled_past(
            torch.from_numpy(scaled.past.swapaxes(0, 1)),
            places.own,
            torch.tensor(base.smallest_spread).double(),
        )
        known = torch.from_numpy(scaled.ahead(scaled.known)) if scaled.known else None
        scale = level[:, own], spread[:, own]
        quantiles = forecast(tensors, past, known, places, scale).sort(-1).values
        level, spread = (tensor[:, None, :, None] for tensor in scale)
        raw = (quantiles * spread + level).numpy()
        raw = raw * deviation[places.targets, None] + mean[places.targets, None]
        for target, transform in enumerate(base.transforms):
            raw[:, :, target] = backward_array(raw[:, :, target], transform)
        return spec.bounded(raw)

    return predict
