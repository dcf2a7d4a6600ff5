"""Any torch module with our layers as an ONNX model, by torch's exporter."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gatewright.deploy.onnx_table import onnx_translations
from gatewright.errors import ArgumentError, GatewrightError
from gatewright.exports.onnx_fold import fold_weights
from gatewright.exports.onnx_step import IR_VERSION, OPSET

#: Loggers of torch's exporter, which report its own internals.
EXPORTER_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir")


def module_model(module: nn.Module, example: Any, *, dynamic_shapes: Any = None) -> Any:
    """A module as an ONNX model, in evaluation mode.

    Args:
        example: Arguments of a call: a tensor, a tuple of them, or a mapping by name.
        dynamic_shapes: The axes that vary, as `torch.onnx.export` takes them; by default each that
            the module lets vary.

    Raises:
        ArgumentError: if torch cannot export the module, or an axis of the example has length 1.
    """
    arguments, named = _arguments(example)
    if dynamic_shapes is None:
        _check_example([*arguments, *named.values()])
        shapes = {name: _every_axis(value) for name, value in named.items()}
        dynamic_shapes = shapes if named else tuple(map(_every_axis, arguments))
    training = module.training
    module.eval()
    try:
        with torch.no_grad():
            module(*arguments, **named)  # its own errors are clearer than those of a record
        program = _recorded(module, arguments, named, dynamic_shapes)
    finally:
        module.train(training)
    model = program.model_proto
    _without_traces(model)
    fold_weights(model)
    return model


def _recorded(
    module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any], dynamic_shapes: Any
) -> Any:
    """Let torch's exporter write the module.

    Raises:
        GatewrightError: with the reason, where it cannot.
    """
    try:
        with _quiet():
            return torch.onnx.export(
                module,
                arguments,
                kwargs=named,
                dynamo=True,
                dynamic_shapes=dynamic_shapes,
                custom_translation_table=onnx_translations(),
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:
        raise _refusal(module, error) from error


def _arguments(example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(example, Tensor):
        return (example,), {}
    if isinstance(example, Mapping):
        return (), dict(example)
    if isinstance(example, tuple | list):
        return tuple(example), {}
    raise ArgumentError(
        f"example is a {type(example).__name__}; expected the arguments of a call of the module: a "
        "tensor, a tuple of tensors, or a mapping from their names"
    )


def _check_example(values: Sequence[Any]) -> None:
    """Refuse an axis of length 1 but the last: torch would fix it, and a batch could be no other.

    Raises:
        ArgumentError: naming the shape.
    """
    for value in values:
        if isinstance(value, Tensor) and 1 in value.shape[:-1]:
            raise ArgumentError(
                f"a tensor of the example has shape {tuple(value.shape)}, and torch fixes an axis "
                "of length 1; give at least 2 rows and 2 steps, or dynamic_shapes= to name the "
                "axes that vary"
            )


def _every_axis(value: Any) -> Any:
    """The axes of an argument, each as dynamic as the module lets it be."""
    if not isinstance(value, Tensor):
        return None
    return dict.fromkeys(range(value.dim()), torch.export.Dim.AUTO)


def _refusal(module: nn.Module, error: BaseException) -> GatewrightError:
    """Our own error behind one of torch's, or torch's in a sentence."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, GatewrightError):
            return type(cause)(str(cause))
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, ImportError):
        return ArgumentError("ONNX needs more packages: pip install 'gatewright[onnx]'")
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return ArgumentError(
        f"torch cannot export the {type(module).__name__}: {lines[0].strip()}. Its own message has "
        "the rest; try torch.export.export(module, args) to see which line it stops at"
    )


def _without_traces(model: Any) -> None:
    """Remove what torch notes down of the exporting machine, such as paths of source files."""
    del model.metadata_props[:]
    model.ir_version = IR_VERSION
    model.producer_name = "gatewright"
    model.ClearField("producer_version")
    graphs = [model.graph]
    while graphs:
        graph = graphs.pop()
        del graph.metadata_props[:]
        for value in (*graph.input, *graph.output, *graph.value_info):
            del value.metadata_props[:]
        for tensor in graph.initializer:
            del tensor.metadata_props[:]
        for node in graph.node:
            node.ClearField("doc_string")
            del node.metadata_props[:]
            graphs += [a.g for a in node.attribute if a.HasField("g")]


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's exporter, which warns of packages that are not installed and of itself."""
    loggers = [logging.getLogger(name) for name in EXPORTER_LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
