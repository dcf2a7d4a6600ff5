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

The language needs no torch and is imported at once; layers import torch when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from gatewright.cells import CELLS
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

if TYPE_CHECKING:
    import gatewright.layers.init as init
    import gatewright.memory as memory
    import gatewright.probes as probes
    import gatewright.rl as rl
    import gatewright.serve as serve
    from gatewright.data.reading import read
    from gatewright.deploy.convert import convert
    from gatewright.deploy.export import export
    from gatewright.deploy.onnx_table import onnx_translations
    from gatewright.deploy.whole import input_arrays
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

#: The names that need torch, with their modules: imported at their first use.
_LATER = {
    "Recurrent": "layers.recurrent",
    "RNN": "layers.torch_layers",
    "LSTM": "layers.torch_layers",
    "GRU": "layers.torch_layers",
    "PeepholeLSTM": "layers.torch_layers",
    "RNNCell": "layers.torch_cells",
    "LSTMCell": "layers.torch_cells",
    "GRUCell": "layers.torch_cells",
    "PeepholeLSTMCell": "layers.torch_cells",
    "check_cell": "layers.check",
    "chunks": "layers.chunks",
    "detach": "layers.detach",
    "compare": "training.train",
    "convert": "deploy.convert",
    "distil": "training.distil",
    "export": "deploy.export",
    "onnx_translations": "deploy.onnx_table",
    "input_arrays": "deploy.whole",
    "predict": "training.predict",
    "read": "data.reading",
    "train": "training.train",
    "tune": "training.tuning.tune",
    "init": "layers.init",
    "memory": "memory",
    "probes": "probes",
    "rl": "rl",
    "load": "layers.saving",
    "save": "layers.saving",
    "serve": "serve",
}

#: The names among them that are modules.
_MODULES = {"init", "memory", "probes", "rl", "serve"}

__version__ = version("gatewright")


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"gatewright has no attribute {name!r}")
    module = import_module(f"gatewright.{_LATER[name]}")
    value = module if name in _MODULES else getattr(module, name)
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
