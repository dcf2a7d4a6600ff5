"""The signs on the figures of operations."""

from __future__ import annotations

from collections.abc import Mapping

from gatewright.language.node import Node

#: Operations of two operands whose order does not matter; `ORDERED`: whose order matters.
SYMMETRIC = {
    "add": "+",
    "multiply": "×",
    "maximum": "max",
    "minimum": "min",
    "equal": "=",
    "not_equal": "≠",
    "logical_and": "and",
    "logical_or": "or",
}
ORDERED = {
    "subtract": "−",
    "divide": "÷",
    "power": "^",
    "less": "<",
    "less_equal": "≤",
    "greater": ">",
    "greater_equal": "≥",
}
UNARY = {
    "sigmoid": "σ",
    "negative": "−",
    "square": "( )²",
    "sqrt": "√",
    "abs": "| |",
    "stop_gradient": "stop ∇",
    "logical_not": "not",
    "log_sigmoid": "log σ",
    "hard_sigmoid": "hard σ",
    "layer_norm": "norm",
    "sum": "Σ",
}


def number(value: float) -> str:
    """A constant with at most six digits."""
    return f"{value:.6g}".replace("inf", "∞").replace("-", "−")


def of_unary(op: str) -> str:
    """The sign of a function of one value."""
    return UNARY.get(op, op.replace("_", " "))


def of_operation(node: Node, texts: Mapping[Node, str]) -> tuple[str, list[str]]:
    """The sign, and the letter at the end of each operand's wire.

    Args:
        texts: Operands that are numbers; they are part of the sign and need no wire.
    """
    op, operands = node.op, node.operands
    if len(operands) == 1:
        return " ".join([of_unary(op), *texts.values()]), [""]
    wired = [operand for operand in operands if operand not in texts]
    if op in SYMMETRIC or op in ORDERED:
        first, second = operands
        sign = SYMMETRIC.get(op) or ORDERED[op]
        if first is second:
            return {"add": "2 ×", "multiply": "( )²"}.get(op, sign), ["", ""]
        if len(wired) == 2:
            return (sign, ["", ""]) if op in SYMMETRIC else (f"a {sign} b", ["a", "b"])
        if not wired:
            return f"{texts[first]} {sign} {texts[second]}", ["", ""]
        if op == "multiply":
            return f"{texts.get(first) or texts.get(second)} ×", ["", ""]
        if op in SYMMETRIC:
            return f"{sign} {texts.get(first) or texts.get(second)}", ["", ""]
        if first in texts:
            return f"{texts[first]} {sign}", ["", ""]
        return f"{sign} {texts[second]}", ["", ""]
    lettered = list(zip(operands, "?ab", strict=True))  # where(condition, a, b)
    parts = [texts.get(operand, letter) for operand, letter in lettered]
    marks = ["" if operand in texts else letter for operand, letter in lettered]
    return f"? {parts[1]} : {parts[2]}", marks
