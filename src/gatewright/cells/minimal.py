"""Gated networks whose gates do not read the memory."""

from __future__ import annotations

from typing import Any

from gatewright.language.cell import Cell
from gatewright.language.functions import Update, linear, log_sigmoid, sigmoid, state


class MinGRU(Cell):
    """A GRU whose gate and candidate read the event alone.

    Source: Feng et al. 2024, "Were RNNs all we needed?", section 3.1, where z is what is 1 - z
    here: z keeps the old memory, as in `GRU`.
    """

    def step(self, x: Any, h: Any) -> Update:
        z = sigmoid(linear(x))
        n = linear(x)
        h = (1 - z) * n + z * h
        return state(h=h)


class MinLSTM(Cell):
    """An LSTM whose gates read the event alone, and share out one whole between them.

    Source: Feng et al. 2024, "Were RNNs all we needed?", section 3.2: of the gates f and i,
    keep is f / (f + i), by way of their logarithms so that it stands where both are closed.
    """

    def step(self, x: Any, h: Any) -> Update:
        log_f = log_sigmoid(linear(x, name="f"))
        log_i = log_sigmoid(linear(x, name="i"))
        n = linear(x)
        keep = sigmoid(log_f - log_i)
        learn = (1 - keep) * n
        forget = keep * h
        h = forget + learn
        return state(h=h)
