"""Networks with a single gate."""

from __future__ import annotations

from typing import Any

from gatewright.language.cell import Cell
from gatewright.language.functions import Update, linear, parameter, sigmoid, state, tanh


class MGU(Cell):
    """The minimal gated unit: a GRU with one gate, which both resets and updates.

    Source: Zhou, Wu, Zhang and Zhou 2016, "Minimal gated unit for recurrent neural networks",
    table 1. As in all cells here, f keeps the old memory; the paper's f, the share of the new
    value, is called u.
    """

    def step(self, x: Any, h: Any) -> Update:
        f = sigmoid(linear(x, h))
        u = 1 - f
        n = tanh(linear(x, h=u * h))
        h = f * h + u * n
        return state(h=h)


class JANET(Cell):
    """ "Just another network": an LSTM with only the forget gate, and one memory.

    Source: van der Westhuizen and Lasenby 2018, "The unreasonable effectiveness of the forget
    gate", section 3. The paper initialises the bias of f by the chrono rule
    (`gw.init.chrono_(layer, t_max)`), and the other bias with 0.

    Attributes:
        beta: Opens the memory to new values: the old memory is multiplied by sigmoid(a), the
            new value by 1 - sigmoid(a - beta). The paper uses 1.
    """

    beta: float = 1.0

    def step(self, x: Any, h: Any) -> Update:
        a = linear(x, h, name="f")
        f = sigmoid(a)
        i = 1 - sigmoid(a - self.beta)
        g = tanh(linear(x, h))
        learn = i * g
        forget = f * h
        h = learn + forget
        return state(h=h)


class FastGRNN(Cell):
    """A gate and a new value that share their two matrices, and two learned numbers.

    Source: Kusupati et al. 2018, "FastGRNN: a fast, accurate, stable and tiny kilobyte sized
    gated recurrent neural network", section 3.2, without the compression (low rank, sparse and
    quantised matrices). The paper keeps zeta and nu between 0 and 1; here they are sigmoids of
    the learned numbers. The initial values are those of the authors' code.
    """

    def step(self, x: Any, h: Any) -> Update:
        a = linear(x, h, bias=False)
        z = sigmoid(a + parameter(start=1.0))
        n = tanh(a + parameter(start=1.0))
        zeta = sigmoid(parameter(size=1, start=1.0))
        nu = sigmoid(parameter(size=1, start=-4.0))
        h = (zeta * (1 - z) + nu) * n + z * h
        return state(h=h)
