"""A trained model as stages: what happens to a sequence before, in and after the layers.

A stage reads the results of earlier stages, each a matrix of T rows, one a step, or of one row, and
returns one. `docs/page-format.md` lists the operations. The page runs them, and their derivatives
backwards.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from gatewright.designs.front import ConvolutionalFront
from gatewright.designs.network import SequenceNetwork
from gatewright.designs.preparation import SMALLEST_SPREAD
from gatewright.designs.readout import Readout
from gatewright.errors import ArgumentError
from gatewright.layers.recurrent import Recurrent
from gatewright.page.blob import Blob
from gatewright.page.cell import layer_parts
from gatewright.tasks.forecast.task import MIN_SPREAD, Forecast
from gatewright.tasks.text.task import NextSymbol
from gatewright.training.ensemble import Ensemble
from gatewright.training.model import Model, TiedReadout


class Stages:
    """The stages of a model, added one by one.

    Attributes:
        blob: The numbers of all stages and layers.
        stages: Each with its operation, the stages that it reads, and its settings.
        layers: The recurrent layers that the stages of the operation "layer" run.
        scores: The stage before a softmax, if the model ends with one.
    """

    def __init__(self) -> None:
        self.blob = Blob()
        self.stages: list[dict[str, Any]] = []
        self.layers: list[dict[str, Any]] = []
        self.scores: int | None = None

    def add(self, op: str, *reads: int, **settings: Any) -> int:
        """Add a stage, and return its position."""
        self.stages.append({"op": op, "reads": list(reads), **settings})
        return len(self.stages) - 1

    def linear(self, x: int, name: str, module: nn.Linear) -> int:
        """Add an affine map of each row."""
        bias = None if module.bias is None else self.blob.add(f"{name}.bias", module.bias)
        weight = self.blob.add(f"{name}.weight", module.weight)
        return self.add("linear", x, weight=weight, bias=bias)

    def recurrent(self, x: int, layers: Recurrent, prefix: str = "") -> int:
        """Add recurrent layers: each reads the joined outputs of the directions below it."""
        parts = iter(layer_parts(layers, self.blob, prefix))
        for _ in range(layers.num_layers):
            outputs = []
            for _ in range(layers.directions):
                self.layers.append(next(parts))
                outputs.append(self.add("layer", x, layer=len(self.layers) - 1))
            x = outputs[0] if len(outputs) == 1 else self.add("join", *outputs)
        return x


def layer_stages(layers: Recurrent) -> Stages:
    """The stages of bare layers: the input, and the layers."""
    stages = Stages()
    stages.recurrent(stages.add("input"), layers)
    return stages


def model_stages(model: Model) -> Stages:
    """The stages of a trained model, up to its answer in the units of the data.

    Raises:
        ArgumentError: if the model has no recurrent layers.
    """
    stages = Stages()
    members = list(model.members) if isinstance(model, Ensemble) else [model]
    for member in members:
        if member.recurrent is None:
            raise ArgumentError(
                f"the network {member.network} has no recurrent layers to look into; train a "
                "recurrent cell, such as cell='gru'"
            )
    prefixes = ["", *(f"m{k}." for k in range(1, len(members)))]
    if isinstance(model.task, Forecast):
        _forecast(stages, model, members, prefixes)
        return stages
    answers = []
    for member, prefix in zip(members, prefixes, strict=True):
        scores = _scores(stages, member, prefix)
        answers.append(stages.add("softmax", scores))
        if len(members) == 1:
            stages.scores = scores
    if len(answers) > 1:
        stages.add("average", *answers)
    return stages


def _encoded(stages: Stages, model: Model, prefix: str) -> int:
    """Scaled values or embedded symbols."""
    x = stages.add("input")
    task, blob = model.task, stages.blob
    if isinstance(task, NextSymbol):
        factor = model.readout.scale if task.tied else 1.0
        table = blob.add(f"{prefix}embedding", model.embedding.weight)
        return stages.add("embed", x, table=table, factor=factor)
    if isinstance(task, Forecast) and task.base is not None:
        low = [float(task.seen.low[position]) for position in task.places.targets]
        for column, transform, lowest in zip(
            task.places.targets, task.base.transforms, low, strict=True
        ):
            if transform != "none":
                x = stages.add("transform", x, column=column, kind=transform, low=lowest)
    mean, scale = blob.add(f"{prefix}mean", model.mean), blob.add(f"{prefix}scale", model.scale)
    return stages.add("scale", x, mean=mean, scale=scale)


def _features(stages: Stages, model: Model, z: int, prefix: str) -> int:
    """The features that the read-out reads: of each step, or one row of the whole sequence."""
    layers = model.recurrent
    assert layers is not None
    body = model.body
    if not isinstance(body, SequenceNetwork):
        output = stages.recurrent(z, layers, prefix)
        return output if model.task.every_step else stages.add("last", output)
    design = body.design
    if design.scaling == "sequence":
        z = stages.add("standardise", z, smallest=SMALLEST_SPREAD)
    if design.differences:
        z = stages.add("differences", z)
    if design.segment > 1:
        z = stages.add("segments", z, steps=design.segment)
    if body.front is not None:
        z = _front(stages, body.front, z, prefix)
    output = stages.recurrent(z, layers, prefix)
    if model.task.every_step:
        return output
    features = _summaries(stages, body.readout, output, prefix)
    if body.front is not None:
        features.append(stages.add("mean", z))
    return features[0] if len(features) == 1 else stages.add("join", *features)


def _front(stages: Stages, front: ConvolutionalFront, z: int, prefix: str) -> int:
    """Three convolutions, each with its normalisation folded into its weights."""
    pairs = zip(front.convolutions, front.norms, strict=True)
    for k, (convolution, norm) in enumerate(pairs):
        assert isinstance(convolution, nn.Conv1d) and isinstance(norm, nn.BatchNorm1d)
        assert norm.running_mean is not None and norm.running_var is not None
        gain = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        weight = convolution.weight.double() * gain[:, None, None]
        bias = norm.bias.double() - norm.running_mean.double() * gain
        z = stages.add(
            "convolution",
            z,
            weight=stages.blob.add(f"{prefix}front.{k}.weight", weight),
            bias=stages.blob.add(f"{prefix}front.{k}.bias", bias),
        )
        z = stages.add("relu", z)
    return z


def _summaries(stages: Stages, readout: Readout, x: int, prefix: str) -> list[int]:
    """The summaries of the steps of a sequence."""
    results = []
    for name in readout.summaries:
        match name:
            case "attention":
                score: Any = readout.attention.score
                hidden = stages.linear(x, f"{prefix}attention.0", score[0])
                scores = stages.linear(stages.add("tanh", hidden), f"{prefix}attention.1", score[2])
                results.append(stages.add("attend", scores, x))
            case "share":
                thresholds = stages.blob.add(f"{prefix}thresholds", readout.thresholds)
                results.append(stages.add("share", x, thresholds=thresholds))
            case "last" if readout.directions == 2:
                results.append(stages.add("ends", x))
            case _:  # last, mean or max
                results.append(stages.add(name, x))
    return results


def _scores(stages: Stages, model: Model, prefix: str) -> int:
    """The read-out of a model of classes or symbols, before its softmax."""
    features = _features(stages, model, _encoded(stages, model, prefix), prefix)
    readout = model.readout
    if not isinstance(readout, TiedReadout):
        return stages.linear(features, f"{prefix}readout", readout)
    features = stages.linear(features, f"{prefix}readout.projection", readout.projection)
    weight = stages.blob.add(f"{prefix}embedding", model.embedding.weight)
    bias = stages.blob.add(f"{prefix}readout.bias", readout.bias)
    return stages.add("linear", features, weight=weight, bias=bias)


def _forecast(stages: Stages, model: Model, members: list[Model], prefixes: list[str]) -> None:
    """The quantiles of a forecast: base and networks, their mean, and back to the data's units."""
    task = model.task
    assert isinstance(task, Forecast)
    sorted_ = [
        _quantiles(stages, member, prefix) for member, prefix in zip(members, prefixes, strict=True)
    ]
    quantiles = sorted_[0] if len(sorted_) == 1 else stages.add("average", *sorted_)
    blob, targets = stages.blob, task.places.targets
    widening: Any = model.widening
    if widening.dim() == 1:
        widening = widening.expand(task.horizon, -1)
    transforms = ["none"] * len(targets) if task.base is None else list(task.base.transforms)
    stages.add(
        "unscale",
        quantiles,
        mean=blob.add("targets.mean", model.mean[targets]),
        scale=blob.add("targets.scale", model.scale[targets]),
        widening=blob.add("widening", widening),
        transforms=transforms,
        floor=list(task.floor),
    )


def _quantiles(stages: Stages, model: Model, prefix: str) -> int:
    """The sorted quantiles of one network, in the scale of its channels: (1, H K Q)."""
    task, blob = model.task, stages.blob
    assert isinstance(task, Forecast)
    places = task.places
    z = _encoded(stages, model, prefix)
    scaled = scale = None
    if task.base is not None or task.per_window:
        own = places.own
        smallest: Any = [MIN_SPREAD] * len(own) if task.base is None else task.base.smallest_spread
        scale = stages.add("window-scale", z, columns=own, smallest=list(map(float, smallest)))
        scaled = stages.add("in-window-scale", z, scale, columns=own)
    events = scaled if task.per_window and scaled is not None else z
    features = _features(stages, model, events, prefix)
    terms = [stages.linear(features, f"{prefix}readout", model.readout)]
    known = None
    if task.known:
        positions = task.positions(task.known)
        known = stages.add("known", size=len(positions))
        mean = blob.add(f"{prefix}known.mean", model.mean[positions])
        spread = blob.add(f"{prefix}known.scale", model.scale[positions])
        known = stages.add("scale", known, mean=mean, scale=spread)
        hidden = stages.add("tanh", stages.linear(known, f"{prefix}ahead.0", model.ahead[0]))
        terms.append(stages.add("flat", stages.linear(hidden, f"{prefix}ahead.2", model.ahead[2])))
    targets = [places.own.index(position) for position in places.targets]
    if task.base is not None:
        assert scaled is not None and scale is not None
        buffers = {
            name: blob.add(f"{prefix}{name}", getattr(model, name))
            for name in (*_BASE, *(("base_past",) if hasattr(model, "base_past") else ()))
        }
        reads = (scaled, scale, *(() if known is None else (known,)))
        terms.append(
            stages.add(
                "base",
                *reads,
                **buffers,
                targets=places.targets,
                own=targets,
                lagged=places.lagged,
                ahead=places.ahead if task.known else [],
                calendar=places.calendar if task.known else [],
                static=places.static,
            )
        )
    total = terms[0] if len(terms) == 1 else stages.add("add", *terms)
    reads = (total,) if scale is None else (total, scale)
    return stages.add("quantiles", *reads, targets=len(targets), own=targets)


#: The tensors of a forecast's base that every one has.
_BASE = (
    "base_own",
    "base_ahead",
    "base_static",
    "base_mean",
    "base_bias",
    "base_quantiles",
    "base_fixed",
)
