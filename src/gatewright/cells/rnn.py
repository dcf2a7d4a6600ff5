"""The simple recurrent network."""

from __future__ import annotations

from typing import Any, Literal

from gatewright.errors import ArgumentError
from gatewright.language.cell import Cell
from gatewright.language.functions import Update, linear, relu, state, tanh


class ElmanRNN(Cell):
    """The network that feeds its last output back: its memory is one state, rewritten each step.

    Source: Elman 1990, "Finding structure in time".
    """

    nonlinearity: Literal["tanh", "relu"] = "tanh"

    def __post_init__(self) -> None:
        if self.nonlinearity not in ("tanh", "relu"):
            raise ArgumentError(f'nonlinearity={self.nonlinearity!r}; give "tanh" or "relu"')

    def step(self, x: Any, h: Any) -> Update:
        squash = tanh if self.nonlinearity == "tanh" else relu
        h = squash(linear(x, h))
        return state(h=h)
