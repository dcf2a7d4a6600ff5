"""One network climbs the lags from one seed: the unit of work of the lesson's comparison."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from gatewright.layers.recurrent import Recurrent
from gatewright.memory.behaviour import behavioural_horizon
from gatewright.memory.learning import Budget, Learnt
from gatewright.memory.networks import NETWORKS, Reader
from gatewright.memory.tasks import TASKS, Task
from gatewright.probes.horizon import GradientHorizon, gradient_horizon

#: The longest lag at which gradients are compared, and the length of the sequences for that:
#: the longer, since the first steps behind a start from zero are like no others.
FOLLOWED, LENGTH = 200, 240


@dataclass(frozen=True, slots=True)
class Climb:
    """All that a climb depends on, so that it comes out the same in whichever process."""

    network: str
    seed: int
    units: int
    lags: tuple[int, ...]
    budget: Budget


@dataclass(frozen=True, slots=True)
class Flow:
    """How much of the state is left after k steps: what is kept of a `GradientHorizon`.

    Attributes:
        left: For k = 0, 1, ...; 1 at k = 0.
        carried: How much of what is left came by the additive path, 0 to 1, from the state
            that carries most; NaN where nothing is left.
        half_life: Steps until half is left.
    """

    left: tuple[float, ...]
    carried: tuple[float, ...]
    half_life: float

    @classmethod
    def of(cls, found: GradientHorizon) -> Flow:
        """The flow of a measured horizon."""
        carried = tuple(
            max(path.carried_share(lag) for path in found.paths.values())
            for lag in range(found.lags + 1)
        )
        return cls(tuple(found.state.tolist()), carried, found.half_life)


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of a climb.

    Attributes:
        scores: By lag, of those that were tried.
        learnt: The longest lag that was learnt, 0 if none was.
        before, after: The flow as the network starts, and after learning that lag; None for
            what has no state.
        seconds: Of processor time.
    """

    climb: Climb
    scores: Mapping[int, float]
    learnt: int
    before: Flow | None
    after: Flow | None
    seconds: float


def perform(climb: Climb) -> Trial:
    """Climb: learn each lag afresh, until two in a row are not learnt."""
    network = NETWORKS[climb.network]
    models: dict[int, torch.nn.Module] = {}

    def build(task: Task) -> Reader:
        return network.reader(task, climb.units)

    def keep(lag: int, seed: int, learnt: Learnt) -> None:
        models[lag] = learnt.model

    found = behavioural_horizon(
        build, lags=climb.lags, budget=climb.budget, seeds=(climb.seed,), on_learnt=keep
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(climb.seed)
        start = build(TASKS["recall"](lag=climb.lags[0]))
    before, after = flow(start), flow(models[found.horizon]) if found.horizon else None
    scores = {lag: score for lag, (score,) in found.scores.items()}
    return Trial(climb, scores, found.horizon, before, after, found.seconds)


def flow(model: torch.nn.Module) -> Flow | None:
    """The flow through a model's layer while it waits: a symbol, and blanks behind it."""
    body = model.body
    if not isinstance(body, Recurrent):
        return None
    examples = TASKS["recall"](lag=LENGTH).examples(4, seed=0)
    layer = copy.deepcopy(body)
    return Flow.of(gradient_horizon(layer, examples.inputs[:-1], lags=FOLLOWED, ends=1))


def taken_together(trials: Sequence[Trial], lag: int, chance: float) -> list[float]:
    """The score of each seed at a lag; chance where it was not tried any more."""
    return [trial.scores.get(lag, chance) for trial in trials]
