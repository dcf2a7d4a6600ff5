"""One training of an experiment: which network, for which task, from which seed."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from gatewright.designs.backpropagation import Backpropagation
from gatewright.layers.init import horizon_
from gatewright.tasks.registry import task_from_config
from gatewright.tasks.task import Task
from gatewright.training.closed_form import is_untrained, run_closed_form
from gatewright.training.history import History
from gatewright.training.loop import Keeper, LoopState, evaluate, run_loop
from gatewright.training.model import Model
from gatewright.training.networks import Network, stored_network
from gatewright.training.ranks.team import Team
from gatewright.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """All that a training depends on except the data; its result is the same in any process."""

    task: Task
    network: str
    hidden_size: int
    seed: int
    recipe: Recipe
    halved: bool = False  # whether it learns from half of its data, to see what more would bring
    cell: Mapping[str, Any] | None = None  # `Network.stored`, where `network` does not name it

    def to_json(self) -> dict[str, Any]:
        """The job in JSON's types, for another process."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**values, "task": self.task.to_config(), "recipe": self.recipe.to_config()}

    @property
    def key(self) -> str:
        """A digest of the job: equal jobs have the same result."""
        text = json.dumps(self.to_json(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The job that `to_json` wrote."""
        task, recipe = task_from_config(values["task"]), Recipe.from_config(values["recipe"])
        return cls(**{**values, "task": task, "recipe": recipe})

    def parts(self, data: Any) -> tuple[Any, Any]:
        """Divide a training part into data to learn from and validation data."""
        training, validation = self.task.parts(data, self.recipe.validation, self.seed)
        return (self.task.half(training) if self.halved else training), validation

    def model(self, training: Any) -> Model:
        """The network before its first step, scaled to the data it will learn from."""
        network = stored_network(self.network, self.cell)
        model = build_model(self.task, self.network, network, self.hidden_size, self.recipe)
        model.fit_scaling(training)
        return model


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a training job."""

    job: TrainingJob
    history: History
    weights: dict[str, Tensor]


def build_model(task: Task, name: str, network: Network, hidden_size: int, recipe: Recipe) -> Model:
    """A model with fresh weights, started for the recipe's memory if it has one."""
    body = network.build(task, hidden_size, recipe.design)
    model = Model(task, name, body, dropout=recipe.dropout)
    if not is_untrained(model):  # which a comparison has next to networks with gradients
        model.backpropagation = Backpropagation(recipe.chunk, recipe.recompute)
    if recipe.memory is not None and model.recurrent is not None:
        with warnings.catch_warnings():
            # `memory_check.memory_remarks` reports a cell that cannot be started for it.
            warnings.simplefilter("ignore")
            horizon_(model.recurrent, recipe.memory)
    return model


def perform(
    job: TrainingJob,
    data: Any,
    on_epoch: Callable[[LoopState], None] = lambda state: None,
    stop: Callable[[], bool] = lambda: False,
    keeper: Keeper | None = None,
    team: Team | None = None,
) -> tuple[Model, History]:
    """Train the network of a job on the training part of a data set; see `fit`."""
    return fit(
        job.parts(data),
        job.model,
        job.recipe,
        seed=job.seed,
        whole=data,
        on_epoch=on_epoch,
        stop=stop,
        keeper=keeper,
        team=team,
    )


def fit(
    parts: tuple[Any, Any],
    build: Callable[[Any], Model],
    recipe: Recipe,
    *,
    seed: int,
    whole: Any | None = None,
    teacher: Model | None = None,
    on_epoch: Callable[[LoopState], None] = lambda state: None,
    stop: Callable[[], bool] = lambda: False,
    keeper: Keeper | None = None,
    team: Team | None = None,
) -> tuple[Model, History]:
    """Build a model for `parts`, the data to learn from and those to choose on, and train it.

    Everything random depends on the seed only; the caller's random numbers stay as they are.

    Args:
        whole: Both parts together, for a design that chooses nothing on the second.
        keeper: Keeps the state of the training, and resumes one that it kept.
        team: The processes that all call this, and do the training together.
        teacher: A trained model to learn from too; see `distil`.
    """
    training, validation = parts
    device = torch.device(recipe.device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = build(training)
        if not is_untrained(model):
            model = model.to(device)
        steps = recipe.steps_per_epoch(model.task.batches(training))
        state = LoopState(model, recipe, steps, seed=seed, team=team, teacher=teacher)
        if is_untrained(model):
            history = run_closed_form(state, training, validation, whole)
            on_epoch(state)
            return model, history
        if keeper is not None:
            keeper.restore(state)
        history = run_loop(state, training, validation, on_epoch=on_epoch, stop=stop, keeper=keeper)
        model = model.to("cpu")  # for what follows, and for the caller
        if not model.task.calibrate(model, validation):
            history.best_epoch = -1
        if history.has_best:
            # Calibrating changed the model's intervals, and with them its metrics.
            _, history.best = evaluate(model, model.task.batches(validation), validation, team)
        model.task.refit(model, validation)
    return model, history
