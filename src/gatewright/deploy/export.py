"""`gw.export`: a layer or a model as a program in another language; the file's ending decides."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import nn

from gatewright.deploy.endings import COMPANIONS, ENDINGS
from gatewright.deploy.network import exported_network
from gatewright.deploy.page import page_of
from gatewright.deploy.torch_module import module_model
from gatewright.deploy.whole import whole_model
from gatewright.errors import ArgumentError
from gatewright.exports import c, javascript, python
from gatewright.exports.network import ExportedNetwork
from gatewright.exports.onnx import layer_model
from gatewright.files import check_new_file, user_path, write_file
from gatewright.layers.arguments import check_flags
from gatewright.layers.call_inputs import further_size
from gatewright.layers.finite import check_finite
from gatewright.layers.precision import check_int8, check_precision, in_float32, layers_in
from gatewright.layers.recurrent import Recurrent
from gatewright.names import did_you_mean
from gatewright.tasks.labelled import Labelled
from gatewright.training.ensemble import Ensemble
from gatewright.training.model import Model

#: By the ending of the file: the texts of all files of that language.
WRITERS: Mapping[str, Callable[[ExportedNetwork], dict[str, str]]] = MappingProxyType(
    {".c": c.source_files, ".js": javascript.source_files, ".py": python.source_files}
)

#: The endings of the files that each option is for; those that are not here are for all.
OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "example": (".onnx",),
        "dynamic_shapes": (".onnx",),
        "streaming": (".c", ".js", ".py", ".onnx"),
        "lengths": (".onnx",),
        "network_only": (".c", ".js", ".py", ".onnx"),
        "values": (".js", ".py"),
        "data": (".html",),
    }
)

#: Modules that a file of Python would hide from the program, and from NumPy, which it imports.
_MODULES = frozenset({*sys.stdlib_module_names, "numpy"})
#: Headers of C, which the header of a program would hide from other sources.
_HEADERS = frozenset(
    {
        *("assert", "complex", "ctype", "errno", "fenv", "float", "inttypes", "iso646", "limits"),
        *("locale", "math", "setjmp", "signal", "stdalign", "stdarg", "stdatomic", "stdbool"),
        *("stddef", "stdint", "stdio", "stdlib", "stdnoreturn", "string", "tgmath", "threads"),
        *("time", "uchar", "wchar", "wctype"),
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
            these, an option is not for the model or the language, or a file exists.
        ModelError: if weights are not finite.
    """
    path, int8 = user_path(path), check_precision(precision)
    check_flags(streaming=streaming, network_only=network_only, values=values, overwrite=overwrite)
    if lengths is not None:
        check_flags(lengths=lengths)
    _check_path(path)
    options = {
        "example": example,
        "dynamic_shapes": dynamic_shapes,
        "streaming": streaming,
        "lengths": lengths,
        "network_only": network_only,
        "values": values,
        "data": data,
    }
    _check_options(path, options)
    if isinstance(model, Recurrent | Model):
        check_finite(model)
        model = in_float32(model)
    if path.suffix == ".html":
        if int8:
            raise ArgumentError(
                "precision (--precision) is int8; the page computes in float64: leave it out"
            )
        check_new_file(path, overwrite=overwrite)
        write_file(path, page_of({path.stem: model}, data).html.encode(), overwrite=overwrite)
        return [path]
    if path.suffix == ".onnx":
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
    network = _network(model, _name(path), int8=int8, values=values, network_only=network_only)
    if streaming and not network.streams:
        raise ArgumentError(
            "streaming (--streaming) is True, and the network cannot answer event by event: "
            f"{network.chains.why_not_stream}; leave it out"
        )
    files = WRITERS[path.suffix](replace(network, stem=path.stem))
    targets = {path.with_suffix(ending): text for ending, text in files.items()}
    for target in targets:
        check_new_file(target, overwrite=overwrite)
    for target, text in targets.items():
        write_file(target, text.encode(), overwrite=overwrite)
    return list(targets)


def _check_path(path: Path) -> None:
    """Refuse a file of no language, or one that its language could not read by its name.

    Raises:
        ArgumentError: with the reason.
    """
    endings = list(ENDINGS.values())
    if path.suffix not in endings:
        hint = COMPANIONS.get(path.suffix)
        expected = f"{did_you_mean(path.suffix, endings)}expected {', '.join(endings)}"
        raise ArgumentError(f"the ending of {path} is {path.suffix!r}; {hint or expected}")
    # On some file systems, Math.h is math.h.
    stem = path.stem.casefold()
    if path.suffix == ".py" and stem in _MODULES:
        raise ArgumentError(
            f"{path.name} would hide the module {stem}, which programs import; name another file"
        )
    if path.suffix == ".c" and stem in _HEADERS:
        raise ArgumentError(
            f"{path.name} needs a header {path.stem}.h, and C has one of that name; "
            "name another file"
        )
    if path.suffix == ".c" and re.search(r'["\\\x00-\x1f\x7f]|\?\?', path.stem):
        raise ArgumentError(
            f"the name {path.name!r} cannot be included in C; name a file without quotation marks, "
            "backslashes, ?? and line breaks"
        )


def _check_options(path: Path, options: Mapping[str, Any]) -> None:
    """Refuse options that are not for the language of a file.

    Raises:
        ArgumentError: naming the first of them.
    """
    for name, value in options.items():
        if value is None or value is False or path.suffix in OPTIONS[name]:
            continue
        *others, last = OPTIONS[name]
        endings = f"{', '.join(others)} and {last}" if others else last
        raise ArgumentError(f"{_option(name)} is for {endings} files; leave it out for {path}")


def _option(name: str) -> str:
    """The name of an option, and that of the command line where it has one."""
    if name in ("example", "dynamic_shapes", "lengths"):
        return name
    return f"{name} (--{name.replace('_', '-')})"


def _network(model: Any, name: str, *, int8: bool, **options: bool) -> ExportedNetwork:
    """The network of a program, with answers that were recorded in its own precision."""
    if not isinstance(model, nn.Module):
        return exported_network(model, name, **options)  # refuses it
    if options["network_only"]:
        _refuse_network_only(model)
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
            "precision (--precision) is int8, which ONNX takes for layers; "
            + _layers_instead(model, "precision='int8'")
        )
    _check_packages(for_torch=not isinstance(model, Recurrent) or example is not None)
    if example is not None and isinstance(model, nn.Module) and not isinstance(model, Model):
        _refuse(model, streaming=streaming, lengths=bool(lengths), network_only=network_only)
        written = module_model(model, example, dynamic_shapes=dynamic_shapes)
    elif isinstance(model, Model):
        if streaming:
            raise ArgumentError(
                "streaming (--streaming) takes one step of a layer, and a trained model reads "
                f"whole sequences in ONNX; {_layers_instead(model, 'streaming=True')}"
            )
        if lengths and not isinstance(model.task, Labelled):
            raise ArgumentError(
                f"lengths is True, and the task {model.task.kind} has no input with the steps of "
                "each sequence; leave it out"
            )
        if network_only:
            _refuse_network_only(model)
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


def _layers_instead(model: Any, option: str) -> str:
    """Name what to export instead of a whole model, for an option that ONNX has for layers."""
    other = "write a .c, .js or .py file"
    if not isinstance(model, Model) or model.recurrent is None:
        return other
    if isinstance(model, Ensemble):
        return (
            f"export the layers of each of its {len(model.members)} networks, "
            f"gw.export(model.members[0].recurrent, path, {option}) and so on, or {other}"
        )
    return f"export the model's layers, gw.export(model.recurrent, path, {option}), or {other}"


def _refuse_network_only(model: Any) -> None:
    """Refuse to leave out the counts of a model that is no text.

    Raises:
        ArgumentError: if it is none.
    """
    if not isinstance(model, Model) or model.task.symbols is None:
        raise ArgumentError(
            "network_only (--network-only) leaves out the counts of a text model, and this is "
            "none; leave it out"
        )


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
