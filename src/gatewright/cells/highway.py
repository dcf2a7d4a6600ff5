"""Networks that take several micro-steps in each step."""

from __future__ import annotations

from typing import Any

from gatewright.errors import ArgumentError
from gatewright.language.cell import Cell
from gatewright.language.functions import Update, linear, sigmoid, state, tanh


class RecurrentHighway(Cell):
    """Several gated micro-steps within each step; only the first reads the event.

    Source: Zilly, Srivastava, Koutnik and Schmidhuber 2017, "Recurrent highway networks",
    eqs. 6 to 9.

    Attributes:
        depth: Number of micro-steps in a step.
        coupled: Carry over 1 - t of the memory, as in the paper's experiments; without it,
            the carry has its own gate c.
    """

    depth: int = 3
    coupled: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.depth, int) or self.depth < 1:
            raise ArgumentError(f"depth={self.depth!r}; give a number of micro-steps from 1")

    def step(self, x: Any, s: Any) -> Update:
        for k in range(1, self.depth + 1):
            reads = {"x": x, "s": s} if k == 1 else {"s": s}
            h = tanh(linear(**reads, name=f"h{k}"))
            t = sigmoid(linear(**reads, name=f"t{k}"))
            c = 1 - t if self.coupled else sigmoid(linear(**reads, name=f"c{k}"))
            s = h * t + s * c
        return state(s=s)
