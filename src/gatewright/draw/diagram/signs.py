"""Signs: what stands on the figure of each operation."""

from __future__ import annotations

from collections.abc import Mapping

from gatewright.language.node import Node

#: Operations of two operands between which order does not matter, or does.
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
    """A constant, as short as it can be said."""
    return f"{value:.6g}".replace("inf", "∞").replace("-", "−")


def of_unary(op: str) -> str:
    """The sign of a function of one value."""
    return UNARY.get(op, op.replace("_", " "))


def of_operation(node: Node, texts: Mapping[Node, str]) -> tuple[str, list[str]]:
    """The sign, and for each operand the letter that its wire carries.

    Args:
        texts: Operands that are numbers; they stand in the sign and need no wire.
    """
    op, operands = node.op, node.operands
    if len(operands) == 1:
        return " ".join([of_unary(op), *texts.values()]), [""]
    wired = [one for one in operands if one not in texts]
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
    parts = [texts.get(one, letter) for one, letter in zip(operands, "?ab", strict=True)]
    marks = ["" if one in texts else letter for one, letter in zip(operands, "?ab", strict=True)]
    return f"? {parts[1]} : {parts[2]}", marks
