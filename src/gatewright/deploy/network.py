"""Layers and trained models as networks that every language can print, with recorded answers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gatewright.deploy.stages import chains_of
from gatewright.errors import ArgumentError
from gatewright.exports.network import (
    RECORDED_STEPS,
    Chains,
    ExportedNetwork,
    Recorded,
    check_name,
    floats,
    network_of_layer,
)
from gatewright.exports.program import Array
from gatewright.language.cell import Cell
from gatewright.layers.recurrent import Recurrent
from gatewright.tasks.forecast.base.transform import backward_array
from gatewright.tasks.forecast.metrics import LEVELS
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.task import Batch
from gatewright.training.ensemble import Ensemble
from gatewright.training.model import Model

#: Steps of the sequences that a model for whole sequences is checked with. The last is shorter
#: than any window of a convolution.
RECORDED_LENGTHS = (37, 20, 2)
#: Windows that a forecast is checked with.
RECORDED_WINDOWS = 4


def exported_network(
    model: Any, name: str, *, values: bool = False, network_only: bool = False
) -> ExportedNetwork:
    """A layer, or a trained model whole: from raw values to probabilities or quantiles.

    Args:
        model: A layer, or a model of `train` or `load`.
        name: Begins the names of the program.
        values: Whether the program keeps every named value of a step.
        network_only: Whether a text model that is mixed with counts goes out without them.

    Raises:
        ArgumentError: with the reason why it cannot go out, and what can be done.
    """
    check_name(name)
    if isinstance(model, Recurrent):
        network = network_of_layer(model, name, values=values)
    elif isinstance(model, Model):
        network = _network_of_model(model, name, values, network_only)
    else:
        raise ArgumentError(
            f"{_subject(model)} cannot be exported; expected a layer of gatewright or a model of "
            f"gatewright.train: {_hint(model)}"
        )
    if values and not network.streams:
        raise ArgumentError(
            "values (--values) is True, and the network has no single step to show the values of: "
            f"{network.chains.why_not_stream}; leave values out"
        )
    return network


def _subject(model: Any) -> str:
    """Another object than a layer or a trained model, as the subject of a message."""
    if model is None or isinstance(model, str | os.PathLike):
        return repr(model if model is None else os.fspath(model))
    return f"a {model.__name__ if isinstance(model, type) else type(model).__name__}"


def _hint(model: Any) -> str:
    """The steps from another object to a layer or a model that can be exported."""
    if isinstance(model, str | os.PathLike):
        return f"load it first: gw.export(gw.load({os.fspath(model)!r}), ...)"
    if isinstance(model, Cell) or (isinstance(model, type) and issubclass(model, Cell)):
        return "make a layer of the cell: gw.Recurrent(cell, input_size, hidden_size)"
    if isinstance(model, nn.RNNBase | nn.RNNCellBase):
        return "make it a layer of gatewright: gw.convert(module)"
    if isinstance(model, nn.Module):
        return (
            "convert the layers of another module first, gw.convert(module), and export each of "
            "them"
        )
    return "give what gw.load or gw.train returned, or a layer such as gw.LSTM(3, 8)"


def _network_of_model(model: Model, name: str, values: bool, network_only: bool) -> ExportedNetwork:
    if model.completion is not None and not network_only:
        raise ArgumentError(
            "the model of a text is mixed with counts of its training text, which cannot be "
            "exported; export its network without them: gw.export(model, path, "
            "network_only=True) (--network-only). Its probabilities are then less exact"
        )
    task: Any = model.task
    chains = chains_of(model, values=values)
    further, notes = _inputs(task)
    return ExportedNetwork(
        name=name,
        about=_about(model, chains),
        chains=chains,
        further=further,
        records=_records(model, chains, further),
        output=_output(task),
        labels=_labels(task),
        notes=notes,
    )


def _about(model: Model, chains: Chains) -> str:
    members = len(chains.members)
    several = f"The mean of {members} networks" if members > 1 else "A network"
    return (
        f"{several} ({model.network}, {model.hidden_size} units) for the task {model.task.kind}, "
        "written by Gatewright."
    )


def _output(task: Any) -> str:
    if isinstance(task, Forecast):
        steps = f"the next {task.horizon} steps" if task.horizon > 1 else "the next step"
        targets = _listed(task.targets)
        levels = ", ".join(f"{level:g}" for level in LEVELS)
        return f"for {steps}, for {targets}, the quantiles at {levels}, in the units of the data"
    return f"the probability of each {'class' if task.symbols is None else 'next symbol'}"


def _labels(task: Any) -> tuple[str, ...]:
    if isinstance(task, Forecast):
        return ()
    return tuple(task.classes if task.symbols is None else task.vocabulary)


def _inputs(task: Any) -> tuple[list[Array], tuple[str, ...]]:
    """The inputs in addition to the event, and notes on all of them."""
    if task.symbols is not None:
        return [], ()
    notes = [f"The values of an event: {_listed(task.seen.channels)}."]
    if not isinstance(task, Forecast) or not task.known:
        return [], tuple(notes)
    notes.append(
        f"known: the values of {_listed(task.known)} at each of the {task.horizon} steps that "
        "follow the event, step by step: all of the first step, then all of the second."
    )
    if task.calendar:
        notes.append(f"Of the calendar: {_listed(task.calendar)}, as `read` computes them.")
    return [Array("known", task.horizon * len(task.known))], tuple(notes)


def _listed(names: Iterable[str]) -> str:
    """Names of the user's data, as the comments of any language can hold them."""
    return ", ".join(re.sub(r"[^\w .,;:()+%°=-]", "_", name) for name in names)


def _records(model: Model, chains: Chains, further: list[Array]) -> list[Recorded]:
    """Run random events through a model, in evaluation mode."""
    was_training = model.training
    model.eval()
    draw = torch.Generator().manual_seed(0)
    task = model.task
    try:
        with torch.no_grad():
            if isinstance(task, Forecast):
                return [_forecast(model, task, further, draw)]
            streams = chains.why_not_stream is None
            lengths = (RECORDED_STEPS // 2,) * 2 if streams else RECORDED_LENGTHS
            return [_answers(model, chains, steps, draw) for steps in lengths]
    finally:
        model.train(was_training)


def _answers(model: Model, chains: Chains, steps: int, draw: torch.Generator) -> Recorded:
    """A sequence and the probabilities after it, or after each of its steps."""
    task: Any = model.task
    if task.symbols is not None:
        x = torch.randint(0, task.symbols, (steps, 1), generator=draw)
        outputs = _outputs(model, Batch(x, None, torch.zeros(0)))
    else:
        x = torch.randn(steps, 1, task.inputs, generator=draw)
        x = x.to(model.scale.dtype) * model.scale + model.mean
        if chains.answers_once and chains.why_not_stream is None:
            # The answer after each step is that to the sequence up to this step.
            counts = torch.arange(1, steps + 1)
            outputs = _outputs(model, Batch(x.expand(-1, steps, -1), counts, torch.zeros(0)))
        else:
            outputs = _outputs(model, Batch(x, torch.tensor([steps]), torch.zeros(0)))
    probabilities = outputs.softmax(-1).reshape(-1, task.outputs)
    return Recorded(floats(x[:, 0].reshape(steps, -1)), {}, floats(probabilities))


def _forecast(
    model: Model, task: Forecast, further: list[Array], draw: torch.Generator
) -> Recorded:
    """A series, and the quantiles after each step from the first whole window on; NaN before."""
    steps = task.window + RECORDED_WINDOWS - 1
    x = torch.randn(steps, task.inputs, generator=draw).cumsum(0) / 3.0
    x = (x.to(model.scale.dtype) * model.scale + model.mean).double()
    if task.base is not None:
        for channel, transform in zip(task.places.targets, task.base.transforms, strict=True):
            x[:, channel] = torch.from_numpy(backward_array(x[:, channel].numpy(), transform))
    x = x.to(model.scale.dtype)
    ends = range(task.window, steps + 1)
    windows = torch.stack([x[end - task.window : end] for end in ends], 1)
    known = None
    rows: dict[str, Any] = {}
    if further:
        places = task.positions(task.known)
        known = torch.randn(steps, task.horizon, len(places), generator=draw)
        known = known.to(model.scale.dtype) * model.scale[places] + model.mean[places]
        rows["known"] = floats(known.flatten(1))
        known = known[task.window - 1 :]
    batch = Batch(windows, None, torch.zeros(0), known)
    quantiles = task.predictions([(_outputs(model, batch), batch)], model)
    outputs = np.full((steps, quantiles[0].size), np.nan, np.float32)
    outputs[task.window - 1 :] = quantiles.reshape(len(quantiles), -1)
    return Recorded(floats(x), rows, outputs)


def _outputs(model: Model, batch: Batch) -> Tensor:
    """The outputs of the network for raw values, without what counts would add to them."""
    outputs = [member.read(member.encode(batch.x), batch)[0] for member in _members(model)]
    return outputs[0] if len(outputs) == 1 else model.task.mean_outputs(torch.stack(outputs))


def _members(model: Model) -> Iterator[Any]:
    yield from model.members if isinstance(model, Ensemble) else [model]
