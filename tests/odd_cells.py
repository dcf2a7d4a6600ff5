"""Cells with features that no shipped cell has, and sizes and inputs for any cell."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

import gatewright as gw
from gatewright import (
    layer_norm,
    linear,
    maximum,
    noise,
    parameter,
    sigmoid,
    softmax,
    state,
    tanh,
    where,
)
from gatewright.graph.sizes import number


class Timed(gw.Cell):
    """Two further inputs: the time since the last event, and a push for each unit."""

    sizes: ClassVar = {"dt": 1}

    def step(self, x, h, *, dt, push):
        rate = sigmoid(linear(x))
        faded = gw.exp(-dt * rate) * h
        h = tanh(linear(x, faded) + push)
        return state(h=h)


class Wide(gw.Cell):
    """Two states of different sizes."""

    width: int = 7

    def step(self, x, h, c):
        c = sigmoid(linear(x, h, size=self.width)) * c + tanh(linear(x, size=self.width, name="a"))
        h = tanh(linear(x, h) + linear(c, name="read"))
        return state(h=h, c=c)


class Echo(gw.Cell):
    """A state of the input's size, which differs by layer where there are several."""

    sizes: ClassVar = {"m": "input"}

    def step(self, x, h, m):
        m = 0.5 * m + x
        h = tanh(linear(m, h))
        return state(h=h, m=m)


class Readout(gw.Cell):
    """An output that is no state, of a size of its own."""

    def step(self, x, h):
        h = tanh(linear(x, h))
        y = linear(h, size=4)
        return state(h=h, output=y)


class Learned(gw.Cell):
    """A learned start, and names that methods of torch's modules have."""

    initial: ClassVar = {"h": parameter(start=0.3)}

    def step(self, x, h):
        half = parameter(start=0.5)
        type = sigmoid(linear(x, h))
        h = half * h + type * tanh(linear(x, h, name="n"))
        return state(h=h)


class Peak(gw.Cell):
    """The greatest value so far; it starts at minus infinity."""

    initial: ClassVar = {"m": -math.inf}

    def step(self, x, h, m):
        m = maximum(m, linear(x, h))
        h = tanh(linear(x) + linear(m, name="seen"))
        return state(h=h, m=m)


class Zoneout(gw.Cell):
    """Noise a step, and noise a sequence."""

    def step(self, x, h):
        keep = noise(0.3)
        mask = noise(0.6, per="sequence")
        new = tanh(linear(x, h))
        h = keep * h + (1 - keep) * mask * new
        return state(h=h)


class Heads(gw.Cell):
    """Products in blocks, and operations over a row and over each head."""

    def step(self, x, h):
        a = linear(h, heads=2, bias=False) + linear(x)
        focus = softmax(a, heads=2)
        h = layer_norm(tanh(a) + focus * gw.sum(h))
        return state(h=h)


class Leak(gw.Cell):
    """No weights at all: a running mean."""

    def step(self, x, h):
        h = 0.9 * h + 0.1 * x
        return state(h=h)


class Switch(gw.Cell):
    """A choice by comparison, and a cell within the cell."""

    inner: gw.Cell = gw.CELLS["gru"]()

    def step(self, x, h):
        new = self.inner(x, h)
        h = where(new > h, new, 0.9 * h)
        return state(h=h)


#: The shipped cells for tests that do not need all of them; `test_check.py` runs all.
_CLASSIC = ("elman_rnn", "lstm", "lesson_lstm", "peephole_lstm", "gru")
CLASSIC = {name: gw.CELLS[name] for name in _CLASSIC}

#: Name to cell, input size, hidden size; H and I are distinct and odd where they can be.
CELLS: dict[str, tuple[gw.Cell, int, int]] = {
    **{name: (cell(), 3, 5) for name, cell in CLASSIC.items()},
    "elman_relu": (gw.CELLS["elman_rnn"](nonlinearity="relu"), 3, 5),
    "gru_before": (gw.CELLS["gru"](reset="before"), 3, 5),
    "peephole_full": (gw.CELLS["peephole_lstm"](peephole="full", output_reads="old"), 3, 5),
    "projected": (gw.CELLS["lstm"](projection=2), 3, 5),
    "timed": (Timed(), 3, 5),
    "wide": (Wide(), 3, 5),
    "echo": (Echo(), 3, 5),
    "readout": (Readout(), 3, 5),
    "learned": (Learned(), 3, 5),
    "peak": (Peak(), 3, 5),
    "zoneout": (Zoneout(), 3, 5),
    "heads": (Heads(), 3, 6),
    "leak": (Leak(), 3, 3),
    "switch": (Switch(), 3, 5),
}


def make(name: str, seed: int = 0, **options) -> gw.Recurrent:
    """Make a layer of a cell, in float64 and eval mode, with independent random weights."""
    cell, input_size, hidden_size = CELLS[name]
    torch.manual_seed(seed)
    options = {"dtype": torch.float64, **options}
    layer = gw.Recurrent(cell, input_size, hidden_size, **options)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(torch.randn_like(weight) * 0.5)
    return layer.eval()


def sequences(layer: gw.Recurrent, steps: int, batch: int, seed: int = 1) -> dict[str, Tensor]:
    """Draw the event and the further inputs, `(T, B, size)`, the latter positive."""
    draw = torch.Generator().manual_seed(seed)
    inputs: dict[str, Tensor] = {}
    for name, term in layer.graph.inputs.items():
        shape = (steps, batch, number(term.size, layer.sizes(0)))
        kind = torch.rand if inputs else torch.randn
        inputs[name] = kind(shape, generator=draw, dtype=torch.float64)
    return inputs


def run(layer: gw.Recurrent, inputs: dict[str, Tensor], hx=None, **options):
    """Call the layer on the event and its further inputs."""
    event, *further = inputs
    return layer(inputs[event], hx, **{name: inputs[name] for name in further}, **options)


def random_states(layer: gw.Recurrent, batch: int, seed: int = 2):
    """Draw states to pass, in the layer's form, finite also where the cell starts at -inf."""
    draw = torch.Generator().manual_seed(seed)
    _, states = run(layer, sequences(layer, 1, batch))

    def like(states):
        if isinstance(states, Tensor):
            return torch.randn(states.shape, generator=draw, dtype=states.dtype)
        return type(states)(like(part) for part in states)

    return like(states)
