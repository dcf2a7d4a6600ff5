"""One training run of a comparison: which network, for which task, with which seed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import torch

from gatewright.layers.init import horizon_
from gatewright.layers.recurrent import Recurrent
from gatewright.tasks.registry import task_from_config
from gatewright.tasks.task import Task
from gatewright.training.loop import History, evaluate, train
from gatewright.training.model import Model
from gatewright.training.networks import Network, stored_network
from gatewright.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Run:
    """All that a run depends on beside the data: it comes out the same in whichever process."""

    task: Task
    network: str
    hidden_size: int
    seed: int
    recipe: Recipe
    cell: Mapping[str, Any] | None = None  # `Network.stored`, where `network` does not name it

    def to_json(self) -> dict[str, Any]:
        """In JSON's types, for a process of its own."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        recipe = {field.name: getattr(self.recipe, field.name) for field in fields(Recipe)}
        return {**given, "task": self.task.to_config(), "recipe": recipe}

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Self:
        """What `to_json` wrote."""
        task, recipe = task_from_config(given["task"]), Recipe(**given["recipe"])
        return cls(**{**given, "task": task, "recipe": recipe})

    def parts(self, data: Any) -> tuple[Any, Any]:
        """From a training part, the data to learn from and those to choose on."""
        return self.task.parts(data, self.recipe.validation, self.seed)

    def model(self, training: Any) -> Model:
        """The network before its first step, scaled to what it will learn from."""
        network = stored_network(self.network, self.cell)
        model = build_model(self.task, self.network, network, self.hidden_size, self.recipe)
        model.fit_scaling(training)
        return model


def build_model(task: Task, name: str, network: Network, hidden_size: int, recipe: Recipe) -> Model:
    """A model with fresh weights, started for the recipe's memory if it has one."""
    model = Model(task, name, network.build(task, hidden_size), dropout=recipe.dropout)
    if recipe.memory is not None and isinstance(model.body, Recurrent):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a cell's limit `useful.on_memory` tells
            horizon_(model.body, recipe.memory)
    return model


def perform(
    run: Run,
    data: Any,
    on_epoch: Callable[[History], None] = lambda history: None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Model, History]:
    """Train the network of a run from its seed on the training part of a data set."""
    parts = run.parts(data)
    return fit(parts, run.model, run.recipe, seed=run.seed, on_epoch=on_epoch, stop=stop)


def fit(
    parts: tuple[Any, Any],
    build: Callable[[Any], Model],
    recipe: Recipe,
    *,
    seed: int,
    on_epoch: Callable[[History], None] = lambda history: None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Model, History]:
    """Build a model for the first of two parts, train it on that, and choose on the second.

    All depends on the seed alone; the caller's random numbers stay as they are.
    """
    training, validation = parts
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(training)
        history = train(
            model, training, validation, recipe, seed=seed, on_epoch=on_epoch, stop=stop
        )
        model.task.calibrate(model, validation)
        if history.kept >= 0:
            # What calibrating has changed is true of the model that is kept: its intervals.
            _, values = evaluate(model, model.task.batches(validation), validation)
            history.validation[history.kept] = values
    return model, history
