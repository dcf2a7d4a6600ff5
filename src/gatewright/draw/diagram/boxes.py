"""Boxes: which operations of a cell are drawn as one learned box."""

from __future__ import annotations

from collections import Counter

from gatewright.language.equations import Equations
from gatewright.language.node import Node
from gatewright.language.operations import OPERATIONS

PRODUCTS = ("linear", "diagonal")


def is_number(node: Node) -> bool:
    """Whether a node is the same at every step: a constant or a learned vector."""
    return node.op in ("constant", "parameter")


def boxes(equations: Equations) -> dict[Node, list[Node]]:
    """What each box stands for, with all that is drawn within it, last operation first.

    A box is a sum of products, scaled, shifted and normalised by what is learned or
    constant, and the nonlinearity on top. What is read elsewhere too is not within it.
    """
    uses = Counter(one for node in equations.nodes for one in node.operands)
    uses.update([*equations.updates.values(), equations.output])
    affine: set[Node] = set()

    def fits(node: Node) -> bool:
        return node in affine and (is_number(node) or uses[node] == 1)

    for node in equations.nodes:
        operands = node.operands
        if node.op in PRODUCTS or is_number(node):
            affine.add(node)
        elif operands and all(fits(one) for one in operands):
            plain = node.op in ("add", "subtract", "negative")
            scaled = node.op == "multiply" and any(is_number(one) for one in operands)
            scaled = scaled or (node.op == "divide" and is_number(operands[1]))
            if plain or scaled or OPERATIONS[node.op].kind == "row":
                affine.add(node)
    found: dict[Node, list[Node]] = {}
    inside: set[Node] = set()
    for node in reversed(equations.nodes):
        squashed = OPERATIONS[node.op].kind == "pointwise" and OPERATIONS[node.op].arity == 1
        squashed = squashed and node.op not in ("stop_gradient", "logical_not")
        if node in inside or not node.operands or not (node in affine or squashed):
            continue
        parts: list[Node] = []
        waiting = [] if node.op in PRODUCTS else list(node.operands)
        if not all(fits(one) for one in waiting):
            continue
        while waiting:
            parts.append(waiting.pop())
            if parts[-1].op not in PRODUCTS:
                waiting.extend(parts[-1].operands)
        if node.op in PRODUCTS or any(one.op in (*PRODUCTS, "parameter") for one in parts):
            found[node] = [node, *parts]
            inside.update(parts)
    return found
