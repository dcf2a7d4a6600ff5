"""The choice of a base by rolling origins inside the training part."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gatewright.data import Series
from gatewright.tasks.forecast.base.base import Base, Member
from gatewright.tasks.forecast.base.fit import fit_members
from gatewright.tasks.forecast.base.frame import Array
from gatewright.tasks.forecast.base.intervals import independent, smoothed
from gatewright.tasks.forecast.base.methods import METHODS, settings
from gatewright.tasks.forecast.base.reading import units_of
from gatewright.tasks.forecast.base.rolling import Fold, rolling
from gatewright.tasks.forecast.base.transform import Transform, backward_array, possible
from gatewright.tasks.forecast.spec import ForecastSpec

#: Settings and methods are weighted by error ** -(SHARPNESS * sqrt(n)) with n independent errors.
#: A mean error is known up to a share of about 1 / sqrt(n), so that closer ones are no different.
#: Mean error on 74 later stretches of 37 series, with their last fifths put aside, against a greedy
#: blend of the best setting of each method (Caruana et al. 2004): -5.5 %, and -9.8 ± 2.9 % on the
#: 39 of fewer than 40 independent errors. 3 gave -3.1 %, 6 gave -4.5 %, and the same exponents for
#: all series (40 in a method, 10 between methods) -3.7 %.
SHARPNESS = 4.0
#: Share of the weight that is kept, the largest weights first. With 0.9 it gained a sixth less.
KEPT = 0.95
#: Independent errors from which the weights of methods follow the errors of a step more than their
#: mean. Mean change of the error on 244 later stretches of 47 real and 150 simulated series, their
#: last fifths put aside: -0.34 ± 0.16 %, above +1 % on 5 % of them and below -1 % on 14 %; with 50
#: -0.33 ± 0.17 % (7 and 16 %). Settings step by step, too, made the 19 series of
#: `benchmarks/public_forecasts.py` worse by 0.4 ± 0.2 %.
STEPS_FROM = 200.0
#: Share of the error by which another transform or correction has to be better.
WORTH = 0.005
#: Independent errors from which one spread for all windows is tried, and the share of the error by
#: which it has to be better. The four of eight long stretches that chose it lost 1.8 % of their
#: error; on shorter ones, most of them with a trend, the choice was no better than chance.
COMMON_FROM = 100
COMMON_WORTH = 0.01
#: Smallest error that a weight is computed of, as a share of the naive one: a method may be exact.
EXACT = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A blend for one target, and its mean error in units of the naive one."""

    members: tuple[Member, ...]
    error: float
    shift: bool  # whether the median error is added
    count: float  # independent errors that it was chosen by


@dataclass(frozen=True, slots=True)
class Chooser:
    """Choose blends for the targets of a forecast from its training series.

    Args:
        methods: The methods that a blend may be made of.
        averages: Whether settings and methods are averaged; else the best setting is taken.
    """

    spec: ForecastSpec
    training: Series
    methods: Sequence[str]
    averages: bool

    def all_targets(
        self, transforms: Sequence[Transform], *, common_spread: bool = False
    ) -> list[Choice]:
        """Return the best blend for each target."""
        targets = range(len(self.spec.targets))
        return [self.blend(transforms, target, common_spread=common_spread) for target in targets]

    def blend(
        self, transforms: Sequence[Transform], target: int, *, common_spread: bool = False
    ) -> Choice:
        """Return the best blend for one target; without a choice where series are too short."""
        spec = self.spec
        folds = list(rolling(spec, self.training, transforms, target, common_spread=common_spread))
        if not folds:
            is_seasonal = 1 < spec.season <= spec.window
            method = "seasonal naive" if is_seasonal else "persistence"
            return Choice((Member(method, (0,), 1.0),), np.inf, False, 0.0)
        count = independent(sum(len(fold.measured) for fold in folds), spec.horizon)
        if self.averages:
            members = average_members(folds, self.methods, count)
        else:
            members = best_member(folds, self.methods)
        predicted = _predicted(folds, members)
        transform = transforms[target]
        error = raw_error(folds, predicted, transform)
        corrected = raw_error(folds, _shifted(folds, predicted), transform)
        shift = corrected < (1.0 - WORTH) * error
        return Choice(members, corrected if shift else error, shift, count)


def choose_base(
    spec: ForecastSpec,
    training: Series,
    methods: Sequence[str] = tuple(METHODS),
    *,
    averages: bool = True,
) -> Base:
    """Return the base that forecasts best at rolling origins inside the training part.

    Args:
        methods: The methods that it may be made of.
        averages: Whether settings and methods are averaged; else the best setting is taken.
    """
    chooser = Chooser(spec, training, methods, averages)
    transforms, chosen = _choose_transforms(chooser)
    common_spread = False
    if averages and min(choice.count for choice in chosen) >= COMMON_FROM:
        others = chooser.all_targets(transforms, common_spread=True)
        common_spread = _total(others) < (1.0 - COMMON_WORTH) * _total(chosen)
        chosen = others if common_spread else chosen
    units, smallest = units_of(spec, training, transforms, common_spread=common_spread)
    return Base(
        members=tuple(choice.members for choice in chosen),
        transforms=tuple(transforms),
        units=units,
        smallest_spread=smallest,
        shifts=tuple(choice.shift for choice in chosen),
        common_spread=common_spread,
    )


def _total(choices: Sequence[Choice]) -> float:
    return sum(choice.error for choice in choices)


def _choose_transforms(chooser: Chooser) -> tuple[list[Transform], list[Choice]]:
    """Return the best transform of each target, and the blends with these."""
    spec = chooser.spec
    low = [spec.seen.low[position] for position in spec.positions(spec.targets)]
    plain: list[Transform] = ["none"] * len(low)
    by_transform = [
        {
            transform: chooser.blend([*plain[:target], transform, *plain[target + 1 :]], target)
            for transform in possible(lowest)
        }
        for target, lowest in enumerate(low)
    ]
    transforms = [_best_transform(choices) for choices in by_transform]
    if transforms == plain:
        return transforms, [choices["none"] for choices in by_transform]
    # A target may read other targets, which are transformed now.
    return transforms, chooser.all_targets(transforms)


def _best_transform(choices: dict[Transform, Choice]) -> Transform:
    best = min(choices, key=lambda transform: choices[transform].error)
    is_worth_it = choices[best].error < (1.0 - WORTH) * choices["none"].error
    return best if is_worth_it else "none"


def average_members(
    folds: Sequence[Fold], methods: Sequence[str], count: float
) -> tuple[Member, ...]:
    """Weight settings and methods by their errors to a negative power, and keep most of the weight.

    Settings are averaged within each method first, so that a method with many of them counts no
    more than another. Methods are weighted step by step: one may be best at the first steps and
    another at the last ones.

    Args:
        count: The number of independent errors in the folds.
    """
    blends, errors = [], []
    for method in methods:
        tried = [Member(method, setting, 1.0) for setting in settings(method, folds[0].training)]
        if not tried:
            continue
        overall = [np.array([_error(folds, _predicted(folds, [member]))]) for member in tried]
        blends.append(_pruned(tried, _weights(overall, count)))
        errors.append(_step_errors(folds, _predicted(folds, blends[-1])))
    members = [member for blend in blends for member in blend]
    shares = [
        np.array(member.weight) * share
        for blend, share in zip(blends, _weights(errors, count), strict=True)
        for member in blend
    ]
    return _pruned(members, np.array(shares))


def _weights(errors: Sequence[Array], count: float) -> Array:
    """Return errors ** -(SHARPNESS * sqrt(count)), (M, H), scaled to a sum of 1 over methods.

    >>> _weights([np.array([0.5]), np.array([1.0])], 0.25).round(2).tolist()
    [[0.8], [0.2]]

    Args:
        errors: The errors (H,) at each step, or the mean error (1,), of several methods.
        count: The number of independent errors; where they are few, they hardly tell the steps
            apart, and the weights follow the mean error.
    """
    smooth = np.array([smoothed(of_method) for of_method in errors])
    mean = np.mean(errors, 1, keepdims=True)
    own = count / (count + STEPS_FROM)
    logarithms = own * np.log(np.maximum(smooth, EXACT))
    logarithms = logarithms + (1.0 - own) * np.log(np.maximum(mean, EXACT))
    logarithms *= -SHARPNESS * math.sqrt(count)
    weights: Array = np.exp(logarithms - logarithms.max(0))
    weights /= weights.sum(0)
    return weights


def _pruned(members: Sequence[Member], weights: Array) -> tuple[Member, ...]:
    """Return the members with the largest weights (M, H), with `KEPT` of their sum at every step.

    They get these weights, scaled to a sum of 1.
    """
    order = np.argsort(-weights.mean(1), kind="stable")
    sums = (weights[order].cumsum(0) / weights.sum(0)).min(1)
    count = int(np.searchsorted(sums, KEPT)) + 1
    largest = np.sort(order[:count]).tolist()
    scaled = weights[largest] / weights[largest].sum(0)
    return tuple(
        replace(members[number], weight=tuple(own))
        for number, own in zip(largest, scaled.tolist(), strict=True)
    )


def best_member(folds: Sequence[Fold], methods: Sequence[str]) -> tuple[Member, ...]:
    """Return the method and setting with the smallest error, or the first one close to it."""
    best, least = None, np.inf
    for method in methods:
        for setting in settings(method, folds[0].training):
            member = Member(method, setting, 1.0)
            error = _error(folds, _predicted(folds, [member]))
            if best is None or error < (1.0 - WORTH / 5) * least:
                best, least = member, error
    assert best is not None
    return (best,)


def _predicted(folds: Sequence[Fold], members: Sequence[Member]) -> list[Array]:
    """Return the forecasts of each fold, (N, H), in units of the windows."""
    return [fit_members(members, fold.training)(fold.measured) for fold in folds]


def _error(folds: Sequence[Fold], predicted: Sequence[Array]) -> float:
    """Return the mean absolute error of transformed values, in units of the series."""
    return float(_step_errors(folds, predicted).mean())


def _step_errors(folds: Sequence[Fold], predicted: Sequence[Array]) -> Array:
    """Return the same of each step, (H,)."""
    errors = [
        np.abs(fold.measured.truth - own) * np.sqrt(fold.measured.weight)[:, None]
        for fold, own in zip(folds, predicted, strict=True)
    ]
    mean: Array = np.concatenate(errors).mean(0)
    return mean


def _shifted(folds: Sequence[Fold], predicted: Sequence[Array]) -> list[Array]:
    """Return the forecasts of each fold plus the median error of the other folds, step by step."""
    errors = [fold.measured.truth - own for fold, own in zip(folds, predicted, strict=True)]
    if len(folds) < 2:
        return list(predicted)
    return [
        own + np.median(np.concatenate([*errors[:k], *errors[k + 1 :]]), axis=0)
        for k, own in enumerate(predicted)
    ]


def raw_error(folds: Sequence[Fold], predicted: Sequence[Array], transform: Transform) -> float:
    """Return the mean absolute error in the units of the data over the naive error."""
    errors = []
    for fold, own in zip(folds, predicted, strict=True):
        frame = fold.measured
        z = (own + frame.level[:, None]) * frame.spread[:, None]
        values = backward_array(z * fold.scale + fold.mean, transform)
        errors.append(np.abs(values - fold.raw) / fold.naive[:, None])
    return float(np.concatenate(errors).mean())
