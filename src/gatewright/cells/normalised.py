"""The LSTM with layer normalisation."""

from __future__ import annotations

from typing import Any

from gatewright.language.cell import Cell
from gatewright.language.functions import (
    Update,
    layer_norm,
    linear,
    parameter,
    sigmoid,
    state,
    tanh,
)


class LayerNormLSTM(Cell):
    """LSTM whose products and long-term memory are normalised over the units.

    Source: Ba, Kiros and Hinton 2016, "Layer normalization", supplementary eqs. 20 to 22, with
    two differences. Each gate's product is normalised over its own units; the paper writes the
    four gates as one vector. And beta_1, beta_2 and b, which only ever occur as a sum, are one
    bias for each gate. Gains start at 1.
    """

    def step(self, x: Any, h: Any, c: Any) -> Update:
        def scaled(name: str, value: Any) -> Any:
            return parameter(start=1.0, name=f"{name}_gain") * layer_norm(value)

        def normed(name: str) -> Any:
            from_x = scaled(f"{name}_x", linear(x, bias=False, name=name))
            from_h = scaled(f"{name}_h", linear(h, bias=False, name=name))
            return from_x + from_h + parameter(name=f"{name}_bias")

        g = tanh(normed("g"))
        i = sigmoid(normed("i"))
        f = sigmoid(normed("f"))
        o = sigmoid(normed("o"))
        learn = i * g
        forget = f * c
        remember = learn + forget
        level = scaled("c", remember) + parameter(name="c_bias")
        use = o * tanh(level)
        return state(h=use, c=remember)
