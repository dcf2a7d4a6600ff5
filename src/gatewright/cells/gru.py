"""The gated recurrent unit."""

from __future__ import annotations

from typing import Any, Literal

from gatewright.errors import ArgumentError
from gatewright.language.cell import Cell
from gatewright.language.functions import Update, linear, sigmoid, state, tanh


class GRU(Cell):
    """The gated recurrent unit: two gates on one memory.

    Source: Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder",
    eqs. 5 to 8, which reset "before" the product; cuDNN and torch reset "after" it. z keeps
    the old memory, as in all of them.

    Attributes:
        reset: Apply r "after" or "before" the product with the old memory.
    """

    reset: Literal["after", "before"] = "after"

    def __post_init__(self) -> None:
        if self.reset not in ("after", "before"):
            raise ArgumentError(f'reset={self.reset!r}; give "after" or "before"')

    def step(self, x: Any, h: Any) -> Update:
        r = sigmoid(linear(x, h))
        z = sigmoid(linear(x, h))
        n = tanh(linear(x) + r * linear(h)) if self.reset == "after" else tanh(linear(x, h=r * h))
        h = (1 - z) * n + z * h
        return state(h=h)
