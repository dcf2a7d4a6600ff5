"""Hints: the function to use instead of another library's, or of a method of tensors."""

from __future__ import annotations

from gatewright.language.operations import OPERATIONS

_CHOOSE = "where(condition, a, b), which chooses element by element"
_CLAMP = "minimum(maximum(value, low), high)"
_SIZES = "size= to set sizes; their numbers are known only when a layer is built"
_JOIN = "linear(x, h), which takes several sources, so that nothing has to be joined"
_MATRIX = "linear(x, h), which makes the matrices and one bias"
_PARTS = "separate products or states for the parts; a value is one whole row of units"

_INSTEAD = {
    "clamp": _CLAMP,
    "clip": _CLAMP,
    "hardtanh": "hard_tanh(value)",
    "hardsigmoid": "hard_sigmoid(value)",
    "logsigmoid": "log_sigmoid(value)",
    "detach": "stop_gradient(value)",
    "dropout": "noise(p), which is 1 with probability p",
    "concatenate": _JOIN,
    "concat": _JOIN,
    "cat": _JOIN,
    "stack": _JOIN,
    "matmul": _MATRIX,
    "mm": _MATRIX,
    "dot": _MATRIX,
    "einsum": _MATRIX,
    "linear": _MATRIX,
    "shape": _SIZES,
    "size": _SIZES,
    "ndim": _SIZES,
    "dim": _SIZES,
    "chunk": _PARTS,
    "split": _PARTS,
    "masked_fill": _CHOOSE,
    "heaviside": _CHOOSE,
    "sub": "the operator -",
    "mul": "the operator *",
    "div": "the operator /",
    "true_divide": "the operator /",
    "pow": "the operator **",
    "neg": "the operator -",
    "absolute": "abs(value), which needs no import",
    "abs": "abs(value), which needs no import",
    "negative": "the operator -",
    "power": "the operator **",
}


def instead(name: str) -> str:
    """The hint for a function or method called `name`."""
    if name in _INSTEAD:
        return f"use {_INSTEAD[name]}"
    operation = OPERATIONS.get(name)
    if operation is None or operation.kind == "leaf":
        return "use gatewright's functions and + - * / **; help(gatewright) lists them"
    if operation.text.startswith("{}"):
        return f"use the operator {operation.text.replace('{}', '').strip()}"
    return f"use gatewright.{name}"
