"""The multiplicative LSTM."""

from __future__ import annotations

from typing import Any

from gatewright.language.cell import Cell
from gatewright.language.functions import Update, linear, sigmoid, state, tanh


class MultiplicativeLSTM(Cell):
    """LSTM that reads event times memory instead of h, so each event has its own transition.

    Source: Krause, Lu, Murray and Renals 2016, "Multiplicative LSTM for sequence modelling",
    section 3, for m and the gates that read it. The memories are those of `LSTM`, as in Radford,
    Jozefowicz and Sutskever 2017, "Learning to generate reviews and discovering sentiment".
    """

    def step(self, x: Any, h: Any, c: Any) -> Update:
        m = linear(x, bias=False) * linear(h, bias=False)
        g = tanh(linear(x, m))
        i = sigmoid(linear(x, m))
        f = sigmoid(linear(x, m))
        o = sigmoid(linear(x, m))
        learn = i * g
        forget = f * c
        remember = learn + forget
        use = o * tanh(remember)
        return state(h=use, c=remember)
