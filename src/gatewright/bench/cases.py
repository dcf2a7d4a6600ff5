"""The grid of sizes that is measured, and a case of it: a layer on a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from gatewright.backends.weights import collect
from gatewright.graph.sizes import number
from gatewright.language.cell import Cell
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.torch_layers import GRU, LSTM, RNN, PeepholeLSTM

#: (batch, time, input, hidden)
Size = tuple[int, int, int, int]
#: The number types that a layer is measured in.
DTYPES = ("float32", "bfloat16")
GRID: tuple[Size, ...] = (
    (1, 100, 64, 64),
    (32, 100, 64, 64),
    (32, 128, 128, 128),
    (64, 128, 256, 256),
    (64, 64, 512, 512),
    (8, 512, 32, 64),
    (1, 256, 512, 512),
)
QUICK = GRID[:2]

#: Cells that have a layer of their own, which their users run.
DROP_INS: dict[str, Callable[..., Recurrent]] = {
    "lstm": LSTM,
    "gru": GRU,
    "elman_rnn": RNN,
    "peephole_lstm": PeepholeLSTM,
}


@dataclass(frozen=True, eq=False)
class Case:
    """One layer on one batch, which every contender computes.

    Attributes:
        name: The cell's name; `size` is (B, T, I, H).
        layer: Ours, with random weights; see `make_layer`.
        inputs: The event and the further inputs, `(T, B, size)`, positive but for the event.
        states: Before the first step, `(1, B, size)`: those that the cell reaches in three steps,
            since random ones may lie where the cell never gets.
        gradient: Of the output, for training.
        weights: By path, detached.
    """

    name: str
    size: Size
    training: bool
    layer: Recurrent
    inputs: Mapping[str, Tensor]
    states: Mapping[str, Tensor]
    gradient: Tensor
    weights: Mapping[str, Tensor]


def make_layer(name: str, cell: Cell, i: int, h: int, backend: str = "auto") -> Recurrent:
    """A layer as its users make it, in evaluation mode: noise is at its expectation."""
    make = DROP_INS.get(name, partial(Recurrent, cell))
    return make(i, h, backend=backend).eval()


def make_case(
    name: str,
    cell: Cell,
    size: Size,
    *,
    training: bool,
    backend: str = "auto",
    dtype: str = "float32",
    seed: int = 0,
) -> Case:
    """Make a case in float32 or bfloat16, the same for the same arguments.

    In training all inputs and states ask for gradients.
    """
    torch.manual_seed(seed)
    b, t, i, h = size
    low: torch.dtype = getattr(torch, dtype)
    layer = make_layer(name, cell, i, h, backend).to(low)
    graph, sizes = layer.graph, layer.sizes(0)
    inputs: dict[str, Tensor] = {}
    for key, term in graph.inputs.items():
        shape = (t, b, number(term.size, sizes))
        # Further inputs are times and masks, which are not negative.
        inputs[key] = (torch.rand(shape) if inputs else torch.randn(shape)).to(low)
    with torch.no_grad():
        event, *further = inputs.values()
        first = dict(zip(list(inputs)[1:], (x[:3] for x in further), strict=True))
        _, states = layer(event[:3], **first)
        output_size = number(graph.output.size, sizes)
    for x in inputs.values():
        x.requires_grad_(training)
    return Case(
        name,
        size,
        training,
        layer,
        inputs,
        {
            key: state.detach().clone().requires_grad_(training)
            for key, state in zip(graph.states, state_list(states), strict=True)
        },
        torch.randn(t, b, output_size).to(low),
        {path: w.detach() for path, w in collect(graph, layer.pairs(0, False)).items()},
    )


def state_list(states: Tensor | Sequence[Tensor]) -> list[Tensor]:
    """The states that a layer returned, as a list; a single state comes as a bare tensor."""
    return [states] if isinstance(states, Tensor) else list(states)
