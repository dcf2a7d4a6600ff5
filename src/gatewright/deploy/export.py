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
from gatewright.deploy.page import page_of
from gatewright.deploy.torch_module import module_model
from gatewright.deploy.whole import whole_model
from gatewright.errors import ArgumentError
from gatewright.exports import c, javascript, python
from gatewright.exports.network import ExportedNetwork
from gatewright.exports.onnx import layer_model
from gatewright.files import check_new_file, write_file
from gatewright.layers.call_inputs import further_size
from gatewright.layers.recurrent import Recurrent
from gatewright.names import did_you_mean
from gatewright.training.model import Model

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
    example: Any = None,
    dynamic_shapes: Any = None,
    streaming: bool = False,
    lengths: bool | None = None,
    network_only: bool = False,
    values: bool = False,
    data: Any = None,
    precision: str = "float32",
    overwrite: bool = False,
) -> list[Path]:
    """Write a layer or a trained model as a program that runs without this package.

    >>> import gatewright as gw
    >>> gw.export(gw.GRU(3, 8), "filter.c")                             # doctest: +SKIP
    [PosixPath('filter.h'), PosixPath('filter.c')]
    >>> gw.export(gw.load("runs/vowels"), "vowels.onnx")                # doctest: +SKIP
    [PosixPath('vowels.onnx')]
    >>> gw.export(module, "module.onnx", example=torch.zeros(2, 9, 3))  # doctest: +SKIP
    [PosixPath('module.onnx')]

    In C, JavaScript and NumPy a trained model goes out whole: from raw values to the probabilities
    of its classes, or to quantiles in the units of the data. It runs event by event, or on whole
    sequences where its design needs them. ONNX takes layers, trained models of any design and
    task, and any torch module with our layers in it, all with any batch and number of steps.

    Args:
        model: A layer, a model of `train` or `load`; for ONNX also a module.
        path: The file to write; its ending decides: `.c` writes C99 with a header, `.js` an ES
            module with its types, `.py` a file that needs only NumPy, `.onnx` an ONNX model,
            `.html` the page of `gatewright look`, which runs the model in the browser.
            Its name begins the names of the program.
        example: Of a module: the arguments of a call, as a tensor, a tuple of tensors or a mapping
            from names to tensors, with at least 2 rows and 2 steps.
        dynamic_shapes: Of a module: the axes that vary, as `torch.onnx.export` takes them; by
            default each that the module lets vary.
        streaming: Of an ONNX layer: take one step at a time, with the states in and out, rather
            than whole sequences. The other languages do so wherever the network can.
        lengths: Of ONNX: have an input with the steps of each sequence; by default only a trained
            model has it, of classes or tags.
        network_only: Of a text model that is mixed with counts of its training text: export its
            network without the counts.
        values: Whether the program shows every named value of a step, such as the gates.
        data: Of `.html`: the sequences that the page shows: a file or a bundled data set of the
            model's kind, or for a layer arrays (T, input size). Without them, it makes some up.
        precision: "float32", or "int8": the matrices of the recurrent layers in a quarter of the
            bytes, and their products in integers (docs/int8.md). Of ONNX, for layers.
        overwrite: Replace files that exist.

    Returns:
        The files that were written.

    Raises:
        ArgumentError: if the model cannot be exported, the ending or the precision is none of
            these, or a file exists.
    """
    path, int8 = Path(path), check_precision(precision)
    if path.suffix == ".html":
        if int8:
            raise ArgumentError("precision is int8; the page computes in float64: leave it out")
        check_new_file(path, overwrite=overwrite)
        write_file(path, page_of({path.stem: model}, data).html.encode(), overwrite=overwrite)
        return [path]
    if data is not None:
        raise ArgumentError(f"data is for a page, a .html file; leave it out for {path}")
    if path.suffix == ".onnx":
        if values:
            raise ArgumentError(
                "values is True; an ONNX model shows its outputs only: leave it out"
            )
        check_new_file(path, overwrite=overwrite)
        content = onnx_bytes(
            model,
            _name(path),
            example=example,
            dynamic_shapes=dynamic_shapes,
            streaming=streaming,
            lengths=lengths,
            network_only=network_only,
            int8=int8,
        )
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
    if example is not None or dynamic_shapes is not None:
        raise ArgumentError(f"example and dynamic_shapes are for .onnx; leave them out of {path}")
    write, shows_values = WRITERS[path.suffix]
    if values and not shows_values:
        raise ArgumentError(
            f"values is True, and a {path.suffix} file has no place for every value of a step; "
            "export to .js or .py, or leave values out"
        )
    options = {"values": values, "network_only": network_only}
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
    model: Any,
    name: str,
    *,
    example: Any,
    dynamic_shapes: Any,
    streaming: bool,
    lengths: bool | None,
    network_only: bool,
    int8: bool,
) -> bytes:
    """A layer, a trained model or a module as the content of an ONNX file.

    Raises:
        ArgumentError: if it is none of them, an option is not for it, or onnx is not installed.
    """
    if int8 and not isinstance(model, Recurrent):
        raise ArgumentError(
            "precision is int8, which ONNX takes for layers; export the model's layers, "
            "gw.export(model.recurrent, path, precision='int8'), or write a .c, .js or .py file"
        )
    _check_packages(for_torch=not isinstance(model, Recurrent) or example is not None)
    if example is not None and isinstance(model, nn.Module) and not isinstance(model, Model):
        _refuse(model, streaming=streaming, lengths=bool(lengths), network_only=network_only)
        written = module_model(model, example, dynamic_shapes=dynamic_shapes)
    elif isinstance(model, Model):
        if streaming:
            raise ArgumentError(
                "streaming takes one step of a layer, and a trained model reads whole sequences in "
                "ONNX; export its layers, gw.export(model.recurrent, path, streaming=True), or "
                "write a .c, .js or .py file"
            )
        has_example = example is not None or dynamic_shapes is not None
        _refuse(model, example=has_example)
        written = whole_model(model, lengths=lengths is not False, network_only=network_only)
    elif isinstance(model, Recurrent):
        _refuse(model, dynamic_shapes=dynamic_shapes is not None, network_only=network_only)
        options = {"streaming": streaming, "lengths": bool(lengths), "int8": int8}
        written = _layer(model, name, **options)
    else:
        hint = "pass example=, the arguments of a call" if isinstance(model, nn.Module) else ""
        expected = "expected a layer, a trained model, or a torch module with an example="
        raise ArgumentError(
            f"a {type(model).__name__} cannot be exported to ONNX; {hint or expected}"
        )
    content: bytes = written.SerializeToString()
    return content


def _check_packages(*, for_torch: bool) -> None:
    """Refuse to write ONNX without its packages; torch's exporter needs onnxscript too."""
    try:
        import onnx  # noqa: F401

        if for_torch:
            import onnxscript  # noqa: F401
    except ImportError as error:
        raise ArgumentError(
            f"ONNX needs the package {error.name}: pip install 'gatewright[onnx]'; or write a .c, "
            ".js or .py file"
        ) from error


def _refuse(model: Any, **options: bool) -> None:
    """Refuse options that are not for this kind of model.

    Raises:
        ArgumentError: naming the first of them.
    """
    for name, is_set in options.items():
        if is_set:
            raise ArgumentError(
                f"{name} is not for the ONNX model of a {type(model).__name__}; leave it out"
            )


def _layer(layer: Recurrent, name: str, *, streaming: bool, lengths: bool, int8: bool) -> Any:
    if streaming and layer.bidirectional:
        raise ArgumentError(
            "the layer is bidirectional: it reads a sequence from its end too, so it has no single "
            "step. Leave streaming out, or take a layer with bidirectional=False"
        )
    if streaming and lengths:
        raise ArgumentError(
            "streaming takes one step at a time, which has no lengths: leave it out"
        )
    for further in layer.graph.equations.inputs:
        further_size(layer.form, further)  # refuses one that cannot fit all layers
    if int8:
        check_int8(layer)
    return layer_model(layer, streaming=streaming, lengths=lengths, name=name, int8=int8)


def _name(path: Path) -> str:
    """The name of the program, from that of its file.

    >>> _name(Path("Wake-word 2.c"))
    'wake_word_2'
    """
    name = re.sub(r"[^a-z0-9_]+", "_", path.stem.lower()).strip("_")
    return name if re.match("[a-z]", name) else f"model_{name}".rstrip("_")
