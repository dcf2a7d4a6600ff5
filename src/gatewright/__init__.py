"""Gatewright: write a recurrent cell as its gates, once.

    import gatewright as gw
    from gatewright import diagonal, linear, sigmoid, tanh

    gw.Cell, gw.state                 write a cell: `def step(self, x, h, c)`
    gw.linear, gw.diagonal, ...       what a step may call; see `gatewright.language.functions`
    gw.Recurrent                      any cell as a layer
    gw.RNN, gw.LSTM, gw.GRU           the layers of torch.nn; also gw.PeepholeLSTM
    gw.LSTMCell, gw.GRUCell, ...      one step at a time
    gw.chunks, gw.detach              long sequences in chunks, with the states carried
    gw.init                           starts of the weights: orthogonal, forget bias, chrono
    gw.probes                         how far back a network remembers, and by which path
    gw.memory                         memory tasks, and the longest lag that a network learns
    gw.train, gw.compare, gw.predict  make a model of a file, and use it
    gw.tune                           search for the settings of a training
    gw.distil                         one network that answers like a mean of several
    gw.read                           read data of many formats
    gw.serve                          a model as a server
    gw.rl                             policies for reinforcement learning
    gw.export                         a layer or a model as C, JavaScript or NumPy
    gw.convert                        layers of torch, ONNX or Keras as ours
    gw.save, gw.load                  a model directory, without pickle
    gw.check_cell                     test that a cell keeps the laws of cells

Every name is imported at its first use: `import gatewright` takes 10 ms, the language needs no
torch, and layers import it when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gatewright.layers.init as init
    import gatewright.memory as memory
    import gatewright.probes as probes
    import gatewright.rl as rl
    import gatewright.serve as serve
    from gatewright import cells as cells
    from gatewright import errors as errors
    from gatewright import language as language
    from gatewright.cells import CELLS
    from gatewright.data.reading import read
    from gatewright.deploy.convert import convert
    from gatewright.deploy.export import export
    from gatewright.deploy.onnx_table import onnx_translations
    from gatewright.deploy.whole import input_arrays
    from gatewright.errors import (
        AlreadyFinished,
        ArgumentError,
        BackendError,
        CellError,
        DataError,
        GatewrightError,
        ModelError,
        SizeError,
        Suspended,
    )
    from gatewright.language.cell import Cell
    from gatewright.language.functions import (
        cos,
        diagonal,
        elu,
        erf,
        exp,
        expm1,
        gelu,
        hard_sigmoid,
        hard_tanh,
        layer_norm,
        linear,
        log,
        log1p,
        log_sigmoid,
        maximum,
        mean,
        minimum,
        noise,
        parameter,
        relu,
        rms_norm,
        sigmoid,
        sign,
        silu,
        sin,
        softmax,
        softplus,
        softsign,
        sqrt,
        square,
        state,
        stop_gradient,
        sum,
        tanh,
        where,
    )
    from gatewright.layers.check import check_cell
    from gatewright.layers.chunks import chunks
    from gatewright.layers.detach import detach
    from gatewright.layers.recurrent import Recurrent
    from gatewright.layers.saving import load, save
    from gatewright.layers.torch_cells import GRUCell, LSTMCell, PeepholeLSTMCell, RNNCell
    from gatewright.layers.torch_layers import GRU, LSTM, RNN, PeepholeLSTM
    from gatewright.training.distil import distil
    from gatewright.training.predict import predict
    from gatewright.training.train import compare, train
    from gatewright.training.tuning.tune import tune

    __version__: str

#: The modules of the public names, each imported at the first use of one of its names.
_NAMES = {
    "cells": "CELLS",
    "errors": (
        "AlreadyFinished ArgumentError BackendError CellError DataError GatewrightError "
        "ModelError SizeError Suspended"
    ),
    "language.cell": "Cell",
    "language.functions": (
        "cos diagonal elu erf exp expm1 gelu hard_sigmoid hard_tanh layer_norm linear log "
        "log1p log_sigmoid maximum mean minimum noise parameter relu rms_norm sigmoid sign "
        "silu sin softmax softplus softsign sqrt square state stop_gradient sum tanh where"
    ),
    "layers.recurrent": "Recurrent",
    "layers.torch_layers": "RNN LSTM GRU PeepholeLSTM",
    "layers.torch_cells": "RNNCell LSTMCell GRUCell PeepholeLSTMCell",
    "layers.check": "check_cell",
    "layers.chunks": "chunks",
    "layers.detach": "detach",
    "layers.saving": "load save",
    "data.reading": "read",
    "training.train": "compare train",
    "training.predict": "predict",
    "training.distil": "distil",
    "training.tuning.tune": "tune",
    "deploy.convert": "convert",
    "deploy.export": "export",
    "deploy.onnx_table": "onnx_translations",
    "deploy.whole": "input_arrays",
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names.split()}

#: The names that are modules, with their places.
_MODULES = {
    "cells": "cells",
    "errors": "errors",
    "init": "layers.init",
    "language": "language",
    "memory": "memory",
    "probes": "probes",
    "rl": "rl",
    "serve": "serve",
}


def __getattr__(name: str) -> Any:
    value: Any
    if name in _MODULES:
        value = import_module(f"gatewright.{_MODULES[name]}")
    elif name in _MODULE_OF:
        value = getattr(import_module(f"gatewright.{_MODULE_OF[name]}"), name)
    elif name == "__version__":
        from importlib.metadata import version  # 20 ms, and few ask for it

        value = version("gatewright")
    else:
        raise AttributeError(f"gatewright has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


__all__ = [
    "CELLS",
    "GRU",
    "LSTM",
    "RNN",
    "AlreadyFinished",
    "ArgumentError",
    "BackendError",
    "Cell",
    "CellError",
    "DataError",
    "GRUCell",
    "GatewrightError",
    "LSTMCell",
    "ModelError",
    "PeepholeLSTM",
    "PeepholeLSTMCell",
    "RNNCell",
    "Recurrent",
    "SizeError",
    "Suspended",
    "check_cell",
    "chunks",
    "compare",
    "convert",
    "cos",
    "detach",
    "diagonal",
    "distil",
    "elu",
    "erf",
    "exp",
    "expm1",
    "export",
    "gelu",
    "hard_sigmoid",
    "hard_tanh",
    "init",
    "input_arrays",
    "layer_norm",
    "linear",
    "load",
    "log",
    "log1p",
    "log_sigmoid",
    "maximum",
    "mean",
    "memory",
    "minimum",
    "noise",
    "onnx_translations",
    "parameter",
    "predict",
    "probes",
    "read",
    "relu",
    "rl",
    "rms_norm",
    "save",
    "serve",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "softmax",
    "softplus",
    "softsign",
    "sqrt",
    "square",
    "state",
    "stop_gradient",
    "sum",
    "tanh",
    "train",
    "tune",
    "where",
]
