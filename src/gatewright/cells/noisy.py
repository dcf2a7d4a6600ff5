"""LSTMs with noise in the loop against overfitting; eval mode uses its expectation."""

from __future__ import annotations

from typing import Any

from gatewright.language.cell import Cell
from gatewright.language.functions import Update, linear, noise, sigmoid, state, tanh


class ZoneoutLSTM(Cell):
    """LSTM whose units keep their old memory in randomly chosen steps.

    Source: Krueger et al. 2017, "Zoneout: regularizing RNNs by randomly preserving hidden
    activations", section 3; the defaults are those for the character-level Penn Treebank.
    The new short-term memory is computed from the long-term memory before its zoneout.

    Attributes:
        keep_c: The probability that a unit keeps its long-term memory.
        keep_h: The probability that a unit keeps its short-term memory.
    """

    keep_c: float = 0.5
    keep_h: float = 0.05

    def step(self, x: Any, h: Any, c: Any) -> Update:
        g = tanh(linear(x, h))
        i = sigmoid(linear(x, h))
        f = sigmoid(linear(x, h))
        o = sigmoid(linear(x, h))
        learn = i * g
        forget = f * c
        remember = learn + forget
        use = o * tanh(remember)
        zone_c = noise(self.keep_c)
        zone_h = noise(self.keep_h)
        c = zone_c * c + (1 - zone_c) * remember
        h = zone_h * h + (1 - zone_h) * use
        return state(h=h, c=c)


class RecurrentDropoutLSTM(Cell):
    """LSTM that drops some of the new values, and nothing that it already remembers.

    Source: Semeniuta, Severyn and Barth 2016, "Recurrent dropout without memory loss", eq. 15,
    with a new mask at each step. As in the paper, nothing is scaled up in training; in eval
    mode g is multiplied by 1 - p.

    Attributes:
        p: The probability that a unit's new value is dropped at a step.
    """

    p: float = 0.25

    def step(self, x: Any, h: Any, c: Any) -> Update:
        g = tanh(linear(x, h))
        i = sigmoid(linear(x, h))
        f = sigmoid(linear(x, h))
        o = sigmoid(linear(x, h))
        kept = noise(1 - self.p)
        learn = i * (kept * g)
        forget = f * c
        remember = learn + forget
        use = o * tanh(remember)
        return state(h=use, c=remember)
