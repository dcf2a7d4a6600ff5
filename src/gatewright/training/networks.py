"""The networks of the lesson's comparison, in one table, and how large each may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from gatewright.errors import ArgumentError
from gatewright.layers.drop_ins import GRU, LSTM, RNN, PeepholeLSTM
from gatewright.training.window import Window

#: A budget is met if the network's parameters come this near to it.
TOLERANCE = 0.1


@dataclass(frozen=True, slots=True)
class Network:
    """One row of the comparison: what turns a sequence into H features.

    A recurrent layer is read at each sequence's last step, so that it has to carry
    everything that matters in its memory.
    """

    title: str
    about: str
    build: Callable[[int, int], nn.Module]  # (input size, hidden size) to the module
    cost: float  # time of a training step beside the others; only the progress bar asks


NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        "window": Network(
            "window",
            "A feed-forward net on five steps at a time, averaged over the recording: no memory.",
            Window,
            cost=1,
        ),
        "rnn": Network(
            "RNN",
            "Elman's network: one tanh layer that reads its own last output. No gates.",
            RNN,
            cost=3,
        ),
        "lstm": Network(
            "LSTM",
            "A long-term memory, with gates that learn, forget, remember and use.",
            LSTM,
            cost=9,
        ),
        "peephole_lstm": Network(
            "peephole LSTM",
            "An LSTM whose gates also see the long-term memory.",
            PeepholeLSTM,
            cost=11,
        ),
        "gru": Network(
            "GRU",
            "Two gates and a single memory, which is also the output.",
            GRU,
            cost=9,
        ),
    }
)


def find_network(name: str) -> Network:
    """The network with this name; `ArgumentError` if there is none."""
    if name not in NETWORKS:
        raise ArgumentError(f"no network is called {name!r}; there are: {', '.join(NETWORKS)}")
    return NETWORKS[name]


def parameters(module: nn.Module) -> int:
    """How many numbers the module learns."""
    return sum(parameter.numel() for parameter in module.parameters())


def solve_hidden_size(name: str, build: Callable[[int], nn.Module], budget: int) -> int:
    """The hidden size at which `build(hidden size)` comes nearest to `budget` parameters.

    Raises:
        ArgumentError: if even the nearest is further from the budget than `TOLERANCE`.
    """
    counts: dict[int, int] = {}

    def count(size: int) -> int:
        if size not in counts:
            counts[size] = parameters(build(size))
        return counts[size]

    # Building a network draws its first weights; the caller's random numbers stay as they are.
    with torch.random.fork_rng(devices=[]):
        above = 1
        while count(above) < budget:
            above *= 2
        below = max(above // 2, 1)
        while above - below > 1:
            middle = (above + below) // 2
            if count(middle) < budget:
                below = middle
            else:
                above = middle
    nearest = min(counts, key=lambda size: abs(counts[size] - budget))
    if abs(counts[nearest] - budget) > TOLERANCE * budget:
        raise ArgumentError(
            f"a budget of {budget} parameters cannot be met by the network {name}: with "
            f"hidden size {nearest} it has {counts[nearest]}; expected one within "
            f"{TOLERANCE:.0%}. Give a larger budget"
        )
    return nearest
