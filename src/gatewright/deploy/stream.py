"""Layers and trained models that run event by event in another language, as networks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gatewright.errors import ArgumentError
from gatewright.exports.network import (
    RECORDED_STEPS,
    ExportedNetwork,
    StreamRecord,
    network_of_layer,
)
from gatewright.layers.recurrent import Recurrent
from gatewright.training.ensemble import Ensemble
from gatewright.training.model import Model


def stream_network(model: Any, name: str, *, values: bool = False) -> ExportedNetwork:
    """A layer, or a trained model whole: scaling, layers, read-out, probabilities.

    Raises:
        ArgumentError: with the reason why it cannot run event by event, and what can be done.
    """
    if isinstance(model, Recurrent):
        return network_of_layer(model, name, values=values)
    if isinstance(model, Model):
        return _network_of_model(model, name, values)
    raise ArgumentError(
        f"a {type(model).__name__} cannot be exported; expected a layer of gatewright or a model "
        "of gatewright.train: convert the layers of another module first, and export each"
    )


def _network_of_model(model: Model, name: str, values: bool) -> ExportedNetwork:
    layers = _layers(model)
    model.check_weights()
    network = network_of_layer(layers, name, values=values)
    readout = model.readout
    constants = {
        "readout": readout.weight.detach().float().numpy(),
        "readout_bias": readout.bias.detach().float().numpy(),
    }
    task: Any = model.task
    symbols = None
    if task.symbols is not None:
        symbols = tuple(task.alphabet)
        constants["embedding"] = model.embedding.weight.detach().float().numpy()
    else:
        constants["mean"] = model.mean.float().numpy()
        constants["scale"] = model.scale.float().numpy()
    labels = symbols if symbols is not None else tuple(task.classes)
    about = (
        f"A {model.network} of {layers.hidden_size} units for the task {model.task.kind}, written "
        "by Gatewright: after each event, the probability of each "
        f"{'next symbol' if symbols is not None else 'class'}."
    )
    return replace(
        network,
        about=about,
        input_size=1 if symbols is not None else layers.input_size,
        output_size=len(labels),
        constants=constants,
        is_probability=True,
        labels=labels,
        record=_record(model),
    )


def _layers(model: Model) -> Recurrent:
    """The layers of a model that answers event by event.

    Raises:
        ArgumentError: with the reason, where it does not.
    """
    body = model.body
    if isinstance(model, Ensemble):
        raise ArgumentError(
            f"the model is the mean of {len(model.members)} networks; export one of them "
            "(gw.export(model.members[0], path)), or train a single one with seeds=1"
        )
    if model.task.kind == "forecast":
        raise ArgumentError(
            "a forecast reads a whole window of past steps and cannot be exported as a stream; "
            "use gatewright predict, or export its layer: gw.export(model.recurrent, path)"
        )
    if model.recurrent is None:
        raise ArgumentError(
            f"the network {model.network} has no recurrent layer to stream; train a recurrent "
            "cell, such as cell='gru'"
        )
    layers = model.streamed
    if layers is None:
        raise ArgumentError(
            f"the model's design is {body.design.words()}: it needs a whole sequence before it "
            "answers. Train one that does not with design='plain' (--design plain)"
        )
    if model.completion is not None:
        raise ArgumentError(
            "the model of a text is mixed with counts of its training text, which cannot be "
            "exported; export its layers only: gw.export(model.recurrent, path)"
        )
    return layers


def _record(model: Model) -> StreamRecord:
    """Run two streams of random events through a model: its answer after each of them."""
    half = RECORDED_STEPS // 2
    draw = torch.Generator().manual_seed(0)
    x: Tensor
    if model.task.symbols is not None:
        x = torch.randint(0, model.task.symbols, (half, 2), generator=draw)
    else:
        x = torch.randn(half, 2, model.task.inputs, generator=draw) * model.scale + model.mean
    with torch.no_grad():
        features, _ = model.recurrent(model.encode(x))  # type: ignore[misc]  # `_layers` checked it
        answers = nn.functional.softmax(model.readout(features), -1)

    def in_turn(rows: Tensor) -> np.ndarray[Any, Any]:
        flat = rows.transpose(0, 1).reshape(RECORDED_STEPS, -1)
        return np.ascontiguousarray(flat.float().numpy())

    return StreamRecord(in_turn(x), {}, in_turn(answers))
