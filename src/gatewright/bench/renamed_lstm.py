"""The LSTM written again, with other names and in another order: no cell is a special case."""

from __future__ import annotations

from typing import Any

from gatewright.language.cell import Cell
from gatewright.language.functions import Update, linear, sigmoid, state, tanh


class Notebook(Cell):
    """The LSTM as somebody writes it who never saw ours."""

    def step(self, event: Any, short: Any, long: Any) -> Update:
        keep = sigmoid(linear(event, short))
        write = sigmoid(linear(event, short))
        read = sigmoid(linear(event, short))
        idea = tanh(linear(event, short))
        long = keep * long + write * idea
        short = read * tanh(long)
        return state(short=short, long=long)


#: Our names of its products and sources.
OUR_NAMES = {"keep": "f", "write": "i", "read": "o", "idea": "g", "event": "x", "short": "h"}
