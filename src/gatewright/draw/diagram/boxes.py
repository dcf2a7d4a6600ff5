"""Find the operations of a cell that are drawn together as one learned box."""

from __future__ import annotations

from collections import Counter

from gatewright.language.equations import Equations
from gatewright.language.node import Node
from gatewright.language.operations import OPERATIONS

PRODUCTS = ("linear", "diagonal")


def is_number(node: Node) -> bool:
    """Tell if a node is the same at every step: a constant or a learned vector."""
    return node.op in ("constant", "parameter")


def boxes(equations: Equations) -> dict[Node, list[Node]]:
    """The members of each box by the node whose value it shows, the last operation first.

    A box is a sum of products, possibly scaled, shifted and normalised by learned or constant
    numbers, and a nonlinearity on top. A value that is read elsewhere too is not part of it.
    """
    uses = Counter(operand for node in equations.nodes for operand in node.operands)
    uses.update([*equations.updates.values(), equations.output])
    affine: set[Node] = set()  # sums of products, scaled and shifted

    def fits(node: Node) -> bool:
        return node in affine and (is_number(node) or uses[node] == 1)

    for node in equations.nodes:
        operands = node.operands
        if node.op in PRODUCTS or is_number(node):
            affine.add(node)
        elif operands and all(map(fits, operands)):
            plain = node.op in ("add", "subtract", "negative")
            scaled = node.op == "multiply" and any(map(is_number, operands))
            scaled = scaled or (node.op == "divide" and is_number(operands[1]))
            if plain or scaled or OPERATIONS[node.op].kind == "row":
                affine.add(node)
    members: dict[Node, list[Node]] = {}
    inside: set[Node] = set()
    # From the last operation back, so that a box is as large as possible.
    for node in reversed(equations.nodes):
        unary = OPERATIONS[node.op].kind == "pointwise" and OPERATIONS[node.op].arity == 1
        nonlinearity = unary and node.op not in ("stop_gradient", "logical_not")
        if node in inside or not node.operands or not (node in affine or nonlinearity):
            continue
        parts: list[Node] = []
        pending = [] if node.op in PRODUCTS else list(node.operands)
        if not all(map(fits, pending)):
            continue
        while pending:
            parts.append(pending.pop())
            if parts[-1].op not in PRODUCTS:
                pending.extend(parts[-1].operands)
        if node.op in PRODUCTS or any(part.op in (*PRODUCTS, "parameter") for part in parts):
            members[node] = [node, *parts]
            inside.update(parts)
    return members
