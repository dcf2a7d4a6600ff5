"""The eight variants of the LSTM in "LSTM: a search space odyssey".

Greff, Srivastava, Koutník, Steunebrink and Schmidhuber 2017, IEEE Transactions on Neural
Networks and Learning Systems 28(10), section "Variants". Each changes one thing in the LSTM
that the paper calls vanilla, which is `PeepholeLSTM` here.
"""

from __future__ import annotations

from typing import Any

from gatewright.cells.lstm import LSTM
from gatewright.language.cell import Cell
from gatewright.language.functions import Update, diagonal, linear, sigmoid, state, tanh


def gate(x: Any, h: Any, c: Any) -> Any:
    """The value of a gate with a peephole to the long-term memory."""
    return sigmoid(linear(x, h) + diagonal(c=c))


class NoInputGateLSTM(Cell):
    """NIG, no input gate: everything new is learned in full, i = 1.

    Source: Greff et al. 2017.
    """

    def step(self, x: Any, h: Any, c: Any) -> Update:
        g = tanh(linear(x, h))
        f = gate(x, h, c)
        forget = f * c
        remember = g + forget
        o = gate(x, h, remember)
        use = o * tanh(remember)
        return state(h=use, c=remember)


class NoForgetGateLSTM(Cell):
    """NFG, no forget gate: the long-term memory never forgets, f = 1.

    Source: Greff et al. 2017; the LSTM of Hochreiter and Schmidhuber 1997 also had none.
    """

    def step(self, x: Any, h: Any, c: Any) -> Update:
        g = tanh(linear(x, h))
        i = gate(x, h, c)
        learn = i * g
        remember = learn + c
        o = gate(x, h, remember)
        use = o * tanh(remember)
        return state(h=use, c=remember)


class NoOutputGateLSTM(Cell):
    """NOG, no output gate: the whole long-term memory is used, o = 1.

    Source: Greff et al. 2017.
    """

    def step(self, x: Any, h: Any, c: Any) -> Update:
        g = tanh(linear(x, h))
        i = gate(x, h, c)
        f = gate(x, h, c)
        learn = i * g
        forget = f * c
        remember = learn + forget
        use = tanh(remember)
        return state(h=use, c=remember)


class NoInputActivationLSTM(Cell):
    """NIAF, no input activation function: the new value is learned without its tanh.

    Source: Greff et al. 2017.
    """

    def step(self, x: Any, h: Any, c: Any) -> Update:
        g = linear(x, h)
        i = gate(x, h, c)
        f = gate(x, h, c)
        learn = i * g
        forget = f * c
        remember = learn + forget
        o = gate(x, h, remember)
        use = o * tanh(remember)
        return state(h=use, c=remember)


class NoOutputActivationLSTM(Cell):
    """NOAF, no output activation function: the long-term memory is used without its tanh.

    Source: Greff et al. 2017. Only this variant and NFG were clearly worse on all three data sets.
    """

    def step(self, x: Any, h: Any, c: Any) -> Update:
        g = tanh(linear(x, h))
        i = gate(x, h, c)
        f = gate(x, h, c)
        learn = i * g
        forget = f * c
        remember = learn + forget
        o = gate(x, h, remember)
        use = o * remember
        return state(h=use, c=remember)


class NoPeepholesLSTM(LSTM):
    """NP, no peepholes: the equations of `LSTM`.

    Source: Greff et al. 2017.
    """


class CoupledLSTM(Cell):
    """CIFG, coupled input and forget gate: it forgets as much as it learns, f = 1 - i.

    Source: Greff et al. 2017, where it did as well as the LSTM with all three gates.
    """

    def step(self, x: Any, h: Any, c: Any) -> Update:
        g = tanh(linear(x, h))
        i = gate(x, h, c)
        learn = i * g
        forget = (1 - i) * c
        remember = learn + forget
        o = gate(x, h, remember)
        use = o * tanh(remember)
        return state(h=use, c=remember)


class FullGateRecurrenceLSTM(Cell):
    """FGR, full gate recurrence: each gate also reads all three gates of the previous step.

    Source: Greff et al. 2017; the gates of Hochreiter and Schmidhuber 1997 did the same.
    """

    def step(self, x: Any, h: Any, c: Any, i: Any, f: Any, o: Any) -> Update:
        g = tanh(linear(x, h))
        i, f, o = (linear(x, h, i, f, o, name=name) for name in ("i", "f", "o"))
        i = sigmoid(i + diagonal(c))
        f = sigmoid(f + diagonal(c))
        learn = i * g
        forget = f * c
        remember = learn + forget
        o = sigmoid(o + diagonal(c=remember))
        use = o * tanh(remember)
        return state(h=use, c=remember, i=i, f=f, o=o)
