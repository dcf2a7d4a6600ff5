"""`gw.export`: a layer or a model as a program in another language; the file's ending decides."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from gatewright.deploy.endings import ENDINGS
from gatewright.deploy.int8 import check_int8, check_precision, layers_in
from gatewright.deploy.network import exported_network
from gatewright.errors import ArgumentError
from gatewright.exports import c, javascript, python
from gatewright.exports.network import ExportedNetwork
from gatewright.exports.onnx import layer_model
from gatewright.files import check_new_file, write_file
from gatewright.layers.call_inputs import further_size
from gatewright.layers.recurrent import Recurrent
from gatewright.names import did_you_mean

#: By the ending of the file: the texts of all files of that language, and whether they can show
#: every named value.
WRITERS: Mapping[str, tuple[Callable[[ExportedNetwork], dict[str, str]], bool]] = MappingProxyType(
    {
        ".c": (c.source_files, False),
        ".js": (javascript.source_files, True),
        ".py": (python.source_files, True),
    }
)


def export(
    model: Any,
    path: str | os.PathLike[str],
    *,
    streaming: bool = False,
    lengths: bool = False,
    values: bool = False,
    without_counts: bool = False,
    precision: str = "float32",
    overwrite: bool = False,
) -> list[Path]:
    """Write a layer or a trained model as a program that runs without this package.

    >>> import gatewright as gw
    >>> gw.export(gw.GRU(3, 8), "filter.c")                             # doctest: +SKIP
    [PosixPath('filter.h'), PosixPath('filter.c')]

    In C, JavaScript and NumPy a trained model goes out whole: from raw values to the probabilities
    of its classes, or to quantiles in the units of the data. It runs event by event, or on whole
    sequences where its design needs them. ONNX takes layers.

    Args:
        model: A layer, or a model of `train` or `load`.
        path: The file to write; its ending decides: `.c` writes C99 with a header, `.js` an ES
            module with its types, `.py` a file that needs only NumPy, `.onnx` an ONNX model.
            Its name begins the names of the program.
        streaming: Of ONNX: take one step at a time, with the states in and out, rather than whole
            sequences. The other languages do so wherever the network can.
        lengths: Of ONNX: have an input with the steps of each sequence.
        values: Whether the program shows every named value of a step, such as the gates.
        without_counts: Of a text model that is mixed with counts of its training text: export its
            network without them.
        precision: "float32", or "int8": the matrices of the recurrent layers in a quarter of the
            bytes, and their products in integers (docs/int8.md).
        overwrite: Replace files that exist.

    Returns:
        The files that were written.

    Raises:
        ArgumentError: if the model cannot be exported, the ending or the precision is none of
            these, or a file exists.
    """
    path, int8 = Path(path), check_precision(precision)
    if path.suffix == ".onnx":
        if values:
            raise ArgumentError(
                "values is True; an ONNX model shows its outputs only: leave it out"
            )
        check_new_file(path, overwrite=overwrite)
        content = onnx_bytes(model, _name(path), streaming=streaming, lengths=lengths, int8=int8)
        write_file(path, content, overwrite=overwrite)
        return [path]
    if path.suffix not in WRITERS:
        endings = list(ENDINGS.values())
        nearest = did_you_mean(path.suffix, endings)
        raise ArgumentError(
            f"the ending of {path} is {path.suffix!r}; {nearest}expected {', '.join(endings)}"
        )
    if lengths:
        raise ArgumentError(
            f"lengths is True; a {path.suffix} file reads one sequence at a time: leave it out"
        )
    write, shows_values = WRITERS[path.suffix]
    if values and not shows_values:
        raise ArgumentError(
            f"values is True, and a {path.suffix} file has no place for every value of a step; "
            "export to .js or .py, or leave values out"
        )
    options = {"values": values, "without_counts": without_counts}
    files = write(_network(model, _name(path), int8=int8, **options))
    targets = {path.with_suffix(ending): text for ending, text in files.items()}
    for target in targets:
        check_new_file(target, overwrite=overwrite)
    for target, text in targets.items():
        write_file(target, text.encode(), overwrite=overwrite)
    return list(targets)


def _network(model: Any, name: str, *, int8: bool, **options: bool) -> ExportedNetwork:
    """The network of a program, with answers that were recorded in its own precision."""
    if not isinstance(model, nn.Module):
        return exported_network(model, name, **options)  # refuses it
    with layers_in(model, int8=int8):
        network = exported_network(model, name, **options)
    return network.in_int8() if int8 else network


def onnx_bytes(
    model: Any, name: str, *, streaming: bool, lengths: bool, int8: bool = False
) -> bytes:
    """A layer as the content of an ONNX file.

    Raises:
        ArgumentError: if it is no layer, or the package onnx is not installed.
    """
    if not isinstance(model, Recurrent):
        layer = getattr(model, "recurrent", None)
        hint = "gw.export(model.recurrent, path) exports its layers; " if layer is not None else ""
        raise ArgumentError(
            f"a {type(model).__name__} cannot be exported to ONNX; expected a layer of gatewright. "
            f"{hint}.c, .js and .py take trained models"
        )
    if streaming and model.bidirectional:
        raise ArgumentError(
            "the layer is bidirectional: it reads a sequence from its end too, so it has no single "
            "step. Leave streaming out, or take a layer with bidirectional=False"
        )
    if streaming and lengths:
        raise ArgumentError(
            "streaming takes one step at a time, which has no lengths: leave it out"
        )
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise ArgumentError(
            "ONNX needs the package onnx: pip install 'gatewright[onnx]'; or write a .c, .js or .py"
            " file"
        ) from error
    for further in model.graph.equations.inputs:
        further_size(model.form, further)  # refuses one that cannot fit all layers
    if int8:
        check_int8(model)
    written = layer_model(model, streaming=streaming, lengths=lengths, name=name, int8=int8)
    content: bytes = written.SerializeToString()
    return content


def _name(path: Path) -> str:
    """The name of the program, from that of its file.

    >>> _name(Path("Wake-word 2.c"))
    'wake_word_2'
    """
    name = re.sub(r"[^a-z0-9_]+", "_", path.stem.lower()).strip("_")
    return name if re.match("[a-z]", name) else f"model_{name}".rstrip("_")
