"""Find the inputs and the units of a model with the longest memory."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, arange

from gatewright.designs.network import SequenceNetwork
from gatewright.layers.weights.stored_names import direction
from gatewright.probes.gates import factors, saturation
from gatewright.probes.horizon import gradient_horizon
from gatewright.probes.lags import steps_until
from gatewright.probes.spectrum import spectrum
from gatewright.probes.time_constants import time_constants
from gatewright.training.model import Model


@dataclass(frozen=True, slots=True)
class Channel:
    """An input: its share of the gradient, and its mean lag weighted by the gradient."""

    name: str
    share: float
    lag: float


@dataclass(frozen=True, slots=True)
class Units:
    """The units of one layer in one direction.

    Attributes:
        name: "l0.forward".
        left: The share of its state that is left after k steps, from k = 0.
        half_life: Steps until half is left.
        longest: (state, unit, half-life, time constant), the longest first.
        keeps: Some state is multiplied by a factor at each step, rather than rewritten.
        radius: The largest absolute eigenvalue of the step's Jacobian, as a mean over steps.
        gates: (gate, share of steps and units at which it is shut, and at which it is open).
    """

    name: str
    left: tuple[float, ...]
    half_life: float
    longest: tuple[tuple[str, int, float, float], ...]
    keeps: bool
    radius: float
    gates: tuple[tuple[str, float, float], ...]


def channels(model: Model, gradient: Tensor) -> list[Channel]:
    """Each input's share of the squared gradient, and its mean lag weighted by it."""
    squares = gradient.square()
    total = squares.sum()
    if model.task.symbols is not None or total == 0:
        return []  # the channels of an embedding mean nothing to people
    seen = getattr(model.task, "seen", None)
    names = seen.channels if seen is not None else [str(k) for k in range(gradient.shape[1])]
    lags = arange(len(gradient), dtype=gradient.dtype)[:, None]
    mean = (squares * lags).sum(0) / squares.sum(0).clamp(min=1e-30)
    inputs = [
        Channel(name, float(share), float(lag))
        for name, share, lag in zip(names, squares.sum(0) / total, mean, strict=True)
    ]
    return sorted(inputs, key=lambda channel: -channel.lag)


def units(model: Model, z: Tensor, lengths: Tensor) -> list[Units]:
    """The memory of each layer and direction, on the first steps of the longer half of rows."""
    layer = model.recurrent
    if layer is None:
        return []
    if isinstance(model.body, SequenceNetwork):
        z, lengths = model.body.events(z, lengths)
    common = int(lengths.float().median())
    if common < 3:
        return []
    chosen = (lengths >= common).nonzero().flatten()[:8]
    events = z[:common, chosen]
    events = events.transpose(0, 1) if layer.batch_first else events
    examined = []
    for place, (index, reverse) in enumerate(layer.places):
        flow = gradient_horizon(layer, events, lags=min(common - 1, 256), place=place, ends=1)
        constants = time_constants(layer, events, place=place)
        by_unit = [
            (state, unit, steps_until(curve, 0.5), float(constants[state][unit]))
            for state, path in flow.paths.items()
            for unit, curve in enumerate(path.units.T.tolist())
        ]
        by_unit.sort(key=lambda entry: (-entry[2], -entry[3]))
        name = f"l{index}.{direction(reverse)}"
        keeps = any(bool((constant > 0).any()) for constant in constants.values())
        radius = spectrum(layer, events, place=place, count=4).abs()[..., 0].mean()
        saturated = saturation(layer, events)
        gates = tuple(
            (gate, float(shares.shut.mean()), float(shares.open.mean()))
            for gate in factors(layer.graph)
            for shares in [saturated[layer.trace_name(gate, index, reverse)]]
        )
        left = tuple(flow.state.tolist())
        examined.append(
            Units(name, left, flow.half_life, tuple(by_unit[:10]), keeps, float(radius), gates)
        )
    return examined
