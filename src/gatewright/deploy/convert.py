"""`gw.convert`: recurrent layers of torch, ONNX and Keras as ours, with their weights."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, overload

from torch import nn

from gatewright.deploy.incoming.file_layers import FileLayers
from gatewright.deploy.incoming.keras_file import read_keras
from gatewright.deploy.incoming.modules import convert_module
from gatewright.deploy.incoming.onnx_file import read_onnx
from gatewright.errors import ArgumentError, ModelError
from gatewright.files import user_path
from gatewright.names import did_you_mean

#: The readers by the ending of the file.
READERS: Mapping[str, Callable[[Path], FileLayers]] = MappingProxyType(
    {".onnx": read_onnx, ".keras": read_keras}
)
_THROUGH_TORCH = "load it in torch, and give the module: gw.convert(model)"
#: What to do with files that are not read.
HINTS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys((".pt", ".pth", ".ckpt", ".bin", ".safetensors"), _THROUGH_TORCH),
        **dict.fromkeys((".h5", ".hdf5"), "load it in Keras 3, and save it as a .keras file"),
        **dict.fromkeys((".pb", ".tflite"), "convert it to ONNX with tf2onnx"),
    }
)

Module = TypeVar("Module", bound=nn.Module)


@overload
def convert(model: Module, *, inplace: bool = False) -> Module: ...
@overload
def convert(model: str | os.PathLike[str]) -> FileLayers: ...
def convert(model: Any, *, inplace: bool = False) -> Any:
    """Make gatewright's layers of the recurrent layers of a torch module, or of a file.

    >>> import torch, gatewright as gw
    >>> from torch import nn
    >>> model = nn.ModuleDict({"lstm": nn.LSTM(3, 4), "head": nn.Linear(4, 2)})
    >>> gw.convert(model)["lstm"]
    LSTM(3, 4)
    >>> layers = gw.convert("peer.onnx")                                # doctest: +SKIP
    >>> output, (h, c) = layers["lstm_1"](x)                            # doctest: +SKIP

    Of a module, every `nn.RNN`, `nn.LSTM`, `nn.GRU` and their step cells become ours. Parameters,
    buffers, hooks, the mode, tied weights, parametrizations and the names of the `state_dict` stay.
    Of a file, only its recurrent layers are read; nothing in it is run.

    Args:
        model: A module; or the path of a `.onnx` file (with the extra `onnx`), or of a `.keras`
            file that Keras 3 wrote (with the extra `keras`).
        inplace: Of a module: exchange its layers and return it, rather than a deep copy. The
            parameters are the same objects then, so that an optimizer keeps its hold of them.

    Returns:
        The module, or a mapping from the names of the file's layers to ours, in the file's order.
        Its `notes` list what the file does with a layer that the layer itself does not do, such as
        a start that is computed, and its `left_out` what was not converted.

    Raises:
        ArgumentError: for a module or a file without recurrent layers, or with one that computes
            what ours cannot; its name and a hint are in the message.
        ModelError: if the file is damaged or empty.
    """
    if isinstance(model, nn.Module):
        return convert_module(model, inplace=inplace)
    if not isinstance(model, str | os.PathLike):
        raise ArgumentError(
            f"a {type(model).__name__} cannot be converted; expected a torch.nn.Module, or the "
            f"path of a file that ends in {' or '.join(READERS)}"
        )
    if inplace:
        raise ArgumentError("inplace is True, and a file is only read; leave it out")
    path = user_path(model)
    ending = path.suffix.lower()
    if ending not in READERS:
        hint = f": {HINTS[ending]}" if ending in HINTS else ""
        raise ArgumentError(
            f"the ending of {path} is {ending!r}; {did_you_mean(ending, READERS)}expected "
            f"{' or '.join(READERS)}{hint}"
        )
    if path.is_file() and not path.stat().st_size:
        raise ModelError(f"{path} is empty; expected a model: export or copy it again")
    return READERS[ending](path)
