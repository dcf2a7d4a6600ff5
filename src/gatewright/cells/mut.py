"""The units of "An empirical exploration of recurrent network architectures".

Jozefowicz, Zaremba and Sutskever 2015: the best three cells of an evolutionary search. As in
`GRU`, z keeps the old memory; the paper's z is the share of the new value, which is 1 - z here.
"""

from __future__ import annotations

from typing import Any

from gatewright.language.cell import Cell
from gatewright.language.functions import Update, linear, sigmoid, state, tanh


class MUT1(Cell):
    """GRU whose update gate reads only the event, and whose new value adds tanh(x) directly.

    No matrix multiplies the event in the new value, so input and hidden size must be equal.
    Source: Jozefowicz et al. 2015, the equations of MUT1.
    """

    def step(self, x: Any, h: Any) -> Update:
        z = sigmoid(linear(x))
        r = sigmoid(linear(x, h))
        n = tanh(linear(h=r * h) + tanh(x))
        h = (1 - z) * n + z * h
        return state(h=h)


class MUT2(Cell):
    """GRU whose reset gate adds the event directly.

    No matrix multiplies the event in the reset gate, so input and hidden size must be equal.
    Source: Jozefowicz et al. 2015, the equations of MUT2.
    """

    def step(self, x: Any, h: Any) -> Update:
        z = sigmoid(linear(x, h))
        r = sigmoid(x + linear(h))
        n = tanh(linear(x, h=r * h))
        h = (1 - z) * n + z * h
        return state(h=h)


class MUT3(Cell):
    """GRU whose update gate reads tanh(h) instead of h.

    Source: Jozefowicz et al. 2015, the equations of MUT3.
    """

    def step(self, x: Any, h: Any) -> Update:
        z = sigmoid(linear(x, h=tanh(h)))
        r = sigmoid(linear(x, h))
        n = tanh(linear(x, h=r * h))
        h = (1 - z) * n + z * h
        return state(h=h)
