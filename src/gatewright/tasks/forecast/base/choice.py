"""The choice of a base by rolling origins inside the training part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gatewright.data import Series
from gatewright.tasks.forecast.base.base import Base, Member
from gatewright.tasks.forecast.base.frame import Array
from gatewright.tasks.forecast.base.methods import METHODS, settings
from gatewright.tasks.forecast.base.reading import units_of
from gatewright.tasks.forecast.base.rolling import Fold, rolling
from gatewright.tasks.forecast.base.transform import Transform, backward_array, possible
from gatewright.tasks.forecast.spec import ForecastSpec

#: Rounds of the blend, which limit its weights to multiples of 1 / (the rounds that were taken).
ROUNDS = 8
#: Share of the error by which another transform, method or correction has to be better.
WORTH = 0.005


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A method with its best setting, and its forecasts of each fold."""

    member: Member
    predicted: Sequence[Array]  # of each fold, (N, H), in units of the windows
    error: float


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """A blend for one target, and its mean error in units of the naive one."""

    members: tuple[Member, ...]
    error: float
    shift: bool  # whether the median error is added


def choose_base(
    spec: ForecastSpec, training: Series, methods: Sequence[str] = tuple(METHODS)
) -> Base:
    """Return the base that forecasts best at rolling origins inside the training part.

    Args:
        methods: The methods that it may be made of.
    """
    low = [spec.seen.low[position] for position in spec.positions(spec.targets)]
    plain: list[Transform] = ["none"] * len(low)
    by_transform = [
        {
            transform: choose_blend(
                spec, training, [*plain[:target], transform, *plain[target + 1 :]], target, methods
            )
            for transform in possible(lowest)
        }
        for target, lowest in enumerate(low)
    ]
    transforms = [_best_transform(choices) for choices in by_transform]
    if transforms == plain:
        chosen = [choices["none"] for choices in by_transform]
    else:  # a target may read other targets, which are transformed now
        chosen = [
            choose_blend(spec, training, transforms, target, methods) for target in range(len(low))
        ]
    units, smallest = units_of(spec, training, transforms)
    return Base(
        members=tuple(choice.members for choice in chosen),
        transforms=tuple(transforms),
        units=units,
        smallest_spread=smallest,
        shifts=tuple(choice.shift for choice in chosen),
    )


def _best_transform(choices: dict[Transform, Choice]) -> Transform:
    best = min(choices, key=lambda transform: choices[transform].error)
    is_worth_it = choices[best].error < (1.0 - WORTH) * choices["none"].error
    return best if is_worth_it else "none"


def choose_blend(
    spec: ForecastSpec,
    training: Series,
    transforms: Sequence[Transform],
    target: int,
    methods: Sequence[str],
) -> Choice:
    """Return the best blend for one target; without a choice where the series are too short."""
    folds = list(rolling(spec, training, transforms, target))
    if not folds:
        is_seasonal = 1 < spec.season <= spec.window
        method = "seasonal naive" if is_seasonal else "persistence"
        return Choice((Member(method, (0,), 1.0),), np.inf, False)
    candidates = [
        candidate for method in methods for candidate in [_best_setting(method, folds)] if candidate
    ]
    members, predicted = _blend(folds, candidates)
    transform = transforms[target]
    error = raw_error(folds, predicted, transform)
    corrected = raw_error(folds, _shifted(folds, predicted), transform)
    shift = corrected < (1.0 - WORTH) * error
    return Choice(members, corrected if shift else error, shift)


def _best_setting(method: str, folds: Sequence[Fold]) -> Candidate | None:
    """Return a method with the setting that does best; None where it does not suit the data."""
    best = None
    for setting in settings(method, folds[0].training):
        predicted = [METHODS[method](fold.training, setting)(fold.measured) for fold in folds]
        error = _error(folds, predicted)
        if best is None or error < (1.0 - WORTH / 5) * best.error:
            best = Candidate(Member(method, setting, 1.0), predicted, error)
    return best


def _error(folds: Sequence[Fold], predicted: Sequence[Array]) -> float:
    """Return the mean absolute error of transformed values, in units of the series."""
    errors = [
        np.abs(fold.measured.truth - own) * np.sqrt(fold.measured.weight)[:, None]
        for fold, own in zip(folds, predicted, strict=True)
    ]
    return float(np.concatenate(errors).mean())


def _blend(
    folds: Sequence[Fold], candidates: Sequence[Candidate]
) -> tuple[tuple[Member, ...], list[Array]]:
    """Average methods: add in each round what helps most, even again (Caruana et al. 2004)."""
    # The simplest one that is as good as the best: they are in this order.
    limit = (1.0 + WORTH) * min(candidate.error for candidate in candidates)
    first = next(k for k, candidate in enumerate(candidates) if candidate.error <= limit)
    rounds, total, error = [first], list(candidates[first].predicted), candidates[first].error
    while len(rounds) < ROUNDS:
        sums = [
            [old + new for old, new in zip(total, candidate.predicted, strict=True)]
            for candidate in candidates
        ]
        tried = [
            _error(folds, [own / (len(rounds) + 1) for own in predicted]) for predicted in sums
        ]
        best = int(np.argmin(tried))
        if tried[best] > (1.0 - WORTH) * error:
            break
        rounds, total, error = [*rounds, best], sums[best], tried[best]
    members = tuple(
        replace(candidate.member, weight=rounds.count(number) / len(rounds))
        for number, candidate in enumerate(candidates)
        if number in rounds
    )
    return members, [own / len(rounds) for own in total]


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
