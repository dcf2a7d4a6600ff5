"""The base of the estimators: settings of the training, and a model that can be saved."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from gatewright.backends.recompute import check_recompute
from gatewright.designs.design import Design
from gatewright.errors import ArgumentError, ModelError
from gatewright.language.cell import StoredCell
from gatewright.layers.saving import load, save
from gatewright.tasks.task import Task
from gatewright.training.choose_device import choose_device
from gatewright.training.history import History
from gatewright.training.job import build_model, fit
from gatewright.training.model import Model
from gatewright.training.networks import find_network
from gatewright.training.plan import (
    check_counts,
    check_gradients,
    effort_on,
    make_variant,
    recipes_to_try,
)
from gatewright.training.recipe import Recipe
from gatewright.training.variants import Variant, find_effort, simplest_of_the_best

#: Next to the model's own files: settings and attributes of the estimator.
FILE = "estimator.json"


class NetworkEstimator(BaseEstimator):  # type: ignore[misc]
    """The base of the estimators. A subclass has these settings, and makes a task from data."""

    cell: Any
    design: Any
    budget: str
    hidden_size: int | None
    epochs: int | None
    batch_size: int
    learning_rate: float
    dropout: float
    patience: int | None
    validation_fraction: float
    random_state: Any
    recompute: int | None
    device: Any

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _recipe(self, base: Recipe) -> Recipe:
        """Put the settings into a recipe; without epochs, its length is that of `train`."""
        recipe = replace(
            base,
            batch_size=int(self.batch_size),
            learning_rate=self.learning_rate,
            dropout=self.dropout,
            validation=self.validation_fraction,
            recompute=_python_number(self.recompute),
        )
        if self.epochs is None:
            return recipe
        return replace(
            recipe,
            epochs=int(self.epochs),
            patience=self.patience,
            keep_from=0.0,  # every epoch may be kept: patience counts from the best so far
            least_steps=0,
        )

    def _check_settings(self) -> None:
        """Refuse a setting that no training can use."""
        for name, count in self._counts("batch_size").items():
            if count is None:
                raise ArgumentError(f"{name} is None; expected a whole number from 1")
        self._counts("hidden_size", "epochs", "patience")
        recompute = _python_number(self.recompute)
        check_recompute(recompute)
        check_gradients(dict([find_network(self.cell)]), recompute=recompute)
        for name, low, high in (
            ("learning_rate", 0.0, math.inf),
            ("validation_fraction", 0.0, 1.0),
        ):
            if not low < getattr(self, name) < high:
                raise ArgumentError(
                    f"{name} is {getattr(self, name)}; expected a number between {low:g} and "
                    f"{high:g}"
                )
        if not 0.0 <= self.dropout < 1.0:
            raise ArgumentError(f"dropout is {self.dropout}; expected a number from 0 to below 1")

    def _counts(self, *names: str) -> dict[str, Any]:
        """Check that each of these settings is a whole number from 1 or None; by name."""
        counts = {name: _python_number(getattr(self, name)) for name in names}
        check_counts(**counts)
        return counts

    def _learn(self, tasks: Sequence[Task], data: Any) -> tuple[Model, History]:
        """Train a model in this process; everything random depends on `random_state`.

        Its design, and the task's formulation where there are several, are chosen as `train` does:
        by short trainings on several validation parts, the simplest within a standard error.

        Args:
            tasks: Formulations of the task, the simplest first.
            data: All data to learn from.
        """
        name, network = find_network(self.cell)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        effort = find_effort(self.budget)
        recipes = recipes_to_try(
            tasks[0], data, tasks[0].kind, {name: network}, effort, design=self.design
        )
        effort = effort_on(recipes, effort)
        size = self._counts("hidden_size")["hidden_size"]
        variants = []
        for task, recipe in product(tasks, recipes):
            own = self._recipe(recipe)
            learned, _ = task.parts(data, own.validation, seed)
            own = own.fitted(task.batches(learned))
            variants.append(make_variant(task, own, {name: network}, None, None, size, None))
        chosen = 0
        if len(variants) > 1:
            losses = [
                [
                    self._fit(variant.with_share(effort.pilot), data, seed + fold)[1].best_loss
                    for fold in range(effort.folds)
                ]
                for variant in variants
            ]
            chosen = simplest_of_the_best(losses)
        return self._fit(variants[chosen], data, seed)

    def _fit(self, variant: Variant, data: Any, seed: int) -> tuple[Model, History]:
        name, network = find_network(self.cell)
        task, recipe, size = variant.task, variant.recipe, variant.hidden_sizes[name]

        def build(training: Any) -> Model:
            model = build_model(task, name, network, size, recipe)
            model.fit_scaling(training)
            return model

        with torch.random.fork_rng(devices=[]):
            fresh = build_model(task, name, network, size, recipe)
        recipe = replace(recipe, device=str(choose_device(self.device, [fresh])[0]))
        parts = task.parts(data, recipe.validation, seed)
        return fit(parts, build, recipe, seed=seed, whole=data)

    def _store(self, model: Model, history: History) -> None:
        self.model_ = model
        self.history_ = history
        self.n_iter_ = len(history.train_loss)

    def save(self, directory: str | os.PathLike[str]) -> Path:
        """Write the fitted estimator as a new directory, without pickle.

        The directory appears complete or not at all. It is a model directory, too, so that
        `gatewright.load` reads the network from it.

        Raises:
            ArgumentError: if the directory is not empty.
        """
        check_is_fitted(self)
        settings = self.get_params(deep=False)
        if not isinstance(self.cell, str):
            _, network = find_network(self.cell)
            settings["cell"] = network.stored(self.model_.task, self.model_.hidden_size)
        if isinstance(self.design, Design):
            settings["design"] = self.design.to_config()
        if isinstance(self.random_state, np.random.RandomState):
            settings["random_state"] = None  # its numbers are used up; a new fit draws others
        learned = {
            name: value
            for name, value in vars(self).items()
            if name.endswith("_") and name not in ("model_", "history_")
        }
        stored = {
            "kind": type(self).__name__,
            "settings": settings,
            "learned": learned,
            "history": self.history_.to_json(),
        }
        text = json.dumps(stored, indent=2, default=_to_json) + "\n"
        return save(self.model_, directory, files={FILE: text.encode()})

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Self:
        """The fitted estimator that `save` wrote; nothing is unpickled.

        Raises:
            ModelError: if the directory is damaged, or was written by something else.
        """
        model = load(directory)
        try:
            stored = json.loads((Path(directory) / FILE).read_text(encoding="utf-8"))
            kind, settings = stored["kind"], stored["settings"]
            if kind != cls.__name__:
                raise ModelError(
                    f"{directory} holds a {kind}, not a {cls.__name__}: load it with {kind}.load"
                )
            if isinstance(settings["cell"], dict):
                settings["cell"] = StoredCell.from_json(settings["cell"])
            if isinstance(settings.get("design"), dict):
                settings["design"] = Design.from_config(settings["design"])
            estimator = cls(**settings)
            for name, value in stored["learned"].items():
                is_array = isinstance(value, dict)
                setattr(
                    estimator,
                    name,
                    np.array(value["values"], value["dtype"]) if is_array else value,
                )
            estimator._store(model, History.from_json(stored["history"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{directory} is not the directory of an estimator, or its {FILE} is damaged "
                f"({type(error).__name__}: {error}); write it again with save"
            ) from error
        return estimator


def _to_json(value: Any) -> Any:
    """Turn an array into its type and values, and a number of numpy into one of Python."""
    if isinstance(value, np.ndarray):
        return {"dtype": value.dtype.str, "values": value.tolist()}
    if isinstance(value, np.generic):
        return value.item()
    raise ArgumentError(f"{value!r} cannot be written to {FILE}; expected numbers or text")


def _python_number(value: Any) -> Any:
    """Turn a whole number of numpy, as a search over settings gives it, into one of Python."""
    return int(value) if isinstance(value, np.integer) else value
