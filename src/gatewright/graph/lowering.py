"""Lowering: from the equations that a user wrote to the terms that are computed."""

from __future__ import annotations

import json
from dataclasses import replace
from weakref import WeakValueDictionary

from gatewright.graph.definitions import DEFINITIONS
from gatewright.graph.graph import Graph, Weight
from gatewright.graph.sizes import Sizes, infer_sizes
from gatewright.graph.terms import Expression, Term, Terms
from gatewright.language.equations import Equations
from gatewright.language.node import Node, Size


def build_graph(equations: Equations, *, bias: bool = True) -> Graph:
    """Build the graph of a cell's equations; without `bias`, its products have no biases.

    Raises:
        CellError: if two sizes that must agree are different numbers.
    """
    text = json.dumps([equations.to_json(), bias])
    graph = GRAPHS.get(text)
    if graph is None:
        graph = replace(_Lowering(equations, infer_sizes(equations), bias).run(), text=text)
        GRAPHS[text] = graph
    return graph


#: Cells with the same equations share a graph, and so its kernels, while one of them lives.
GRAPHS: WeakValueDictionary[str, Graph] = WeakValueDictionary()


def of_text(text: str) -> Graph:
    """Build the graph of a stored cell, `Graph.text`."""
    if (known := GRAPHS.get(text)) is not None:
        return known
    stored, bias = json.loads(text)
    return build_graph(Equations.from_json(stored), bias=bias)


class _Lowering:
    def __init__(self, equations: Equations, sizes: Sizes, bias: bool) -> None:
        self.equations = equations
        self.bias = bias
        self.sizes = sizes
        self.terms = Terms()
        self.weights: dict[str, Weight] = {}
        self.leaves: dict[str, Term] = {}
        self.noises: list[Term] = []

    def run(self) -> Graph:
        lowered: dict[Node, Term] = {}
        for node in self.equations.nodes:
            lowered[node] = self.lower(node, tuple(lowered[operand] for operand in node.operands))
        leaf = {
            node.attributes["name"]: lowered[node]
            for node in self.equations.nodes
            if node.op in ("event", "input", "state")
        }
        # A state may be returned unchanged, or set to a number, which has size 1.
        updates = {
            name: self.sized(lowered[node], leaf[name].size)
            for name, node in self.equations.updates.items()
        }
        values = {name: lowered[node] for name, node in self.equations.names.items()}
        output = next(
            (
                updates[s]
                for s, node in self.equations.updates.items()
                if node is self.equations.output
            ),
            lowered[self.equations.output],
        )
        return Graph(
            equations=self.equations,
            terms=self.terms.freeze(),
            sizes=self.sizes,
            weights=self.weights,
            values=values | updates,
            inputs={name: leaf[name] for name in self.equations.step_inputs},
            states={name: leaf[name] for name in self.equations.states},
            updates=updates,
            output=output,
            noises=tuple(self.noises),
            initial=self.starts(leaf),
            lowered=lowered,
        )

    def lower(self, node: Node, operands: tuple[Term, ...]) -> Term:
        attributes, size = node.attributes, self.sizes.of[node]
        if node.op == "constant":
            return self.terms.new("constant", size=1, value=attributes["value"])
        if node.op in ("event", "input", "state"):
            return self.terms.new(node.op, size=size, name=attributes["name"])
        if node.op == "noise":
            drawn = {"p": attributes["p"], "per": attributes["per"], "position": len(self.noises)}
            self.noises.append(self.terms.new("noise", size=size, **drawn))
            return self.noises[-1]
        if node.op == "parameter":
            return self.weight(
                Weight(attributes["name"], "", "parameter", (size,), start=attributes["start"])
            )
        if node.op in ("linear", "diagonal"):
            return self.product(node, operands, size)
        if node.op in DEFINITIONS:
            before = len(self.terms.all)
            expressions = [Expression(self.terms, operand) for operand in operands]
            term = DEFINITIONS[node.op](*expressions, **attributes).term
            # Merged with an earlier value of the user's; but each value has its own term.
            if term.index < before:
                return self.terms.new("add", term, self.terms.constant(0.0), size=size)
            return term
        return self.terms.new(node.op, *operands, size=size, **attributes)

    def product(self, node: Node, sources: tuple[Term, ...], size: Size) -> Term:
        """Add up matrices times sources, in the order of the sources, the bias at the first."""
        total: Term | None = None
        name, keys = node.attributes["name"], node.attributes["keys"]
        for position, (key, source) in enumerate(zip(keys, sources, strict=True)):
            if node.op == "diagonal":
                vector = self.weight(Weight(name, key, "weight", (source.size,)))
                part = self.terms.new("multiply", vector, source, size=source.size)
            else:
                heads = node.attributes["heads"]
                kind = {"antisymmetric": node.attributes.get("antisymmetric", False)}
                matrix = self.weight(
                    Weight(name, key, "weight", (size, source.size), heads, **kind)
                )
                part = self.terms.new("product", source, matrix, size=size, heads=heads)
                if position == 0 and node.attributes["bias"] and self.bias:
                    bias = self.weight(Weight(name, key, "bias", (size,)))
                    part = self.terms.new("add", part, bias, size=size)
            total = part if total is None else self.terms.new("add", total, part, size=size)
        assert total is not None
        return total

    def weight(self, weight: Weight) -> Term:
        """Return the term of a learned tensor: a shared tensor is still a single term."""
        if weight.path not in self.leaves:
            self.weights[weight.path] = weight
            size = weight.shape[0]
            self.leaves[weight.path] = self.terms.new("weight", size=size, weight=weight)
        return self.leaves[weight.path]

    def sized(self, term: Term, size: Size) -> Term:
        """Expand a term of one value a row to the size of a state."""
        if term.size == 1 and size != 1:
            return self.terms.new("expand", term, size=size)
        return term

    def starts(self, leaf: dict[str, Term]) -> dict[str, float | Weight]:
        starts: dict[str, float | Weight] = {}
        for name in self.equations.states:
            start = self.equations.initial.get(name, 0.0)
            if isinstance(start, float | int):
                starts[name] = float(start)
            else:
                weight = Weight(
                    f"initial.{name}", "", "parameter", (leaf[name].size,), start=start["learned"]
                )
                self.weights[weight.path] = weight
                starts[name] = weight
        return starts
