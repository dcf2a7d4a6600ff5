"""Networks without gates: the simple recurrent network, and two that remember longer."""

from __future__ import annotations

from typing import Any, Literal

from gatewright.errors import ArgumentError
from gatewright.language.cell import Cell
from gatewright.language.functions import Update, diagonal, linear, relu, sigmoid, state, tanh


class ElmanRNN(Cell):
    """The simple recurrent network: its only memory is its last output, rewritten each step.

    Source: Elman 1990, "Finding structure in time".

    Attributes:
        nonlinearity: "tanh" or "relu".
    """

    nonlinearity: Literal["tanh", "relu"] = "tanh"

    def __post_init__(self) -> None:
        if self.nonlinearity not in ("tanh", "relu"):
            raise ArgumentError(f'nonlinearity={self.nonlinearity!r}; give "tanh" or "relu"')

    def step(self, x: Any, h: Any) -> Update:
        squash = tanh if self.nonlinearity == "tanh" else relu
        h = squash(linear(x, h))
        return state(h=h)


class IndRNN(Cell):
    """Independent units: each reads only its own memory, times a learned number.

    Source: Li, Li, Cook, Zhu and Gao 2018, "Independently recurrent neural network (IndRNN):
    building a longer and deeper RNN", section 3. Only the next layer mixes the units, so
    stack at least two. For sequences of T steps the paper keeps |u| at most gamma^(1/T), from
    the start.
    """

    def step(self, x: Any, h: Any) -> Update:
        h = relu(linear(x) + diagonal(h))
        return state(h=h)


class SCRN(Cell):
    """The structurally constrained network: next to h, a second memory that changes slowly.

    Source: Mikolov, Joulin, Chopra, Mathieu and Ranzato 2014, "Learning longer memory in
    recurrent neural networks", the equations of SCRN, which have no biases. The layer's output
    is U h + V s; the softmax f over it is left to the task.

    Attributes:
        context: Units of the slow memory; the paper has 40, and 100 of h.
        alpha: The share of the slow memory that it keeps at each step.
    """

    context: int = 40
    alpha: float = 0.95

    def step(self, x: Any, h: Any, s: Any) -> Update:
        s = (1 - self.alpha) * linear(x, size=self.context, bias=False) + self.alpha * s
        h = sigmoid(linear(s, x, h, bias=False))
        y = linear(h, s, bias=False)
        return state(h=h, s=s, output=y)
