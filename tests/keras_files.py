"""Write `.keras` files and the outputs of their models: `python keras_files.py FOLDER`.

A process of its own, since importing Keras changes settings and takes seconds. For each model there
is NAME.keras, and NAME.npz with the input `x` and the outputs by name. `stored/keras.zip` has these
files for `--quick`: `cd FOLDER && python -m zipfile -c keras.zip *` makes it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
from keras import layers as L

#: Activations of Keras that are converted.
ACTIVATIONS = (
    *("elu", "exponential", "gelu", "hard_sigmoid", "hard_tanh", "leaky_relu", "linear"),
    *("log_sigmoid", "relu", "sigmoid", "silu", "softplus", "softsign", "swish", "tanh"),
)
OUT = Path(sys.argv[1])
WIDTH = 3


def side_by_side(*layers: keras.Layer) -> keras.Model:
    """A model in which every layer reads the input; its outputs have the names of the layers."""
    x = keras.Input((None, WIDTH))
    outputs = {}
    for layer in layers:
        y = layer(x)
        parts = y if isinstance(y, list | tuple) else [y]
        names = [layer.name] if len(parts) == 1 else [f"{layer.name}{n}" for n in range(len(parts))]
        outputs |= dict(zip(names, parts, strict=True))
    return keras.Model(x, outputs)


def both(mode: str | None, every: bool) -> keras.Layer:
    inner = L.LSTM(4, return_sequences=every)
    return L.Bidirectional(inner, merge_mode=mode, name=f"{mode}_{'every' if every else 'last'}")


class Subclassed(keras.Model):
    """A model whose configuration does not have its layers."""

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        self.rnn = L.GRU(3)

    def call(self, x: object) -> object:
        return self.rnn(x)


@keras.saving.register_keras_serializable("mine")
class LSTM(L.LSTM):
    """A layer of the user's, with the name of one of Keras's."""


MODELS = {
    "stack": lambda: keras.Sequential(
        [
            keras.Input((None, WIDTH)),
            L.LSTM(4, return_sequences=True),
            L.Dense(5),
            L.GRU(5, return_sequences=True),
            L.GRU(3, return_sequences=True, reset_after=False),
            LSTM(2, return_sequences=True),
            L.LSTM(2, return_sequences=True),
            L.SimpleRNN(2, return_sequences=True),
        ]
    ),
    "options": lambda: side_by_side(
        L.LSTM(4, "softsign", "hard_sigmoid", unit_forget_bias=False, name="lstm"),
        L.GRU(4, "gelu", "hard_sigmoid", name="gru_after", return_sequences=True),
        L.GRU(4, "silu", reset_after=False, name="gru_before", return_sequences=True),
        L.LSTM(4, use_bias=False, name="lstm_no_bias", return_sequences=True),
        L.GRU(4, use_bias=False, name="gru_no_bias", return_sequences=True),
        L.SimpleRNN(4, "relu", use_bias=False, name="rnn_no_bias", dropout=0.2),
        L.LSTM(4, go_backwards=True, return_sequences=True, name="backwards"),
        L.GRU(4, go_backwards=True, name="backwards_last", implementation=1),
        L.RNN(L.LSTMCell(4), return_sequences=True, name="lstm_cell"),
        L.RNN(L.GRUCell(4, reset_after=False), return_sequences=True, name="gru_cell"),
        L.RNN(L.SimpleRNNCell(4), return_sequences=True, name="rnn_cell"),
    ),
    "activations": lambda: side_by_side(
        *(L.SimpleRNN(4, name, name=name, return_sequences=True) for name in ACTIVATIONS)
    ),
    "directions": lambda: side_by_side(
        *(
            both(mode, every)
            for mode in ("concat", "sum", "ave", "mul", None)
            for every in (True, False)
        )
    ),
    "masked": lambda: keras.Sequential(
        [keras.Input((None, WIDTH)), L.Masking(9.0), L.LSTM(4, return_sequences=True)]
    ),
    "nested": lambda: keras.Sequential(
        [
            keras.Input((None,), dtype="int32"),
            L.Embedding(7, 3),
            keras.Sequential([L.GRU(4, return_sequences=True, name="core")], name="inner"),
            L.GRU(2, name="core"),
            L.Dense(2),
        ]
    ),
    "stacked_cells": lambda: side_by_side(L.RNN([L.LSTMCell(4), L.GRUCell(3)], name="stacked")),
    "other_cells": lambda: side_by_side(
        L.Bidirectional(L.LSTM(4), backward_layer=L.GRU(4, go_backwards=True), name="unlike")
    ),
    "own_activation": lambda: side_by_side(L.LSTM(4, L.ReLU(max_value=3.0), name="own")),
    "subclassed": lambda: Subclassed(),
    "dense": lambda: keras.Sequential([keras.Input((WIDTH,)), L.Dense(2)]),
}


def write(name: str) -> None:
    """Build a model with random weights, and save it and its outputs."""
    model = MODELS[name]()
    draw = np.random.default_rng(0)
    x = draw.normal(size=(2, 5, WIDTH)).astype(np.float32)
    if name == "nested":
        x = draw.integers(0, 7, size=(2, 5))
    if name == "masked":
        x[0, 2:] = 9.0
    if name == "dense":
        x = x[:, 0]
    model(x)
    shapes = [weight.shape for weight in model.get_weights()]
    model.set_weights([draw.normal(scale=0.4, size=shape) for shape in shapes])
    outputs = model(x)
    outputs = outputs if isinstance(outputs, dict) else {"y": outputs}
    arrays = {key: value.detach().numpy() for key, value in outputs.items()}
    model.save(OUT / f"{name}.keras")
    np.savez(OUT / f"{name}.npz", x=x, **arrays)


def run_documentation() -> None:
    """Run the block of the documentation that uses Keras."""
    import re

    import torch

    import gatewright as gw

    page = (Path(__file__).parent.parent / "docs" / "convert.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"(?s)```python\n(import keras.*?)```", page)
    os.chdir(OUT)
    exec(block, {"gw": gw, "torch": torch})


if __name__ == "__main__":
    for name in MODELS:
        write(name)
    run_documentation()
