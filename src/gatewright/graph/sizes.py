"""Sizes: the size of every value, from stated sizes and from those that must agree.

A size is a number, "input" or "hidden". The sizes of states and further inputs follow from
how they are used; two different symbols that must agree become an equation, which is checked
when a layer gives the symbols their numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gatewright.errors import CellError, SizeError
from gatewright.language.equations import Equations
from gatewright.language.node import Node, Size
from gatewright.language.operations import OPERATIONS, REDUCTIONS


@dataclass(frozen=True)
class Agreement:
    """Two sizes that must be equal, and the line of the cell that requires it."""

    first: Size
    second: Size
    line: int | None


@dataclass(frozen=True)
class Division:
    """A size that must be a multiple of a number of heads."""

    size: Size
    heads: int
    line: int | None


@dataclass(frozen=True)
class Sizes:
    """The size of every node, and the conditions on a layer's numbers."""

    name: str
    of: Mapping[Node, Size]
    agreements: tuple[Agreement, ...]
    divisions: tuple[Division, ...]

    def check(self, numbers: Mapping[str, int]) -> None:
        """Refuse numbers for "input" and "hidden" that do not fit the equations.

        Raises:
            SizeError: naming the cell, the line and both sizes.
        """
        for agreement in self.agreements:
            first, second = (number(s, numbers) for s in (agreement.first, agreement.second))
            if first != second:
                raise SizeError(
                    f"{self.name}{_line(agreement.line)}: {agreement.first} size {first} meets "
                    f"{agreement.second} size {second}, and they must be equal; "
                    f"build the layer with equal sizes, or put a linear(...) between"
                )
        for division in self.divisions:
            size = number(division.size, numbers)
            if size % division.heads:
                raise SizeError(
                    f"{self.name}{_line(division.line)}: {division.size} size {size} cannot be "
                    f"divided into {division.heads} heads; give a multiple of {division.heads}"
                )


def number(size: Size, numbers: Mapping[str, int]) -> int:
    """Return a size as a number, from the numbers of "input" and "hidden"."""
    return numbers[size] if isinstance(size, str) else size


def infer_sizes(equations: Equations) -> Sizes:
    """Infer the size of every node.

    Raises:
        CellError: if two numbers that must be equal are not.
    """
    return _Inference(equations).run()


class _Inference:
    """Union-find over nodes: all nodes of a class have the same size."""

    def __init__(self, equations: Equations) -> None:
        self.equations = equations
        self.parent: dict[Node, Node] = {node: node for node in equations.nodes}
        self.known: dict[Node, Size] = {}
        self.agreements: list[Agreement] = []
        self.divisions: list[tuple[Node, int, int | None]] = []

    def run(self) -> Sizes:
        nodes = self.equations.nodes
        shared: dict[str, Node] = {}
        for node in nodes:
            self.state_size(node)
            if node.op == "parameter":
                self.unite(shared.setdefault(node.attributes["name"], node), node, node.line)
        # A reduction's size 1 must be known before the terms that use it are united, or their
        # sizes would be taken to be equal; nodes come after their operands, so a single pass
        # in order is enough for that.
        for node in nodes:
            self.relate(node)
        states = {node.attributes["name"]: node for node in nodes if node.op == "state"}
        updates = [(states[name], update) for name, update in self.equations.updates.items()]
        # One value a row, assigned to a state of many units, is spread over them; so the
        # updates of other sizes decide the size of the state first.
        for before, update in sorted(updates, key=lambda pair: self.size(pair[1]) == 1):
            if self.size(update) != 1 or self.size(before) in (None, 1):
                self.unite(before, update, update.line)
        for node in nodes:
            if self.size(node) is None:
                default: Size = 1 if node.op in ("input", "constant") else "hidden"
                self.known[self.root(node)] = default
        sizes = {node: self.final(node) for node in nodes}
        self.products_agree(sizes)
        divisions = dict.fromkeys(
            Division(sizes[node], heads, line) for node, heads, line in self.divisions
        )
        for division in divisions:
            if isinstance(division.size, int) and division.size % division.heads:
                fact = f"size {division.size} cannot be divided into {division.heads} heads"
                raise CellError(
                    fact,
                    cell=self.equations.name,
                    line=division.line,
                    hint=f"give size= a multiple of {division.heads}, or other heads=",
                )
        return Sizes(
            self.equations.name,
            sizes,
            tuple(dict.fromkeys(self.agreements)),
            tuple(divisions),
        )

    def state_size(self, node: Node) -> None:
        """Record the sizes that are stated, not inferred."""
        stated = node.attributes.get("size")
        if node.op == "event":
            stated = "input"
        elif node.op in ("input", "state"):
            stated = self.equations.sizes.get(node.attributes["name"])
        elif node.op == "constant" or (node.op in REDUCTIONS and "heads" not in node.attributes):
            stated = 1
        if stated is not None:
            self.known[node] = stated
        if node.op == "linear" and node.attributes["heads"] > 1:
            divided = (node, *node.operands)
            self.divisions += [(part, node.attributes["heads"], node.line) for part in divided]
        elif "heads" in node.attributes and node.op != "linear":
            self.divisions.append((node.operands[0], node.attributes["heads"], node.line))

    def relate(self, node: Node) -> None:
        """Unite the sizes that the operation requires to be equal."""
        kind = OPERATIONS[node.op].kind
        if kind == "row":
            if node.op not in REDUCTIONS or "heads" in node.attributes:
                self.unite(node, node.operands[0], node.line)
        elif node.attributes.get("antisymmetric"):  # square matrices
            for operand in node.operands:
                self.unite(node, operand, node.line)
        elif kind == "pointwise" or node.op == "diagonal":
            full = [operand for operand in node.operands if self.size(operand) != 1]
            for operand in full:
                self.unite(node, operand, node.line)
            if not full:
                self.known[self.root(node)] = 1

    def products_agree(self, sizes: Mapping[Node, Size]) -> None:
        """Require sources of one size for products that share a weight."""
        seen: dict[tuple[str, str], Size] = {}
        for node in self.equations.nodes:
            for key, source in zip(node.attributes.get("keys", ()), node.operands, strict=False):
                first = seen.setdefault((node.attributes["name"], key), sizes[source])
                self.agree(first, sizes[source], node.line)

    def root(self, node: Node) -> Node:
        while self.parent[node] is not node:
            self.parent[node] = self.parent[self.parent[node]]
            node = self.parent[node]
        return node

    def size(self, node: Node) -> Size | None:
        return self.known.get(self.root(node))

    def final(self, node: Node) -> Size:
        size = self.size(node)
        assert size is not None
        return size

    def unite(self, first: Node, second: Node, line: int | None) -> None:
        a, b = self.root(first), self.root(second)
        if a is b:
            return
        known_a, known_b = self.known.get(a), self.known.get(b)
        if known_a is not None and known_b is not None:
            self.agree(known_a, known_b, line)
            return
        if known_a is None:
            a, b = b, a
        self.parent[b] = a

    def agree(self, first: Size, second: Size, line: int | None) -> None:
        if first == second:
            return
        if isinstance(first, int) and isinstance(second, int):
            raise self.error(f"size {first} meets size {second}, and they must be equal", line)
        self.agreements.append(Agreement(first, second, line))

    def error(self, fact: str, line: int | None) -> CellError:
        hint = "make the sizes equal with size=, or put a linear(..., size=...) between"
        return CellError(fact, cell=self.equations.name, line=line, hint=hint)


def _line(line: int | None) -> str:
    return f", line {line}" if line is not None else ""
