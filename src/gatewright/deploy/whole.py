"""Trained models as a whole: from raw values to probabilities, or quantiles in the data's units."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gatewright.deploy.torch_module import module_model
from gatewright.errors import ArgumentError, DataError
from gatewright.tasks.forecast.metrics import LEVELS
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.labelled import Labelled
from gatewright.tasks.padding import check_shapes, pad
from gatewright.tasks.task import Batch
from gatewright.tasks.text.task import NextSymbol
from gatewright.training.model import Model
from gatewright.training.predict import read_new

#: Rows and steps of the example that a model is recorded with; any others will do.
ROWS, STEPS = 3, 11


class WholeModel(nn.Module):
    """A trained model on raw values, batch first: what `predict` computes, by name."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, x: Tensor, lengths: Tensor | None = None, known: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Raw values `(B, T, I)`, or symbols `(B, T)`, to the answers of the task."""
        task = self.model.task
        batch = Batch(x.transpose(0, 1), lengths, x, further=known)
        outputs, _ = self.model(batch)
        answers = task.answers(outputs, batch, self.model)
        if not task.every_step:
            return answers
        return {name: values.transpose(0, 1) for name, values in answers.items()}


@dataclass(frozen=True)
class ModelInput:
    """An input of a whole model: an example, the names of its axes that vary, and its meaning."""

    example: Tensor
    axes: Mapping[int, str]
    meaning: str


def whole_model(model: Model, *, lengths: bool = True, network_only: bool = False) -> Any:
    """A trained model as an ONNX model, with its task in the metadata.

    Args:
        lengths: Whether there is an input with the steps of each sequence, where a task has
            sequences of several lengths.
        network_only: Of a text model that is mixed with counts: its network without the counts.

    Raises:
        ArgumentError: if the model is mixed with counts of its training text.
    """
    if model.completion is not None:
        if not network_only:
            raise ArgumentError(
                "the model of a text is mixed with counts of its training text, which cannot be "
                "exported; export its network with network_only=True (--network-only), whose "
                "probabilities differ from those of the model"
            )
        model = without_counts(model)
    model = copy.deepcopy(model).to("cpu", torch.float32)
    inputs = _inputs(model.task, lengths)
    written = module_model(
        WholeModel(model),
        {name: part.example for name, part in inputs.items()},
        dynamic_shapes={name: dict(part.axes) for name, part in inputs.items()},
    )
    _name_outputs(written, model.task)
    _describe(written, model, inputs)
    return written


def without_counts(model: Model) -> Model:
    """The same model, whose probabilities are those of its network."""
    bare = copy.copy(model)
    bare._modules = {**model._modules, "completion": None}
    return bare


def input_arrays(model: Model, data: Any, **reading: Any) -> dict[str, NDArray[Any]]:
    """The inputs of a trained model's ONNX file for data that `predict` takes.

    >>> import gatewright as gw
    >>> arrays = gw.input_arrays(model, "new.csv")                      # doctest: +SKIP
    >>> session.run(["y"], arrays)[0]                                   # doctest: +SKIP

    Args:
        model: A model of `train` or `load`.
        data: A file, a dataframe, a bundled data set or an object of a data type; of recordings
            also a list of arrays `(time, channels)`.
        **reading: Arguments of `gatewright.read` that differ from the training's.

    Returns:
        By the name of the input, in float32 or int64:
        of recordings `x` `(B, T, channels)`, zero after a sequence's end, and `lengths` `(B,)`;
        of series `x` `(B, window, channels)` with the calendar and static columns, and `known`
        `(B, horizon, channels known ahead)`, where there are some; of a text `x` `(1, T)`.

    Raises:
        ArgumentError: if the model is not a trained one, as a layer is.
        DataError, SizeError: if the data do not fit the model.
    """
    if not isinstance(model, Model):
        raise ArgumentError(
            f"a {type(model).__name__} is no model of gatewright.train, which input_arrays reads "
            "data for; the inputs of a layer's ONNX file are the arrays that the layer takes"
        )
    task: Any = model.task
    if isinstance(task, Labelled) and isinstance(data, list | tuple | np.ndarray):
        if not len(data):
            raise DataError("the data have no sequences; expected at least one (time, channels)")
        sequences: Any = data
        return _padded(check_shapes(sequences, task.inputs))
    new, *_ = read_new(model, data, reading)
    if isinstance(task, Forecast):
        series = task.predictable(new)
        windows = [
            task.latest(series, position, task.horizon, torch.float32)
            for position in range(len(series))
        ]
        arrays = {"x": torch.cat([batch.x for batch in windows], 1).transpose(0, 1)}
        known = [batch.further for batch in windows if batch.further is not None]
        arrays |= {"known": torch.cat(known)} if known else {}
        return {name: tensor.contiguous().numpy() for name, tensor in arrays.items()}
    adapted, _ = task.adapt(new)
    if isinstance(task, NextSymbol):
        codes = task.pairs.encode(adapted.codes) if task.joined else adapted.codes
        return {"x": np.asarray(codes, np.int64)[None]}
    return _padded(adapted.sequences)


def _padded(sequences: Any) -> dict[str, NDArray[Any]]:
    x, lengths = pad(sequences)
    return {"x": x.transpose(0, 1).contiguous().numpy(), "lengths": lengths.numpy()}


def _inputs(task: Any, lengths: bool) -> dict[str, ModelInput]:
    """The inputs of a task's model by name."""
    sequences = {0: "B", 1: "T"}
    if isinstance(task, NextSymbol):
        example = torch.zeros(ROWS, STEPS, dtype=torch.int64)
        meaning = "(batch, time): the numbers of the symbols, in the order of the labels"
        return {"x": ModelInput(example, sequences, meaning)}
    channels = ", ".join(task.seen.channels)
    if isinstance(task, Forecast):
        example = torch.ones(ROWS, task.window, task.inputs)
        shape = f"(batch, {task.window}, {task.inputs})"
        meaning = f"{shape}: the last {task.window} steps of {channels}"
        inputs = {"x": ModelInput(example, {0: "B"}, meaning)}
        if task.known:
            example = torch.ones(ROWS, task.horizon, len(task.known))
            shape = f"(batch, {task.horizon}, {len(task.known)})"
            meaning = f"{shape}: {', '.join(task.known)} in the {task.horizon} steps to forecast"
            inputs["known"] = ModelInput(example, {0: "B"}, meaning)
        return inputs
    example = torch.ones(ROWS, STEPS, task.inputs)
    meaning = f"(batch, time, {task.inputs}): the values as recorded of {channels}"
    inputs = {"x": ModelInput(example, sequences, meaning)}
    if lengths:
        meaning = "(batch,): the steps of each sequence; later values of x are not read"
        steps = torch.arange(STEPS, STEPS - ROWS, -1)
        inputs["lengths"] = ModelInput(steps, {0: "B"}, meaning)
    return inputs


def _name_outputs(written: Any, task: Any) -> None:
    """Give the outputs the names of the answers, in whose order torch has them."""
    names = ["y", *(["y_mean"] if isinstance(task, Forecast) and task.has_means else [])]
    new = dict(zip([value.name for value in written.graph.output], names, strict=True))
    for value in written.graph.output:
        value.name = new[value.name]
    for node in written.graph.node:
        for names_of in (node.input, node.output):
            for position, name in enumerate(names_of):
                names_of[position] = new.get(name, name)


def _describe(written: Any, model: Model, inputs: Mapping[str, ModelInput]) -> None:
    """Write the task, the inputs and the outputs into the metadata, as JSON."""
    from onnx import helper

    task: Any = model.task
    about: dict[str, Any] = {
        "task": task.kind,
        "network": model.network,
        "inputs": {name: part.meaning for name, part in inputs.items()},
    }
    if isinstance(task, Forecast):
        levels = ", ".join(map(str, LEVELS))
        about["outputs"] = {
            "y": f"(batch, {task.horizon}, {len(task.targets)}, {len(LEVELS)}): the quantiles "
            f"{levels} of {', '.join(task.targets)}, in the units of the data"
        }
        if task.has_means:
            about["outputs"]["y_mean"] = "the mean forecast; of targets that are never below 0"
        about |= {
            "targets": list(task.targets),
            "levels": list(LEVELS),
            "channels": list(task.seen.channels),
            "known": list(task.known),
            "static": list(task.static),
            "period": task.period,
            "calendar": {cycle: CALENDAR[cycle] for cycle in task.calendar},
        }
    elif isinstance(task, NextSymbol):
        about["labels"] = list(task.vocabulary)
        about["outputs"] = {"y": "(batch, time, labels): the probability of each next symbol"}
    else:
        about |= {"labels": list(task.classes), "channels": list(task.seen.channels)}
        steps = ", time" if task.every_step else ""
        about["outputs"] = {"y": f"(batch{steps}, labels): the probability of each class"}
    stored = {k: v if isinstance(v, str) else json.dumps(v) for k, v in about.items()}
    helper.set_model_props(written, stored)


#: The phase of a time in each cycle of the calendar, from 0 to 1. Its columns are the sine and the
#: cosine of 2 π times the phase.
CALENDAR = {
    "hour of day": "time since midnight / 24 hours",
    "day of week": "time since Monday, midnight / 7 days",
    "day of year": "time since New Year / length of the year",
}
