"""A node: one operation in a cell's equations, as plain data."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

#: A size is a number, "input" or "hidden".
Size = int | str


class Node:
    """One operation applied to operands.

    Nodes are compared by identity: two equal-looking products have separate weights.
    """

    __slots__ = ("attributes", "line", "op", "operands")

    def __init__(
        self,
        op: str,
        operands: tuple[Node, ...] = (),
        attributes: Mapping[str, Any] | None = None,
        line: int | None = None,
    ) -> None:
        self.op = op
        self.operands = operands
        self.attributes = dict(attributes or {})
        self.line = line

    def __repr__(self) -> str:
        details = "".join(f" {key}={value!r}" for key, value in self.attributes.items())
        return f"<{self.op}{details}>"


def closure(roots: Iterable[Any], known: Collection[Any] = ()) -> set[Any]:
    """All nodes that `roots` depend on, themselves included; the search stops at `known` ones."""
    seen: set[Any] = set()
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        if node not in seen:
            seen.add(node)
            if node not in known:
                waiting.extend(node.operands)
    return seen
