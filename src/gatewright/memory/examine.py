"""How far back a user's own model really looks: by its gradients, and when history is cut."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import torch

from gatewright.data import read
from gatewright.errors import ArgumentError, DataError
from gatewright.files import check_vacant, write_directory
from gatewright.layers.saving import load
from gatewright.memory.advice import advice
from gatewright.memory.examination import Examination
from gatewright.memory.history import HISTORIES, last_loss, loss_of_last, used
from gatewright.memory.units import channels, units
from gatewright.probes.inputs import input_horizon
from gatewright.probes.useful_lag import useful_lag
from gatewright.tasks.classify import Classify
from gatewright.tasks.labelled import relabelled
from gatewright.tasks.tag import Tag
from gatewright.tasks.task import Batch
from gatewright.training.memory_check import evidence
from gatewright.training.model import Model

#: Sequences that are looked at.
ROWS = 256


def examine(
    model: Model | str | os.PathLike[str],
    data: str,
    *,
    out: str | os.PathLike[str] | None = None,
) -> Examination:
    """How far back a trained model really looks, on the part of data that one learns from.

    >>> examine("runs/vowels", "vowels").used    # doctest: +SKIP
    7

    Args:
        model: A model that `gatewright train` or `compare` wrote, or its directory.
        data: A file, or the name of a bundled data set, of the kind that it was trained on.
        out: New directory for memory.html and memory.json; none is written unless given.

    Where a task scales each window by its own last value and spread, that scaling is taken as
    given: what is cut, and what gradients are taken of, is what the network reads.

    Raises:
        ArgumentError, DataError, ModelError: before anything is computed.
    """
    from gatewright.memory.model_page import examination_page

    target = check_vacant(out) if out is not None else None
    model = model if isinstance(model, Model) else _loaded(model)
    batch = model.task.batches(learned_from(model, data)).excerpt(ROWS)
    found = looked_at(model.eval(), batch, str(data))
    if target is not None:
        write_directory(
            target,
            {
                "memory.html": examination_page(found).encode(),
                "memory.json": (found.to_json() + "\n").encode(),
            },
        )
    return found


def learned_from(model: Model, data: str) -> Any:
    """The part that one learns from, of data that are read as the model's own were."""
    found = read(data, **model.reading)
    if found.task != model.task.kind:
        raise DataError(
            f"{data} is for the task {found.task}; the model does {model.task.kind}. Give data "
            "like those that it was trained on"
        )
    ready, _ = model.task.adapt(found.data)
    if isinstance(model.task, Classify | Tag):
        ready = relabelled(ready, model.task.classes)
    return ready if found.test is not None else model.task.split(ready)[0]


def _loaded(directory: str | os.PathLike[str]) -> Model:
    model = load(directory)
    if not isinstance(model, Model):
        raise ArgumentError(
            f"{os.fspath(directory)} holds a {type(model).__name__}; give the directory of a "
            "model that was trained with gatewright. For a bare layer there is "
            "gatewright.probes.gradient_horizon"
        )
    return model


def looked_at(model: Model, batch: Batch, data: str) -> Examination:
    """What the memory of a model does on some sequences, of data with this name."""
    steps, rows = batch.x.shape[:2]
    lengths = torch.full((rows,), steps) if batch.lengths is None else batch.lengths
    histories = (*(k for k in HISTORIES if k < steps), steps)
    with torch.no_grad():
        z, kept = model.task.prepare(model.encode(batch.x), batch)
    losses = tuple(loss_of_last(model, z, kept, batch, lengths, k) for k in histories)
    gradient = input_horizon(
        lambda z: last_loss(model, z, kept, batch, lengths).expand(rows), z, lengths - 1
    )
    useful = useful_lag(**evidence(model, batch, z, kept))
    enough = used(histories, losses)
    found = Examination(
        data=data,
        network=model.network,
        sequences=rows,
        steps=steps,
        histories=histories,
        losses=losses,
        used=enough,
        gradient=tuple(gradient.inputs.tolist()),
        reach=gradient.horizon,
        useful=useful.steps,
        beyond=useful.lost(enough),
        channels=tuple(channels(model, gradient.channels)),
        layers=tuple(units(model, z, lengths)),
        advice=(),
    )
    return replace(found, advice=tuple(advice(found)))
