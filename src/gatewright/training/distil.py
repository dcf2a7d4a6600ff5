"""Distil a model, such as the mean of several, into one network that answers like it.

The network learns from the truth and from the answers of the model that teaches (Hinton et al.
2015, arXiv:1503.02531), which say more of a sequence than its label does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gatewright.designs.design import Design
from gatewright.errors import ArgumentError
from gatewright.language.cell import Cell
from gatewright.layers.saving import load
from gatewright.tasks.task import Task
from gatewright.training.history import History
from gatewright.training.job import build_model, fit
from gatewright.training.model import Model
from gatewright.training.networks import DEFAULT_CELL, Network
from gatewright.training.plan import (
    ExperimentPlan,
    check_counts,
    find_networks,
    make_variant,
    recipe_name,
    recipes_to_try,
)
from gatewright.training.recipe import RECIPES, TRIED
from gatewright.training.source import open_source
from gatewright.training.variants import BUDGETS, Variant


def distil(
    teacher: Model | str | os.PathLike[str],
    data: Any,
    *,
    cell: str | Cell | type[Cell] = DEFAULT_CELL,
    design: Design | str | None = None,
    hidden_size: int | None = None,
    epochs: int | None = None,
    seed: int = 0,
    **reading: Any,
) -> Model:
    """Train one network to answer like a trained model, on the data that this one learned from.

    >>> import gatewright as gw
    >>> teacher = gw.load("runs/vowels")                            # doctest: +SKIP
    >>> student = gw.distil(teacher, "vowels", hidden_size=32)      # doctest: +SKIP
    >>> gw.save(student, "runs/vowels-small")                       # doctest: +SKIP

    Its test part is put aside, as in `train`, so that the result can be measured on it.

    Args:
        teacher: A trained model for classes of sequences, classes of steps, or a forecast; or its
            directory.
        data: The data that it was trained on: a file, a dataframe, or a bundled data set.
        cell: The cell of the new network.
        design: Its shape; by default the simplest trained one of the task.
        hidden_size: Its units; by default from the recipe's number of parameters.
        epochs: Passes over the data; by default those of the recipe.
        seed: Of everything random.
        **reading: How to read the data: see `gatewright.data.read`; by default as the teacher's.

    Returns:
        The new model, on the CPU.

    Raises:
        ArgumentError: if the model cannot teach a network of this design.
        DataError: if the data do not fit the model.
    """
    teacher = load(teacher) if isinstance(teacher, (str, os.PathLike)) else teacher
    if not isinstance(teacher, Model):
        raise ArgumentError(
            f"teacher is a {type(teacher).__name__}; expected a trained model or its directory"
        )
    check_counts(hidden_size=hidden_size, epochs=epochs)
    check_teachable(teacher.task)
    networks = find_networks([cell])
    source = open_source(data, **{**_sizes(teacher), **reading})
    task = teacher.task
    if (type(source.task), source.task.inputs, source.task.outputs) != (
        type(task),
        task.inputs,
        task.outputs,
    ):
        raise ArgumentError(
            f"{source.name} sets the task {source.task.kind} with {source.task.inputs} channels "
            f"and {source.task.outputs} outputs; the teacher learned {task.kind} with "
            f"{task.inputs} and {task.outputs}: give the data that it was trained on"
        )
    recipes = recipes_to_try(
        task, source.training, recipe_name(source), networks, BUDGETS["thorough"], design=design
    )
    trained = [recipe for recipe in recipes if recipe.design.trained]
    if not trained:
        raise ArgumentError(
            "a network of random weights learns in closed form, which a teacher cannot help: "
            "take a design that is trained"
        )
    variant = make_variant(task, trained[0], networks, epochs, None, hidden_size, None)
    return taught(teacher, variant, networks, source.training, seed)[0]


def _sizes(teacher: Model) -> dict[str, Any]:
    """The arguments that read data for a teacher's task."""
    sizes = ("horizon", "window") if teacher.task.kind == "forecast" else ()
    return {name: getattr(teacher.task, name) for name in sizes}


def check_teachable(task: Task) -> None:
    """Refuse a task whose networks carry their states from batch to batch.

    Raises:
        ArgumentError: with the reason.
    """
    if task.kind == "next symbol" or getattr(task, "chunk", None) is not None:
        raise ArgumentError(
            "distil is set, and the networks of a text, or of sequences in chunks, carry their "
            "states from batch to batch, which a teacher cannot follow; leave distil out"
        )


def check_distillable(plan: ExperimentPlan) -> None:
    """Refuse a plan whose networks have no mean that could teach another.

    Raises:
        ArgumentError: if there is nothing to distil.
    """
    check_teachable(plan.task)
    if plan.seeds < 2:
        raise ArgumentError(
            "distil is asked for, and one network is trained, so there is no mean to learn from; "
            "give seeds=3 (--seeds 3)"
        )


def student_of(variant: Variant, networks: Mapping[str, Network]) -> Variant:
    """The variant of a network that learns from others of this one: its design is trained."""
    if variant.recipe.design.trained:
        return variant
    kind = variant.task.kind
    recipes = [replace(RECIPES[kind], **changes) for changes in TRIED[kind]]
    recipe = next(recipe for recipe in recipes if recipe.design.trained)
    own = variant.recipe
    return make_variant(variant.task, recipe, networks, None, None, None, None).computed(
        device=own.device, precision=own.precision, recompute=own.recompute
    )


def taught(
    teacher: Model, variant: Variant, networks: Mapping[str, Network], training: Any, seed: int
) -> tuple[Model, History]:
    """Train the first network of a variant with a teacher; the model and its history."""
    name, network = next(iter(networks.items()))
    task = variant.task
    parts = task.parts(training, variant.recipe.validation, seed)
    recipe = variant.recipe.fitted(task.batches(parts[0]))

    def build(part: Any) -> Model:
        model = build_model(task, name, network, variant.hidden_sizes[name], recipe)
        model.fit_scaling(part)
        return model

    model, history = fit(parts, build, recipe, seed=seed, teacher=teacher.eval())
    model.reading = dict(teacher.reading)
    return model.eval(), history
