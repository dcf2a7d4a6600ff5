"""Gated networks whose gates do not read the memory."""

from __future__ import annotations

from typing import Any

from gatewright.language.cell import Cell
from gatewright.language.functions import Update, linear, log_sigmoid, sigmoid, state


class MinGRU(Cell):
    """A GRU whose gate and new value read only the event.

    Source: Feng et al. 2024, "Were RNNs all we needed?", section 3.1. As in `GRU`, z keeps
    the old memory; the paper's z is 1 - z here.
    """

    def step(self, x: Any, h: Any) -> Update:
        z = sigmoid(linear(x))
        n = linear(x)
        h = (1 - z) * n + z * h
        return state(h=h)


class MinLSTM(Cell):
    """An LSTM whose gates read only the event, and whose two factors add up to 1.

    Source: Feng et al. 2024, "Were RNNs all we needed?", section 3.2. With the gates f and i,
    keep is f / (f + i), computed from their logarithms so that it is exact even if both are
    nearly closed.
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
