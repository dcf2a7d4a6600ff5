"""The LSTM typed again, with other names and in another order: no cell is a special case."""

from __future__ import annotations

from typing import Any

from gatewright.language.cell import Cell
from gatewright.language.functions import Update, linear, sigmoid, state, tanh


class Notebook(Cell):
    """What somebody writes who never saw ours."""

    def step(self, event: Any, short: Any, long: Any) -> Update:
        keep = sigmoid(linear(event, short))
        write = sigmoid(linear(event, short))
        read = sigmoid(linear(event, short))
        idea = tanh(linear(event, short))
        long = keep * long + write * idea
        short = read * tanh(long)
        return state(short=short, long=long)


#: The cell, and our names of its products and sources.
RETYPED = (
    Notebook,
    {"keep": "f", "write": "i", "read": "o", "idea": "g", "event": "x", "short": "h"},
)
