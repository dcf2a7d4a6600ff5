"""The scalar LSTM of xLSTM, with exponential gates."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from gatewright.errors import ArgumentError
from gatewright.language.cell import Cell
from gatewright.language.functions import (
    Update,
    exp,
    linear,
    log_sigmoid,
    maximum,
    sigmoid,
    state,
    tanh,
)


class SLSTM(Cell):
    """LSTM with exponential gates, so that a new event can outweigh everything stored before.

    The memory is read as the weighted mean c / n, where n is the sum of the weights. Both are
    stored divided by exp(m), the largest weight so far, so that no exponential overflows.

    Source: Beck et al. 2024, "xLSTM: extended long short-term memory", eqs. 8 to 17.

    Attributes:
        heads: Blocks of the recurrent matrices; a unit sees only the units of its own head.
        forget: The function of the forget gate, "sigmoid" or "exponential".
    """

    heads: int = 1
    forget: Literal["sigmoid", "exponential"] = "sigmoid"
    initial: ClassVar = {"m": -math.inf}

    def __post_init__(self) -> None:
        if self.forget not in ("sigmoid", "exponential"):
            raise ArgumentError(f'forget={self.forget!r}; give "sigmoid" or "exponential"')

    def read(self, name: str, x: Any, h: Any) -> Any:
        """The pre-activation of a gate: it reads the whole event, and the memory of each head."""
        return linear(x, name=name) + linear(h, name=name, heads=self.heads, bias=False)

    def step(self, x: Any, h: Any, c: Any, n: Any, m: Any) -> Update:
        z = tanh(self.read("z", x, h))
        o = sigmoid(self.read("o", x, h))
        log_i = self.read("i", x, h)
        log_f = self.read("f", x, h)
        if self.forget == "sigmoid":
            log_f = log_sigmoid(log_f)
        peak = maximum(log_f + m, log_i)
        i = exp(log_i - peak)
        f = exp(log_f + m - peak)
        c = f * c + i * z
        n = f * n + i
        h = o * (c / n)
        return state(h=h, c=c, n=n, m=peak)
