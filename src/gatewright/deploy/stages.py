"""A trained model as the chains of stages that every export is written from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from gatewright.designs.dilated import DilatedFront
from gatewright.designs.network import SequenceNetwork
from gatewright.designs.preparation import SMALLEST_SPREAD
from gatewright.exports.network import Chains, floats, recurrent_stage
from gatewright.exports.stages import (
    Differences,
    Embedding,
    Floats,
    ForecastWindow,
    Linear,
    LinearBase,
    Part,
    Pointwise,
    Quantiles,
    Scale,
    Segments,
    SequenceScale,
    Softmax,
    Stage,
    Summary,
    SummaryKind,
    Window,
)
from gatewright.tasks.forecast.base.fit import shapes
from gatewright.tasks.forecast.base.transform import LOWEST_SHARE
from gatewright.tasks.forecast.metrics import LEVELS, MEDIAN
from gatewright.tasks.forecast.task import MIN_SPREAD, Forecast
from gatewright.training.ensemble import Ensemble
from gatewright.training.model import Model, TiedReadout
from gatewright.training.window import WindowNetwork


def chains_of(model: Model, *, values: bool = False) -> Chains:
    """Describe a trained model as stages: of each member from raw values on, then of the mean.

    Counts of a text, which a model may be mixed with, are no part of it.

    Args:
        values: Whether the programs of its layers keep all named values.
    """
    members: list[Any] = list(model.members) if isinstance(model, Ensemble) else [model]
    task = model.task
    chains: list[tuple[Stage, ...]] = []
    for number, member in enumerate(members):
        prefix = f"m{number}_" if len(members) > 1 else ""
        first = _first(member, prefix)
        if isinstance(task, Forecast):
            chains.append(
                (first, _forecast_window(member, task, first.output_size, prefix, values))
            )
        else:
            chain = [first, *_network(member, first.output_size, prefix, values)]
            outputs = chain[-1].output_size
            chains.append((*chain, Softmax(name=f"{prefix}softmax", input_size=outputs)))
    ending = (_quantiles(model, task),) if isinstance(task, Forecast) else ()
    return Chains(tuple(chains), ending)


def _first(model: Any, prefix: str) -> Stage:
    """The scaling of raw values, or the embedding of symbols."""
    task = model.task
    if task.symbols is not None:
        factor = model.readout.scale if task.tied else 1.0
        weight = floats(model.embedding.weight * factor)
        return Embedding(name=f"{prefix}embedding", input_size=1, weight=weight)
    transforms = []
    if isinstance(task, Forecast) and task.base is not None:
        for channel, transform in zip(task.places.targets, task.base.transforms, strict=True):
            lowest = LOWEST_SHARE * task.seen.low[channel] if transform == "log" else 0.0
            if transform != "none":
                transforms.append((channel, transform, lowest))
    return Scale(
        name=f"{prefix}input",
        input_size=task.inputs,
        mean=floats(model.mean),
        scale=floats(model.scale),
        transforms=tuple(transforms),
    )


def _network(model: Any, size: int, prefix: str, values: bool) -> Iterator[Stage]:
    """The network and its linear read-out, from scaled events of `size` values."""
    for stage in _body(model, size, prefix, values):
        size = stage.output_size
        yield stage
    readout = model.readout
    if isinstance(readout, TiedReadout):
        yield _linear(readout.projection, f"{prefix}projection")
        shared = readout.shared[0].weight
        weight, bias = floats(shared), floats(readout.bias)
        size = shared.shape[1]
        yield Linear(name=f"{prefix}readout", input_size=size, weight=weight, bias=bias)
    else:
        yield _linear(readout, f"{prefix}readout")


def _body(model: Any, size: int, prefix: str, values: bool) -> Iterator[Stage]:
    """The network from scaled events to the features that its read-out reads."""
    body, every_step = model.body, model.task.every_step
    kind: SummaryKind = "last"
    if isinstance(body, SequenceNetwork):
        for stage in _events(body, size, prefix):
            size = stage.output_size
            yield stage
        joins = body.front is not None and not every_step
        layers = recurrent_stage(body.recurrent, prefix, values=values, joins_input=joins)
        yield layers
        if not every_step:
            yield _summary(body, layers.output_size, f"{prefix}summary")
        return
    if isinstance(body, WindowNetwork):
        offsets = tuple(body.offsets)
        window = Window(name=f"{prefix}window", input_size=size, offsets=offsets, repeats=True)
        yield window
        yield _linear(body.hidden, f"{prefix}hidden")
        size = body.output_size
        yield Pointwise(name=f"{prefix}rectified", input_size=size, function="relu")
        if model.task.centred:
            kind = "mean"
    else:
        stage = recurrent_stage(body, prefix, values=values)
        size = stage.output_size
        yield stage
    if not every_step:
        parts = (Part(kind, 0, size),)
        yield Summary(name=f"{prefix}summary", input_size=size, parts=parts)


def _events(network: Any, size: int, prefix: str) -> Iterator[Stage]:
    """The preparation of events and the convolutional front of a design."""
    preparation = network.preparation
    if preparation.scaling == "sequence":
        yield SequenceScale(name=f"{prefix}own", input_size=size, smallest=SMALLEST_SPREAD)
    if preparation.differences:
        yield Differences(name=f"{prefix}changes", input_size=size)
        size *= 2
    if preparation.segment > 1:
        yield Segments(name=f"{prefix}segments", input_size=size, steps=preparation.segment)
        size *= preparation.segment
    if isinstance(network.front, DilatedFront):
        yield from _dilated(network.front, size, f"{prefix}front")
    elif network.front is not None:
        yield from _convolutions(network.front, size, f"{prefix}front")


def _convolutions(front: Any, size: int, name: str) -> Iterator[Stage]:
    """Stacked convolutions, each with its normalisation and a rectifier."""
    layers = zip(front.convolutions, front.norms, strict=True)
    for number, (convolution, norm) in enumerate(layers):
        own = f"{name}{number}"
        reach = convolution.padding[0]
        offsets = tuple(range(-reach, reach + 1))
        yield Window(name=f"{own}_window", input_size=size, offsets=offsets, repeats=False)
        # The normalisation has fixed numbers by now: it is folded into the matrix and the bias.
        factor = norm.weight / (norm.running_var + norm.eps).sqrt()
        weight = convolution.weight.permute(0, 2, 1).flatten(1) * factor[:, None]
        bias = norm.bias - norm.running_mean * factor
        stage = Linear(
            name=own, input_size=weight.shape[1], weight=floats(weight), bias=floats(bias)
        )
        yield stage
        size = stage.output_size
        yield Pointwise(name=f"{own}_rectified", input_size=size, function="relu")


def _dilated(front: Any, size: int, name: str) -> Iterator[Stage]:
    """Convolutions side by side and the events themselves, as one matrix over all their taps."""
    taps = [
        (convolution, [convolution.dilation[0] * (k - width // 2) for k in range(width)])
        for convolution in front.convolutions
        for width in convolution.kernel_size
    ]
    offsets = sorted({0, *(offset for _, own in taps for offset in own)})
    weight = torch.zeros(front.output_size, len(offsets), size)
    bias = torch.zeros(front.output_size)
    row = 0
    for convolution, own in taps:
        rows = slice(row, row + convolution.out_channels)
        columns = [offsets.index(offset) for offset in own]
        weight[rows, columns] = convolution.weight.detach().permute(0, 2, 1).to(weight)
        bias[rows] = convolution.bias.detach().to(bias)
        row += convolution.out_channels
    weight[row:, offsets.index(0)] = torch.eye(size)
    yield Window(name=f"{name}_window", input_size=size, offsets=tuple(offsets), repeats=False)
    matrix = floats(weight.flatten(1))
    yield Linear(name=name, input_size=matrix.shape[1], weight=matrix, bias=floats(bias))


def _summary(network: Any, size: int, name: str) -> Summary:
    """The summaries of the recurrent outputs, and those of the events that are joined to them."""
    readouts = [network.readout] if network.joined is None else [network.readout, network.joined]
    parts: list[Part] = []
    arrays: dict[str, Floats] = {}
    thresholds = []
    start = 0
    for readout in readouts:
        features = readout.output_size // len(readout.summaries)
        for kind in readout.summaries:
            if kind == "last" and readout.directions == 2:
                half = features // 2
                parts += [Part("last", start, half), Part("first", start + half, half)]
            else:
                parts.append(Part(kind, start, features))
            if kind == "share":
                thresholds.append(floats(readout.thresholds))
            if kind == "attention":
                inner, _, outer = readout.attention.score
                arrays |= {"weight": floats(inner.weight), "bias": floats(inner.bias)}
                arrays["vector"] = floats(outer.weight[0])
        start += features
    if thresholds:
        arrays["thresholds"] = np.concatenate(thresholds)
    return Summary(name=name, input_size=size, parts=tuple(parts), **arrays)


def _forecast_window(
    model: Any, task: Forecast, size: int, prefix: str, values: bool
) -> ForecastWindow:
    """The network of a forecast together with its base and the effect of known values."""
    own = task.places.own
    smallest = (MIN_SPREAD,) * len(own) if task.base is None else task.base.smallest_spread
    in_own_units = task.per_window or task.base is not None
    known: dict[str, Floats | None] = dict.fromkeys(
        ("known_mean", "known_scale", "known_weight", "known_bias", "known_effect")
    )
    if task.known:
        positions = task.positions(task.known)
        inner, _, outer = model.ahead
        known = {
            "known_mean": floats(model.mean[positions]),
            "known_scale": floats(model.scale[positions]),
            "known_weight": floats(inner.weight),
            "known_bias": floats(inner.bias),
            "known_effect": floats(outer.weight),
        }
    return ForecastWindow(
        name=f"{prefix}forecast",
        input_size=size,
        steps=task.window,
        horizon=task.horizon,
        targets=tuple(task.places.targets),
        levels=len(LEVELS),
        chain=tuple(_network(model, size, prefix, values)),
        own=tuple(own) if in_own_units else (),
        smallest=np.asarray(smallest, np.float32) if in_own_units else None,
        scales_network=task.per_window,
        base=_base(model, task, f"{prefix}base"),
        **known,
    )


def _base(model: Any, task: Forecast, name: str) -> LinearBase | None:
    if task.base is None:
        return None
    tensors = {key: getattr(model, key) for key in shapes(task, task.base)}
    places = task.places
    past = tensors.get("base_past")
    known, common = tensors["base_ahead"], tensors["base_static"]
    return LinearBase(
        name=name,
        input_size=task.inputs,
        targets=tuple(places.targets),
        lagged=tuple(places.lagged) if past is not None else (),
        static=tuple(places.static),
        calendar=tuple(places.calendar),
        ahead=tuple(places.ahead),
        own=floats(tensors["base_own"].permute(2, 1, 0)),
        past=None if past is None else floats(past.permute(2, 3, 0, 1).flatten(2)),
        known=floats(known.permute(1, 2, 0)) if len(known) else None,
        common=floats(common.permute(1, 2, 0)) if len(common) else None,
        mean=floats(tensors["base_mean"]),
        bias=floats(tensors["base_bias"]),
        quantiles=floats(tensors["base_quantiles"]),
        fixed=floats(tensors["base_fixed"]),
    )


def _quantiles(model: Any, task: Forecast) -> Quantiles:
    targets = task.places.targets
    size = task.horizon * len(targets) * len(LEVELS)
    transforms = ("none",) * len(targets) if task.base is None else task.base.transforms
    widening = model.widening.expand(task.horizon, len(targets))
    return Quantiles(
        name="units",
        input_size=size,
        widening=floats(widening),
        mean=floats(model.mean[targets]),
        scale=floats(model.scale[targets]),
        transforms=transforms,  # type: ignore[arg-type]
        floor=task.floor,
        rounds=task.rounds,
        median=MEDIAN,
    )


def _linear(layer: nn.Linear, name: str) -> Linear:
    weight, bias = floats(layer.weight), floats(layer.bias)
    return Linear(name=name, input_size=layer.in_features, weight=weight, bias=bias)
