"""Which inputs and which units of a model carry the longest memory."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, arange

from gatewright.layers.recurrent import Recurrent
from gatewright.layers.weights.stored_names import direction
from gatewright.probes.gates import factors, saturation
from gatewright.probes.horizon import gradient_horizon
from gatewright.probes.lags import steps_until
from gatewright.probes.spectrum import spectrum
from gatewright.probes.time_constants import time_constants
from gatewright.training.model import Model


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


def channels(model: Model, gradient: Tensor) -> list[Channel]:
    """Each input's share of the gradient's square, and its mean lag weighted by that."""
    squares = gradient.square()
    total = squares.sum()
    if model.task.symbols is not None or total == 0:
        return []  # the channels of an embedding mean nothing to a reader
    seen = getattr(model.task, "seen", None)
    names = seen.channels if seen is not None else [str(at) for at in range(gradient.shape[1])]
    lags = arange(len(gradient), dtype=gradient.dtype)[:, None]
    mean = (squares * lags).sum(0) / squares.sum(0).clamp(min=1e-30)
    found = [
        Channel(name, float(share), float(lag))
        for name, share, lag in zip(names, squares.sum(0) / total, mean, strict=True)
    ]
    return sorted(found, key=lambda one: -one.lag)


def units(model: Model, z: Tensor, lengths: Tensor) -> list[Units]:
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
