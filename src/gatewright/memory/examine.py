"""Examine how far back a trained model looks, by its gradients and by cutting its history."""

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
from gatewright.memory.model_page import examination_page
from gatewright.memory.units import channels, units
from gatewright.probes.inputs import input_horizon
from gatewright.probes.useful_lag import useful_lag
from gatewright.tasks.classify import Classify
from gatewright.tasks.labelled import relabelled
from gatewright.tasks.tag import Tag
from gatewright.tasks.task import Batch
from gatewright.training.memory_check import evidence
from gatewright.training.model import Model

#: The first sentence on a model that starts from something simpler than its network.
OF_THE_REST = (
    "The forecast starts from its base, which always reads the whole window: these figures are of "
    "what the network adds to it."
)
#: Sequences that are examined.
ROWS = 256


def examine(
    model: Model | str | os.PathLike[str],
    data: str,
    *,
    out: str | os.PathLike[str] | None = None,
) -> Examination:
    """Measure how far back a trained model really looks, on the training part of data.

    >>> examine("runs/vowels", "vowels").used    # doctest: +SKIP
    7

    Args:
        model: A model that `gatewright train` or `compare` wrote, or its directory.
        data: A file, or the name of a bundled data set, of the kind that it was trained on.
        out: New directory for memory.html and memory.json; by default none is written.

    If a task scales each window by its own last value and spread, the scaling is treated as
    fixed: the history is cut, and gradients are taken, after it.

    Raises:
        ArgumentError, DataError, ModelError: before anything is computed.
    """
    target = check_vacant(out) if out is not None else None
    model = model if isinstance(model, Model) else _loaded(model)
    batch = model.task.batches(training_part(model, data)).excerpt(ROWS)
    examination = examine_batch(model.eval(), batch, str(data))
    if target is not None:
        write_directory(
            target,
            {
                "memory.html": examination_page(examination).encode(),
                "memory.json": (examination.to_json() + "\n").encode(),
            },
        )
    return examination


def training_part(model: Model, data: str) -> Any:
    """The training part of data, which are read like the data the model learned from."""
    reading = read(data, **model.reading)
    if reading.task != model.task.kind:
        raise DataError(
            f"{data} is for the task {reading.task}; the model does {model.task.kind}. Give data "
            "like the data that it was trained on"
        )
    ready, _ = model.task.adapt(reading.data)
    if isinstance(model.task, Classify | Tag):
        ready = relabelled(ready, model.task.classes)
    return ready if reading.test is not None else model.task.split(ready)[0]


def _loaded(directory: str | os.PathLike[str]) -> Model:
    model = load(directory)
    if not isinstance(model, Model):
        raise ArgumentError(
            f"{os.fspath(directory)} holds a {type(model).__name__}; give the directory of a "
            "model that was trained with gatewright. For a bare layer use "
            "gatewright.probes.gradient_horizon"
        )
    return model


def examine_batch(model: Model, batch: Batch, data: str) -> Examination:
    """Measure the memory of a model on some sequences; `data` is the name of the data."""
    steps, rows = batch.x.shape[:2]
    lengths = torch.full((rows,), steps) if batch.lengths is None else batch.lengths
    histories = (*(k for k in HISTORIES if k < steps), steps)
    with torch.no_grad():
        z, prepared = model.task.prepare(model.encode(batch.x), batch)
    losses = tuple(loss_of_last(model, z, prepared, batch, lengths, k) for k in histories)
    gradient = input_horizon(
        lambda z: last_loss(model, z, prepared, batch, lengths).expand(rows), z, lengths - 1
    )
    useful = useful_lag(**evidence(model, batch, z, prepared))
    enough = used(histories, losses)
    examination = Examination(
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
    sentences = advice(examination)
    if model.task.start_counts:
        sentences.insert(0, OF_THE_REST)
    return replace(examination, advice=tuple(sentences))
