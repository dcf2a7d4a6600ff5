"""Fit a chosen base: its linear map, and the quantiles of its errors, as tensors for the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from gatewright.data import Series
from gatewright.tasks.forecast.base.base import Base, Member
from gatewright.tasks.forecast.base.frame import Array, TargetFrame, TargetMap
from gatewright.tasks.forecast.base.intervals import error_quantiles, independent, pinball_sum
from gatewright.tasks.forecast.base.methods import METHODS
from gatewright.tasks.forecast.base.reading import Places, frames, scaling_of
from gatewright.tasks.forecast.base.rolling import rolling, thinned
from gatewright.tasks.forecast.metrics import LEVELS
from gatewright.tasks.forecast.spec import ForecastSpec

#: Gain in pinball loss from which intervals have a fixed width, instead of the window's spread.
FIXED_GAIN = 0.01


def fit_members(members: Sequence[Member], frame: TargetFrame) -> TargetMap:
    """Fit each method of a blend, and return their weighted sum."""
    maps = [METHODS[member.method](frame, member.setting) for member in members]
    if len(maps) == 1 and members[0].weight == 1.0:  # as each setting is tried, hundreds of times
        return maps[0]
    weighted = [own * np.asarray(member.weight) for own, member in zip(maps, members, strict=True)]
    return sum(weighted, TargetMap.zero(frame))


def reads_all(base: Base) -> bool:
    """Return whether any method reads other channels than its target."""
    return any(
        member.method == "ridge" and bool(member.setting[2])
        for members in base.members
        for member in members
    )


def shapes(spec: ForecastSpec, base: Base) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the model's tensors, by name; the last two are (H, K) or (K, Q)."""
    places = Places.of(spec)
    steps = (spec.horizon, len(spec.targets))
    common = len(places.static) + len(places.calendar)
    result: dict[str, tuple[int, ...]] = {
        "base_own": (spec.window, *steps),
        "base_ahead": (len(places.ahead), *steps),
        "base_static": (common, *steps),
        "base_mean": steps,
        "base_bias": steps,
        "base_quantiles": (*steps, len(LEVELS)),
        "base_fixed": (*steps, len(LEVELS)),
    }
    if reads_all(base):
        result["base_past"] = (spec.window, len(places.lagged), *steps)
    return result


def fit_map(
    spec: ForecastSpec, base: Base, training: Series, scaling: tuple[Array, Array]
) -> dict[str, Tensor]:
    """Return the tensors of the linear map, fitted on all windows of the series."""
    windows = thinned(spec.windows(training))
    targets = frames(spec, windows, scaling, base.transforms, base.units, base.smallest_spread)
    maps = [
        fit_members(members, frame) for members, frame in zip(base.members, targets, strict=True)
    ]
    stacked = {
        name: np.stack([getattr(fitted, name) for fitted in maps], -1)
        for name in ("own", "ahead", "static", "mean", "bias")
    }
    if reads_all(base):
        nothing = np.zeros((*targets[0].past.shape[1:], spec.horizon))
        past = [nothing if fitted.past is None else fitted.past for fitted in maps]
        stacked["past"] = np.stack(past, -1)
    return {f"base_{name}": torch.from_numpy(array) for name, array in stacked.items()}


def fit_quantiles(spec: ForecastSpec, base: Base, training: Series) -> dict[str, Tensor]:
    """Return the quantiles of the base's errors at rolling origins inside the series.

    `base_quantiles` are in units of the window's spread, `base_fixed` in deviations of the
    channel; the one that did worse is 0.
    """
    by_spread, fixed = [], []
    for target, members in enumerate(base.members):
        errors, spreads, weights = _errors(spec, base, training, target, members)
        count = independent(len(errors), spec.horizon)
        shift = base.shifts[target]
        candidates = (
            error_quantiles(errors, count, shift=shift),
            error_quantiles(errors * spreads[:, None], count, shift=shift),
        )
        losses = (
            (weights * pinball_sum(errors, candidates[0][None])).mean(),
            (weights * pinball_sum(errors, candidates[1] / spreads[:, None, None])).mean(),
        )
        is_fixed = losses[1] < (1.0 - FIXED_GAIN) * losses[0]
        by_spread.append(0.0 * candidates[0] if is_fixed else candidates[0])
        fixed.append(candidates[1] if is_fixed else 0.0 * candidates[1])
    return {
        "base_quantiles": torch.from_numpy(np.stack(by_spread, 1)),
        "base_fixed": torch.from_numpy(np.stack(fixed, 1)),
    }


def _errors(
    spec: ForecastSpec, base: Base, training: Series, target: int, members: Sequence[Member]
) -> tuple[Array, Array, Array]:
    """Return errors (N, H) in units of the windows, the spreads (N,) and weights (N,) of these.

    They are those of rolling origins, or of the training windows where there are too few steps.
    """
    folds = list(rolling(spec, training, base.transforms, target, common_spread=base.common_spread))
    pairs = [(fold.training, fold.measured) for fold in folds]
    if not pairs:
        scaling = scaling_of(spec, training, base.transforms)
        windows = thinned(spec.windows(training))
        frame = frames(spec, windows, scaling, base.transforms, base.units, base.smallest_spread)[
            target
        ]
        pairs = [(frame, frame)]
    return (
        np.concatenate([new.truth - fit_members(members, old)(new) for old, new in pairs]),
        np.concatenate([new.spread for _, new in pairs]),
        np.concatenate([np.sqrt(new.weight) for _, new in pairs]),
    )


def forecast(
    buffers: Mapping[str, Tensor],
    past: Tensor,
    known: Tensor | None,
    places: Places,
    scale: tuple[Tensor, Tensor],
) -> Tensor:
    """Return the quantiles of the base in units of the windows, (B, H, K, Q).

    Args:
        buffers: The model's tensors, by the names of `shapes`.
        past: Values (W, B, I), with the window's own channels in its units.
        known: Values of the known channels in the steps to predict, scaled, (B, H, known).
        places: Positions of the channels.
        scale: Last value and spread of each target, (B, K) each.
    """
    level, spread = scale
    own = past[:, :, places.targets]
    point = torch.einsum("wbk,whk->bhk", own, buffers["base_own"]) + buffers["base_bias"]
    point = point - (level / spread)[:, None] * buffers["base_mean"]
    if "base_past" in buffers:
        read = past[:, :, places.lagged]
        point = point + torch.einsum("wbc,wchk->bhk", read, buffers["base_past"])
    common = past[-1][:, places.static]
    if known is not None:
        common = torch.cat([common, known[:, 0, places.calendar]], 1)
        if places.ahead:
            point = point + torch.einsum(
                "bha,ahk->bhk", known[..., places.ahead], buffers["base_ahead"]
            )
    if len(buffers["base_static"]):
        point = point + torch.einsum("bs,shk->bhk", common, buffers["base_static"])
    around = buffers["base_quantiles"] + buffers["base_fixed"] / spread[:, None, :, None]
    return point[..., None] + around
