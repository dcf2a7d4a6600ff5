"""The behavioural horizon: the longest lag that a network learns to bridge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from torch import nn

from gatewright.errors import ArgumentError
from gatewright.memory.learning import Budget, LearningResult, learn
from gatewright.memory.tasks import TASKS, MemoryTask

#: The score from which a task counts as learnt.
LEARNT = 0.9
LAGS = (2, 5, 10, 20, 50, 100, 200)


@dataclass(frozen=True, slots=True)
class BehaviouralHorizon:
    """The lags that a network was tried on, and its scores.

    Attributes:
        lags: All lags, rising.
        scores: For each lag that was tried, the score of each seed.
        chance: The score without memory.
        budget: The budget of each training.
        seconds: Processor time of all trainings.
    """

    lags: Sequence[int]
    scores: Mapping[int, Sequence[float]]
    chance: float
    budget: Budget
    seconds: float

    def middle(self, lag: int) -> float | None:
        """The median score over the seeds at a lag; None if the lag was not tried."""
        return median(self.scores[lag]) if lag in self.scores else None

    @property
    def horizon(self) -> int:
        """The longest lag with a median score over the seeds of at least 90 %; 0 if none has."""
        learnt = [lag for lag in self.scores if median(self.scores[lag]) >= LEARNT]
        return max(learnt, default=0)


def behavioural_horizon(
    build: Callable[[MemoryTask], nn.Module],
    *,
    task: Callable[[int], MemoryTask] = TASKS["recall"],
    lags: Sequence[int] = LAGS,
    budget: Budget | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    patience: int = 2,
    on_learnt: Callable[[int, int, LearningResult], None] = lambda lag, seed, result: None,
) -> BehaviouralHorizon:
    """Find the longest lag that a network learns to 90 %, each lag from a fresh start.

    >>> from gatewright.memory import NETWORKS
    >>> result = behavioural_horizon(
    ...     lambda task: NETWORKS["window"].reader(task, 12),
    ...     lags=(2,),
    ...     budget=Budget(steps=250, rate=1e-2),
    ... )
    >>> result.horizon
    2

    Args:
        build: Makes the model from the task; see `learn`.
        task: Makes the task from a lag.
        lags: Rising.
        seeds: Each lag is learnt once with each seed.
        patience: After this many lags in a row that no seed learns, longer lags are not
            tried and count as not learnt.
        on_learnt: Called after each training with the lag, the seed and the result.

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
            result = learn(task(lag), build, budget, seed=seed)
            scores[lag].append(result.score)
            seconds += result.seconds
            on_learnt(lag, seed, result)
        failed = failed + 1 if max(scores[lag]) < LEARNT else 0
    return BehaviouralHorizon(tuple(lags), scores, task(lags[0]).chance, budget, seconds)
