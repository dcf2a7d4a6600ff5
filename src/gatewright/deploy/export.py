"""`gw.export`: a layer or a model as a program in another language; the file's ending decides."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from gatewright.deploy.stream import stream_network
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
LANGUAGES: Mapping[str, tuple[Callable[[ExportedNetwork], dict[str, str]], bool]] = (
    MappingProxyType(
        {
            ".c": (c.source_files, False),
            ".js": (javascript.source_files, True),
            ".py": (python.source_files, True),
        }
    )
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

    C, JavaScript and NumPy run event by event, and a trained model goes out whole, with the scaling
    of its inputs and its read-out. ONNX takes layers, trained models of any design and task, and
    any torch module with our layers in it, all with any batch and number of steps.

    Args:
        model: A layer, a model of `train` or `load`; for ONNX also a module.
        path: The file to write; its ending decides: `.c` writes C99 with a header, `.js` an ES
            module with its types, `.py` a file that needs only NumPy, `.onnx` an ONNX model.
            Its name begins the names of the program.
        example: Of a module: the arguments of a call, as a tensor, a tuple of tensors or a mapping
            from names to tensors, with at least 2 rows and 2 steps.
        dynamic_shapes: Of a module: the axes that vary, as `torch.onnx.export` takes them; by
            default each that the module lets vary.
        streaming: Of an ONNX layer: take one step at a time, with the states in and out, rather
            than whole sequences. The other languages always do.
        lengths: Of ONNX: have an input with the steps of each sequence; by default only a trained
            model has it, of classes or tags.
        network_only: Of a text model that is mixed with counts: its network without the counts.
        values: Whether the program shows every named value of a step, such as the gates.
        overwrite: Replace files that exist.

    Returns:
        The files that were written.

    Raises:
        ArgumentError: if the model cannot run event by event, the ending is none of these, or a
            file exists.
    """
    path = Path(path)
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
        )
        write_file(path, content, overwrite=overwrite)
        return [path]
    if path.suffix not in LANGUAGES:
        endings = [*LANGUAGES, ".onnx"]
        nearest = did_you_mean(path.suffix, endings)
        raise ArgumentError(
            f"the ending of {path} is {path.suffix!r}; {nearest}expected {', '.join(endings)}"
        )
    if lengths:
        raise ArgumentError(
            f"lengths is True; a {path.suffix} file reads one event after the other: leave it out"
        )
    if example is not None or dynamic_shapes is not None or network_only:
        raise ArgumentError(
            f"example, dynamic_shapes and network_only are for .onnx; leave them out of {path}"
        )
    write, shows_values = LANGUAGES[path.suffix]
    if values and not shows_values:
        raise ArgumentError(
            f"values is True, and a {path.suffix} file has no place for every value of a step; "
            "export to .js or .py, or leave values out"
        )
    files = write(stream_network(model, _name(path), values=values))
    targets = {path.with_suffix(ending): text for ending, text in files.items()}
    for target in targets:
        check_new_file(target, overwrite=overwrite)
    for target, text in targets.items():
        write_file(target, text.encode(), overwrite=overwrite)
    return list(targets)


def onnx_bytes(
    model: Any,
    name: str,
    *,
    example: Any,
    dynamic_shapes: Any,
    streaming: bool,
    lengths: bool | None,
    network_only: bool,
) -> bytes:
    """A layer, a trained model or a module as the content of an ONNX file.

    Raises:
        ArgumentError: if it is none of them, an option is not for it, or onnx is not installed.
    """
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
        written = _layer(model, name, streaming=streaming, lengths=bool(lengths))
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


def _layer(layer: Recurrent, name: str, *, streaming: bool, lengths: bool) -> Any:
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
    return layer_model(layer, streaming=streaming, lengths=lengths, name=name)


def _name(path: Path) -> str:
    """The name of the program, from that of its file.

    >>> _name(Path("Wake-word 2.c"))
    'wake_word_2'
    """
    name = re.sub(r"[^a-z0-9_]+", "_", path.stem.lower()).strip("_")
    return name if re.match("[a-z]", name) else f"model_{name}".rstrip("_")
