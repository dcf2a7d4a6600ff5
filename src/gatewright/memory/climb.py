"""Let one network climb the lags from one seed: the unit of work of the comparison."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from gatewright.layers.recurrent import Recurrent
from gatewright.memory.behaviour import behavioural_horizon
from gatewright.memory.learning import Budget, LearningResult
from gatewright.memory.networks import NETWORKS, StepReader
from gatewright.memory.tasks import TASKS, MemoryTask
from gatewright.probes.horizon import GradientHorizon, gradient_horizon

#: The longest lag at which gradients are compared, and the length of the sequences for that,
#: which are longer because the first steps after a start from zero are not typical.
MAX_LAG, LENGTH = 200, 240


@dataclass(frozen=True, slots=True)
class Climb:
    """Everything that a climb depends on, so that its result is the same in any process."""

    network: str
    seed: int
    units: int
    lags: tuple[int, ...]
    budget: Budget


@dataclass(frozen=True, slots=True)
class Flow:
    """The part of a `GradientHorizon` that is stored: what is left of the state by lag.

    Attributes:
        left: The share that is left after k = 0, 1, ... steps; 1 at k = 0.
        carried: The share of that which came by the additive path, 0 to 1, for the state
            that carries most; NaN where nothing is left.
        half_life: Steps until half is left.
    """

    left: tuple[float, ...]
    carried: tuple[float, ...]
    half_life: float

    @classmethod
    def of(cls, horizon: GradientHorizon) -> Flow:
        """The flow of a measured horizon."""
        carried = tuple(
            max(path.carried_share(lag) for path in horizon.paths.values())
            for lag in range(horizon.lags + 1)
        )
        return cls(tuple(horizon.state.tolist()), carried, horizon.half_life)


@dataclass(frozen=True, slots=True)
class ClimbResult:
    """The result of a climb.

    Attributes:
        scores: The score at each lag that was tried.
        learnt: The longest lag that was learnt, 0 if none was.
        before, after: The flow of the fresh network, and after learning that lag; None for
            a network without a state.
        seconds: Processor time.
    """

    climb: Climb
    scores: Mapping[int, float]
    learnt: int
    before: Flow | None
    after: Flow | None
    seconds: float


def perform(climb: Climb) -> ClimbResult:
    """Learn each lag from a fresh start, until two in a row are not learnt."""
    network = NETWORKS[climb.network]
    models: dict[int, torch.nn.Module] = {}

    def build(task: MemoryTask) -> StepReader:
        return network.reader(task, climb.units)

    def keep(lag: int, seed: int, result: LearningResult) -> None:
        models[lag] = result.model

    horizon = behavioural_horizon(
        build, lags=climb.lags, budget=climb.budget, seeds=(climb.seed,), on_learnt=keep
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(climb.seed)
        start = build(TASKS["recall"](lag=climb.lags[0]))
    before, after = flow(start), flow(models[horizon.horizon]) if horizon.horizon else None
    scores = {lag: score for lag, (score,) in horizon.scores.items()}
    return ClimbResult(climb, scores, horizon.horizon, before, after, horizon.seconds)


def flow(model: torch.nn.Module) -> Flow | None:
    """The flow through a model's layer while it waits: a symbol, then blanks."""
    body = model.body
    if not isinstance(body, Recurrent):
        return None
    examples = TASKS["recall"](lag=LENGTH).examples(4, seed=0)
    layer = copy.deepcopy(body)
    return Flow.of(gradient_horizon(layer, examples.inputs[:-1], lags=MAX_LAG, ends=1))


def scores_at(trials: Sequence[ClimbResult], lag: int, chance: float) -> list[float]:
    """The score of each seed at a lag; chance if the lag was not tried."""
    return [trial.scores.get(lag, chance) for trial in trials]
