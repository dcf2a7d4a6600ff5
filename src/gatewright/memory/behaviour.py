"""The behavioural horizon: the longest lag that a network still learns to bridge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from torch import nn

from gatewright.errors import ArgumentError
from gatewright.memory.learning import Budget, Learnt, learn
from gatewright.memory.tasks import TASKS, Task

#: The score from which on a task counts as learnt.
LEARNT = 0.9
LAGS = (2, 5, 10, 20, 50, 100, 200)


@dataclass(frozen=True, slots=True)
class BehaviouralHorizon:
    """Which lags were learnt.

    Attributes:
        lags: Those that were asked for, rising.
        scores: Of each lag that was tried, one score a seed.
        chance: The score without memory.
        budget: What each training could spend.
        seconds: Of processor time, for all trainings.
    """

    lags: Sequence[int]
    scores: Mapping[int, Sequence[float]]
    chance: float
    budget: Budget
    seconds: float

    def middle(self, lag: int) -> float | None:
        """The median score over seeds at a lag; None where it was not tried any more."""
        return median(self.scores[lag]) if lag in self.scores else None

    @property
    def horizon(self) -> int:
        """The longest lag whose median score over seeds is at least 90 %; 0 if there is none."""
        learnt = [lag for lag in self.scores if median(self.scores[lag]) >= LEARNT]
        return max(learnt, default=0)


def behavioural_horizon(
    build: Callable[[Task], nn.Module],
    *,
    task: Callable[[int], Task] = TASKS["recall"],
    lags: Sequence[int] = LAGS,
    budget: Budget | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    patience: int = 2,
    on_learnt: Callable[[int, int, Learnt], None] = lambda lag, seed, learnt: None,
) -> BehaviouralHorizon:
    """The longest lag that is still learnt to 90 %, each lag from a fresh start.

    >>> from gatewright.memory import NETWORKS
    >>> found = behavioural_horizon(
    ...     lambda task: NETWORKS["window"].reader(task, 12),
    ...     lags=(2,),
    ...     budget=Budget(steps=250, rate=1e-2),
    ... )
    >>> found.horizon
    2

    Args:
        build: Makes the model from the task; see `learn`.
        task: Makes the task from a lag.
        lags: Rising.
        seeds: Each lag is learnt once with each.
        patience: After this many lags in a row at which no seed learns, longer ones are not
            tried; they count as not learnt.
        on_learnt: Told of each training as it ends: lag, seed, what came of it.

    Raises:
        ArgumentError: if the lags do not rise, or there is no seed.
    """
    if not lags or list(lags) != sorted(set(lags)) or not seeds:
        raise ArgumentError(f"lags={list(lags)}, seeds={list(seeds)}; give rising lags, and seeds")
    budget = budget or Budget()
    scores: dict[int, list[float]] = {}
    failed, seconds = 0, 0.0
    for lag in lags:
        if failed == patience:
            break
        scores[lag] = []
        for seed in seeds:
            learnt = learn(task(lag), build, budget, seed=seed)
            scores[lag].append(learnt.score)
            seconds += learnt.seconds
            on_learnt(lag, seed, learnt)
        failed = failed + 1 if max(scores[lag]) < LEARNT else 0
    return BehaviouralHorizon(tuple(lags), scores, task(lags[0]).chance, budget, seconds)
