"""The reference backend: a graph in plain torch operations, step by step.

Other backends are held to it. It runs everywhere and in any dtype, and whatever torch can do
with plain operations works with it: double backward, `vmap`, forward-mode differentiation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from gatewright.backends.int8 import SLACK, Int8Matrix, int8_products, largest_number
from gatewright.backends.operations import evaluate
from gatewright.backends.run import Result, Run
from gatewright.graph import Term
from gatewright.graph.ranges import within_one
from gatewright.graph.sizes import number
from gatewright.graph.stages import INPUTS, STATE, WEIGHTS, stages
from gatewright.language.node import closure


def why_not(run: Run) -> None:
    """Return None: the reference can run everything."""


def describe(run: Run) -> list[str]:
    """The way in which a run takes its steps, for `layer.explain`."""
    device = next(iter(run.states.values())).device
    if device.type == "cpu":
        return []
    return [
        "every operation of every step is launched by Python: on a GPU the steps are neither "
        "compiled nor captured as a CUDA graph"
    ]


def why_not_int8(run: Run) -> str | None:
    """Give the reason why the reference cannot run a run in int8, or None."""
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in run.tensors()):
        return "rounding to int8 has no gradient: run it under torch.no_grad()"
    bounded = within_one(run.graph)
    for name, term in run.graph.states.items():
        largest = largest_number(run.states[name]) if term in bounded else 0.0
        if largest > 1.0 + SLACK:
            return (
                f"state {name} holds {largest:g}; in int8 it lies within -1 and 1, as each step of "
                "this cell leaves it: scale it, or use another backend"
            )
    return None


def run(run: Run, known: Mapping[Term, Tensor] | None = None, *, int8: bool = False) -> Result:
    """Run a graph over a sequence; terms whose values are `known` are not computed again.

    With `int8` its products are in int8; see `int8.py`.
    """
    graph, rows = run.graph, list(run.rows)
    returned = {graph.output} | {graph.values[name] for name in run.names}
    held = {graph.values[name]: value for name, value in run.hold.items()}
    stage = stages(graph.forward, held) if held else graph.stages
    like = next(iter(run.states.values()))
    values = {**run.known_terms(), **(known or {}), **held}
    needed = closure([*graph.updates.values(), *returned], values)
    early = [term for term in graph.forward if term in needed and stage[term] < STATE]
    products = int8_products(graph) if int8 else {}
    TermGroup(early, values, run.sizes, products).compute(values, like)

    in_loop = [term for term in graph.forward if term in needed and stage[term] >= STATE]
    inside = [term for term in in_loop if term.op != "state"]
    loop = TermGroup(inside, values, run.sizes, products)
    read = {operand for term in in_loop for operand in term.operands}
    read |= set(graph.updates.values())
    fixed = {t: value for t, value in values.items() if t in read and stage[t] == WEIGHTS}
    batch = len(like)
    if rows and rows[-1] == batch:  # the number never grows, so all rows run at every step
        # Repeated before the loop, a vector has one sum over the rows as its gradient, not one
        # at each step: on a GPU each of them is a launch.
        fixed |= {t: value.expand(batch, -1) for t, value in fixed.items() if value.dim() == 1}
    # split gives one view a step: taking them one by one would cost a full-size gradient each.
    by_step = {
        term: value.split(rows)
        for term, value in values.items()
        if term in read and stage[term] == INPUTS
    }
    restart = run.restart.split(rows) if run.restart is not None else None
    history: dict[Term, list[Tensor]] = {t: [] for t in returned if stage[t] >= STATE}
    states = dict(run.states)
    for t in reversed(range(len(rows))) if run.reverse else range(len(rows)):
        running = rows[t]
        now = fixed | {term: pieces[t] for term, pieces in by_step.items()}
        for name, term in graph.states.items():
            if term in held:
                continue
            now[term] = first_rows(states[name], running)
            if restart is not None:
                mark = restart[t].unsqueeze(-1)
                now[term] = torch.where(mark, first_rows(run.fresh[name], running), now[term])
        loop.compute(now, like)
        for name, term in graph.updates.items():
            after = now[term].expand(running, states[name].shape[1])
            if running < len(states[name]):  # the rows that do not run keep their states
                after = torch.cat([after, states[name][running:]])
            states[name] = after
        for term, steps in history.items():
            steps.append(now[term])

    for term, steps in history.items():
        in_order = steps[::-1] if run.reverse else steps
        size = number(term.size, run.sizes)
        values[term] = torch.cat(in_order) if in_order else like.new_zeros(0, size)
    return Result.of(run, values, list(states.values()))


def first_rows(rows: Tensor, count: int) -> Tensor:
    """Return the first rows: all of them as they are, since the gradient of a view is a copy."""
    return rows if len(rows) == count else rows[:count]


class TermGroup:
    """Terms that are computed together: those before the loop, or those of one step.

    Products that read the same source are one product with their matrices stacked.

    Args:
        int8: The products that are in int8, and whether the source of each is bounded.
    """

    def __init__(
        self,
        terms: Sequence[Term],
        known: Mapping[Term, Tensor],
        sizes: Mapping[str, int],
        int8: Mapping[Term, bool] = {},
    ) -> None:
        self.terms = [term for term in terms if term not in known]
        self.sizes = sizes
        own = set(self.terms)
        #: The matrix of each product in int8.
        self.int8 = {
            term: (Int8Matrix.of(known[term.operands[1]]), bounded)
            for term, bounded in int8.items()
            if term in own
        }
        by_source: dict[Term, list[Term]] = {}
        for term in self.terms:
            if term.op == "product" and term.attributes["heads"] == 1 and term not in self.int8:
                by_source.setdefault(term.operands[0], []).append(term)
        stacks = [products for products in by_source.values() if len(products) > 1]
        #: By the first product of a stack: its products, and their matrices as one.
        self.stacks = {
            products[0]: (products, torch.cat([known[term.operands[1]] for term in products]))
            for products in stacks
        }
        self.stacked = {term for products in stacks for term in products[1:]}

    def compute(self, values: dict[Term, Tensor], like: Tensor) -> None:
        """Add the terms' values to `values`, which has all that they read."""
        for term in self.terms:
            if term in self.int8:
                int8, bounded = self.int8[term]
                source = values[term.operands[0]]
                values[term] = int8.product(source, bounded=bounded).to(source.dtype)
            elif term in self.stacks:
                products, matrix = self.stacks[term]
                heights = [number(product.size, self.sizes) for product in products]
                source = values[term.operands[0]]
                together = evaluate(term, [source, matrix], self.sizes, like)
                values.update(zip(products, together.split(heights, -1), strict=True))
            elif term not in self.stacked:
                operands = [values[operand] for operand in term.operands]
                values[term] = evaluate(term, operands, self.sizes, like)
