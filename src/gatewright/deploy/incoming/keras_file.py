"""The recurrent layers of a `.keras` file, read without Keras and without running its code.

Such a file is a zip archive: `config.json` has the layers and their options, `model.weights.h5`
their weights. Keras names the groups of weights by the classes of the layers, counted within
each model: `layers/lstm_1/cell/vars/0` is the first matrix of the second LSTM.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from gatewright.deploy.incoming.activations import SIGMOID, TANH, Activation
from gatewright.deploy.incoming.cells import ImportedCell, ImportedGRU, ImportedLSTM, ImportedRNN
from gatewright.deploy.incoming.file_layers import (
    DirectionWeights,
    FileLayers,
    GateWeights,
    build_layer,
)
from gatewright.deploy.incoming.reverse_layer import ReverseLayer
from gatewright.errors import ArgumentError, ModelError
from gatewright.files import regular_file
from gatewright.layers.recurrent import Recurrent
from gatewright.schema import mismatch, shown, typed, typed_fields

Array = NDArray[Any]

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
#: The largest configuration that is read, in bytes.
MAX_CONFIG_BYTES = 64 * 2**20
#: Weights that were compressed may unpack to this multiple of the file's size. Keras stores them
#: as they are, and trained ones hardly get smaller.
MAX_UNPACKED_RATIO = 50
#: The deepest nesting of models in models that is followed.
MAX_DEPTH = 32

#: Our gates in the order of Keras, by the class of the cell.
GATE_ORDER = {"LSTM": "ifgo", "GRU": "zrn", "SimpleRNN": "h"}
#: Keras's activations in ours.
ACTIVATIONS: Mapping[str, Activation] = MappingProxyType(
    {
        "elu": Activation("Elu"),
        "exponential": Activation("Exp"),
        "gelu": Activation("Gelu"),
        "hard_sigmoid": Activation("HardSigmoid", (1 / 6, 0.5)),
        "hard_tanh": Activation("HardTanh"),
        "leaky_relu": Activation("LeakyRelu", (0.2,)),
        "linear": Activation("Affine"),
        "log_sigmoid": Activation("LogSigmoid"),
        "relu": Activation("Relu"),
        "sigmoid": SIGMOID,
        "silu": Activation("Swish"),
        "softplus": Activation("Softplus"),
        "softsign": Activation("Softsign"),
        "swish": Activation("Swish"),
        "tanh": TANH,
    }
)
#: How two directions become one output.
MERGES: Mapping[str | None, str] = MappingProxyType(
    {
        "sum": "the sum of both directions: output.unflatten(-1, (2, -1)).sum(-2)",
        "ave": "the mean of both directions: output.unflatten(-1, (2, -1)).mean(-2)",
        "mul": "the product of both directions: output.unflatten(-1, (2, -1)).prod(-2)",
        None: "both directions, each by itself: output.unflatten(-1, (2, -1)).unbind(-2)",
    }
)
