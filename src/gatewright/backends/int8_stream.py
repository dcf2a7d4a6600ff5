"""A stream whose products are in int8, in plain torch operations: the reference for int8."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gatewright.backends.int8 import Int8Matrix, int8_products
from gatewright.backends.operations import evaluate
from gatewright.backends.reference_stream import ReferenceStream
from gatewright.backends.run import Result, Run
from gatewright.graph import Graph, Term
from gatewright.graph.stages import WEIGHTS
from gatewright.language.node import closure


class Int8ReferenceStream(ReferenceStream):
    """A `Stream` that evaluates each layer's terms one by one; its products are in int8."""

    def __init__(
        self, graph: Graph, sizes: Sequence[Mapping[str, int]], rows: int, dtype: torch.dtype
    ) -> None:
        super().__init__(graph, sizes, rows, dtype)
        self.matrices: list[dict[Term, Int8Matrix]] = []

    def load(self, weights: Sequence[Mapping[str, Tensor]]) -> None:
        super().load(weights)
        self.matrices = [
            quantised_matrices(self.graph, sizes, own)
            for sizes, own in zip(self.sizes, self.weights, strict=True)
        ]

    def step(self, layer: int, run: Run) -> Result:
        return run_step(run, self.matrices[layer])


def quantised_matrices(
    graph: Graph, sizes: Mapping[str, int], weights: Mapping[str, Tensor]
) -> dict[Term, Int8Matrix]:
    """The matrix of each product in int8; `weights` are the graph's, by path."""
    known: dict[Term, Tensor] = {}
    like = torch.empty(0)
    for term in graph.forward:
        if term.op == "weight":
            known[term] = weights[term.attributes["weight"].path]
        elif graph.stages[term] == WEIGHTS:
            known[term] = evaluate(term, [known[o] for o in term.operands], sizes, like)
    return {term: Int8Matrix.of(known[term.operands[1]]) for term in int8_products(graph)}


def run_step(run: Run, matrices: Mapping[Term, Int8Matrix]) -> Result:
    """Run a single step, with the products in int8."""
    graph, products = run.graph, int8_products(run.graph)
    values = run.known_terms()
    values |= {graph.states[name]: state for name, state in run.states.items()}
    like = next(iter(run.inputs.values()))
    needed = closure([*graph.updates.values(), graph.output])
    for term in graph.forward:
        if term not in needed or term in values:
            continue
        operands = [values[operand] for operand in term.operands]
        if term in products:
            values[term] = matrices[term].product(operands[0], bounded=products[term])
        else:
            values[term] = evaluate(term, operands, run.sizes, like)
    states = [
        values[term].expand(run.states[name].shape) for name, term in graph.updates.items()
    ]
    return Result.of(run, values, states)
