"""How far back a user's own model really looks: by its gradients, and when history is cut."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from gatewright.data import read
from gatewright.errors import ArgumentError, DataError
from gatewright.files import check_vacant, write_directory
from gatewright.layers.naming import direction
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.saving import load
from gatewright.memory.advice import advice
from gatewright.memory.plain import plain
from gatewright.probes.gates import factors, saturation
from gatewright.probes.horizon import gradient_horizon
from gatewright.probes.inputs import input_horizon
from gatewright.probes.lags import said, steps_until
from gatewright.probes.spectrum import spectrum
from gatewright.probes.time_constants import time_constants
from gatewright.probes.useful_lag import useful_lag
from gatewright.training.model import Model
from gatewright.training.tasks.classify import Classify
from gatewright.training.tasks.labels import relabelled
from gatewright.training.tasks.tag import Tag
from gatewright.training.tasks.task import Batch
from gatewright.training.useful import evidence

if TYPE_CHECKING:
    from rich.table import Table

#: Sequences that are looked at, and steps of history that the loss is measured with.
ROWS = 256
HISTORIES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
#: A history is enough if no more than this share of what history brings is lost.
LOST = 0.05


@dataclass(frozen=True, slots=True)
class Channel:
    """An input: its share of the gradient, and how far back it is read, weighted by that."""

    name: str
    share: float
    lag: float


@dataclass(frozen=True, slots=True)
class Units:
    """One layer in one direction.

    Attributes:
        name: "l0.forward".
        left: How much of its state is left after k steps, from k = 0.
        half_life: Steps until that is half.
        longest: (state, unit, half-life of what comes from it, time constant of its own), the
            longest first.
        keeps: Whether any of its states is carried on by a factor, rather than rewritten.
        radius: The largest eigenvalue of the step's Jacobian, in size; the mean over steps.
        gates: (gate, share of steps and units at which it is shut, and open).
    """

    name: str
    left: tuple[float, ...]
    half_life: float
    longest: tuple[tuple[str, int, float, float], ...]
    keeps: bool
    radius: float
    gates: tuple[tuple[str, float, float], ...]


@dataclass(frozen=True, slots=True)
class Examination:
    """What a model's memory does on data.

    Attributes:
        data, network: What was looked at; `sequences` of it, the longest of `steps` steps.
        histories, losses: The loss when only the last k steps are seen.
        used: The fewest steps of history that keep the loss within 5 % of what history brings.
        gradient: The size of the loss's gradient at the input k steps back, from k = 0.
        reach: Steps back until 1 % of its greatest value is left.
        useful: Steps of history that a linear model of the data can use.
        beyond: The share of what it makes of them that lies farther back than the network uses.
        channels: The inputs, the farthest read first.
        layers: Each layer and direction; none for a network without a state.
        advice: What could be changed, in sentences.
    """

    data: str
    network: str
    sequences: int
    steps: int
    histories: tuple[int, ...]
    losses: tuple[float, ...]
    used: int
    gradient: tuple[float, ...]
    reach: float
    useful: int
    beyond: float
    channels: tuple[Channel, ...]
    layers: tuple[Units, ...]
    advice: tuple[str, ...]

    def verdict(self) -> str:
        """How far back it looks, in a sentence or two."""
        least, full = self.losses[0], self.losses[-1]
        return (
            f"It uses the last {self.used} of up to {self.steps} steps: with one step its loss "
            f"is {least:.3g}, with all of them {full:.3g}. By its gradients it reads "
            f"{said(self.reach, len(self.gradient) - 1)} steps back; a linear model of these data "
            f"can use {self.useful}."
        )

    def tables(self) -> list[Table]:
        """Losses by history, inputs, units and gates, for a terminal."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        losses = Table(box=SIMPLE_HEAD, title="loss with the last k steps alone")
        inputs = Table(box=SIMPLE_HEAD, title="inputs, the farthest read first")
        units = Table(box=SIMPLE_HEAD, title="units, the longest memory first")
        for made, headings in (
            (losses, ["k", "loss"]),
            (inputs, ["input", "share of the gradient", "read on average, steps back"]),
            (units, ["layer", "state", "unit", "half-life", "time constant"]),
        ):
            for heading in headings:
                made.add_column(heading, justify="right")
        for k, loss in zip(self.histories, self.losses, strict=True):
            losses.add_row(str(k), f"{loss:.4f}")
        for channel in self.channels[:8]:
            inputs.add_row(channel.name, f"{channel.share:.0%}", f"{channel.lag:.1f}")
        for layer in self.layers:
            for state, unit, half, constant in layer.longest[:5]:
                most = len(layer.left) - 1
                units.add_row(layer.name, state, str(unit), said(half, most), f"{constant:.1f}")
        gates = Table(box=SIMPLE_HEAD, title="gates, and the step's Jacobian")
        for heading in ("layer", "gate", "shut (< 0.1)", "open (> 0.9)", "largest eigenvalue"):
            gates.add_column(heading, justify="right")
        for layer in self.layers:
            for gate, shut, opened in layer.gates or (("–", 0.0, 0.0),):
                gates.add_row(
                    layer.name, gate, f"{shut:.0%}", f"{opened:.0%}", f"{layer.radius:.2f}"
                )
        return [losses, inputs, units, gates] if self.layers else [losses, inputs]

    def to_json(self) -> str:
        """Every number."""
        return json.dumps(plain(asdict(self)), indent=1)


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
    from gatewright.memory.pictures import examination_page

    target = check_vacant(out) if out is not None else None
    model = model if isinstance(model, Model) else _loaded(model)
    batch = model.task.batches(_learned_from(model, data)).spread(ROWS)
    found = _looked_at(model.eval(), batch, str(data))
    if target is not None:
        write_directory(
            target,
            {
                "memory.html": examination_page(found).encode(),
                "memory.json": (found.to_json() + "\n").encode(),
            },
        )
    return found


def _learned_from(model: Model, data: str) -> Any:
    """The part that one learns from, of data that are read as the model's own were."""
    found = read(data, **model.reading)
    if found.task != model.task.kind:
        raise DataError(
            f"{data} is for the task {found.task}; the model does {model.task.kind}. Give data "
            "like those that it was trained on"
        )
    ready, _ = model.task.ready(found.data)
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


def _looked_at(model: Model, batch: Batch, data: str) -> Examination:
    steps, rows = batch.x.shape[:2]
    lengths = torch.full((rows,), steps) if batch.lengths is None else batch.lengths
    histories = (*(k for k in HISTORIES if k < steps), steps)
    with torch.no_grad():
        z, kept = model.task.prepare(model.encode(batch.x), batch)
    losses = tuple(_loss_of_last(model, z, kept, batch, lengths, k) for k in histories)
    gradient = input_horizon(
        lambda z: _last_loss(model, z, kept, batch, lengths).expand(rows), z, lengths - 1
    )
    useful = useful_lag(**evidence(model, batch, z, kept))
    used = _used(histories, losses)
    layers = tuple(_units(model, z, lengths))
    found = Examination(
        data=data,
        network=model.network,
        sequences=rows,
        steps=steps,
        histories=histories,
        losses=losses,
        used=used,
        gradient=tuple(gradient.inputs.tolist()),
        reach=gradient.horizon,
        useful=useful.steps,
        beyond=useful.lost(used),
        channels=tuple(_channels(model, gradient.channels)),
        layers=layers,
        advice=(),
    )
    return replace(found, advice=tuple(advice(found)))


def _last_loss(model: Model, z: Tensor, kept: Any, batch: Batch, lengths: Tensor) -> Tensor:
    """The loss of what the network reads; with gradients from each row's last step alone."""
    outputs, _ = model.answer(z, kept, batch)
    if model.task.every_step:
        last = (torch.arange(len(z))[:, None] == lengths - 1)[..., None]
        outputs = torch.where(last, outputs, outputs.detach())
    return model.task.loss(outputs, batch, model)


@torch.no_grad()
def _loss_of_last(
    model: Model, z: Tensor, kept: Any, batch: Batch, lengths: Tensor, k: int
) -> float:
    """The loss at each row's last step when it has seen k steps, from a fresh start."""
    left = lengths.clamp(max=k)
    at = (lengths - left) + torch.arange(int(left.max()))[:, None]  # (k, B)
    columns = torch.arange(len(lengths))
    at = at.clamp(max=len(z) - 1)
    cut = replace(batch, x=batch.x[at, columns], lengths=left)
    outputs, _ = model.answer(z[at, columns], kept, cut)
    if not model.task.every_step:
        return model.task.loss(outputs, cut, model).item()
    last = replace(
        cut,
        x=cut.x[:1],
        lengths=torch.ones_like(left),
        target=batch.target[lengths - 1, columns][None],
    )
    return model.task.loss(outputs[left - 1, columns][None], last, model).item()


def _used(histories: Sequence[int], losses: Sequence[float]) -> int:
    """The fewest steps from which on the loss stays within 5 % of what history brings."""
    full = losses[-1]
    limit = full + LOST * max(max(losses) - full, 0.0)
    used = histories[-1]
    for k, loss in reversed(list(zip(histories, losses, strict=True))):
        if loss > limit:
            break
        used = k
    return used


def _channels(model: Model, gradient: Tensor) -> list[Channel]:
    """Each input's share of the gradient's square, and its mean lag weighted by that."""
    squares = gradient.square()
    total = squares.sum()
    if model.task.symbols is not None or total == 0:
        return []  # the channels of an embedding mean nothing to a reader
    seen = getattr(model.task, "seen", None)
    names = seen.channels if seen is not None else [str(at) for at in range(gradient.shape[1])]
    lags = torch.arange(len(gradient), dtype=gradient.dtype)[:, None]
    mean = (squares * lags).sum(0) / squares.sum(0).clamp(min=1e-30)
    found = [
        Channel(name, float(share), float(lag))
        for name, share, lag in zip(names, squares.sum(0) / total, mean, strict=True)
    ]
    return sorted(found, key=lambda one: -one.lag)


def _units(model: Model, z: Tensor, lengths: Tensor) -> list[Units]:
    """The memory of each layer and direction, on the first steps of the longer half of rows."""
    if not isinstance(model.body, Recurrent):
        return []
    layer, common = model.body, int(lengths.float().median())
    if common < 3:
        return []
    chosen = (lengths >= common).nonzero().flatten()[:8]
    events = z[:common, chosen]
    events = events.transpose(0, 1) if layer.batch_first else events
    found = []
    for place, (index, reverse) in enumerate(layer.places):
        flow = gradient_horizon(layer, events, lags=min(common - 1, 256), place=place, ends=1)
        constants = time_constants(layer, events, place=place)
        units = [
            (state, unit, steps_until(curve, 0.5), float(constants[state][unit]))
            for state, path in flow.paths.items()
            for unit, curve in enumerate(path.units.T.tolist())
        ]
        units.sort(key=lambda one: (-one[2], -one[3]))
        name = f"l{index}.{direction(reverse)}"
        keeps = any(bool((one > 0).any()) for one in constants.values())
        radius = spectrum(layer, events, place=place, at=4).abs()[..., 0].mean()
        saturated = saturation(layer, events)
        gates = tuple(
            (gate, float(one.shut.mean()), float(one.open.mean()))
            for gate in factors(layer.graph)
            for one in [saturated[layer.trace_name(gate, index, reverse)]]
        )
        left = tuple(flow.state.tolist())
        found.append(
            Units(name, left, flow.half_life, tuple(units[:10]), keeps, float(radius), gates)
        )
    return found
