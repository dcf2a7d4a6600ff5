"""Layers and models that compute in a precision for a while."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from gatewright.backends.int8 import check_columns
from gatewright.errors import ArgumentError
from gatewright.layers.recurrent import Recurrent
from gatewright.names import did_you_mean

#: The precisions of a prediction and of an exported program.
PRECISIONS = ("float32", "int8")


def check_precision(precision: str) -> bool:
    """Tell if products are to be in int8.

    Raises:
        ArgumentError: if there is no such precision.
    """
    if precision not in PRECISIONS:
        hint = did_you_mean(str(precision), PRECISIONS)
        if precision == "bfloat16":
            hint = "bfloat16 is not there yet; "
        raise ArgumentError(f"precision is {precision!r}; {hint}expected {' or '.join(PRECISIONS)}")
    return precision == "int8"


def check_int8(layer: Recurrent) -> None:
    """Refuse a layer whose products do not fit into int8.

    Raises:
        SizeError: if the sums of a product could exceed 32 bits.
    """
    for position in range(layer.num_layers):
        check_columns(layer.graph, layer.sizes(position))


@contextmanager
def layers_in(model: Any, *, int8: bool) -> Iterator[None]:
    """Let the recurrent layers of a model, or a layer, compute in int8 or not within the context.

    Raises:
        SizeError: in int8, if the sums of a product could exceed 32 bits.
    """
    layers = [module for module in model.modules() if isinstance(module, Recurrent)]
    for layer in layers if int8 else ():
        check_int8(layer)
    backends = [layer.backend for layer in layers]
    try:
        for layer in layers:
            if int8 or layer.backend == "int8":
                layer.backend = "int8" if int8 else "auto"
        yield
    finally:
        for layer, backend in zip(layers, backends, strict=True):
            layer.backend = backend


def in_float32(model: Any) -> Any:
    """A model in float32 on the CPU, as programs and pages hold its numbers; a copy if it is not.

    What is no module stays as it is.
    """
    if not isinstance(model, nn.Module):
        return model
    if all(p.dtype == torch.float32 and p.device.type == "cpu" for p in model.parameters()):
        return model
    return copy.deepcopy(model).to("cpu", torch.float32)
