"""The work of a run: the operations and the bytes that no implementation can avoid.

A run is a sequence of phases, each of which needs the results of the previous one: all steps
at once from the inputs, the loop, back through both, the gradients of the weights. A phase
reads and writes each value once, in cache or not; the matrices of a loop are read again at every
step, since the next step waits for this one. Values that stay within a step are not counted, nor
are the states of the first and the last step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from gatewright.graph.graph import Graph
from gatewright.graph.sizes import number
from gatewright.graph.terms import Term
from gatewright.language.node import closure
from gatewright.schedule.loop import (
    PRODUCTS,
    Loop,
    Schedule,
    ScheduleOptions,
    SchedulePart,
    schedule,
)

#: Operations that cost nothing: another name, or another shape, for the same numbers.
FREE = frozenset({"expand", "stop_gradient"})


@dataclass(frozen=True)
class Phase:
    """One phase of a run.

    Attributes:
        products: Operations in products of matrices: two for each multiplication and addition.
        pointwise: Operations on single units; each counts as 1, a tanh like an addition.
        streamed: Bytes that are read or written once.
        walked: Bytes of the matrices that each of the `steps` reads again.
    """

    name: str
    products: int
    pointwise: int
    streamed: int
    walked: int = 0
    steps: int = 1

    @property
    def operations(self) -> int:
        return self.products + self.pointwise

    @property
    def bytes(self) -> int:
        """All bytes that are moved, from any level of memory."""
        return self.streamed + self.steps * self.walked


def count(
    graph: Graph,
    sizes: Mapping[str, int],
    *,
    steps: int,
    rows: int,
    width: int,
    training: bool = False,
    input_gradient: bool = True,
) -> list[Phase]:
    """Count the phases of a forward run, or of a training run.

    Args:
        sizes: Numbers for "input" and "hidden".
        steps: T, and `rows` the rows of all steps together: T * B without padding.
        width: Bytes of a number.
        training: Whether the backward pass and the values saved for it are counted.
        input_gradient: Whether the inputs need gradients.

    >>> import gatewright as gw
    >>> sizes = {"input": 3, "hidden": 5}
    >>> phases = count(gw.CELLS["lstm"]().graph, sizes, steps=4, rows=8, width=4)
    >>> [(phase.name, phase.products) for phase in phases]
    [('inputs', 960), ('loop', 1600)]
    """
    work = schedule(graph, ScheduleOptions(input_gradients=input_gradient))
    counter = _Counter(work, sizes, steps, rows, width)
    phases = [counter.forward(name, part, training) for name, part in parts(work)]
    if training:
        for name, part in reversed(parts(work)):
            phases.append(counter.backward(name, part))
        phases.append(counter.weights())
    return [phase for phase in phases if phase.operations]


def parts(work: Schedule) -> list[tuple[str, SchedulePart]]:
    """List the parts of a schedule with the names of their phases."""
    early = [("inputs", work.before)] if work.before is not None else []
    return [*early, ("loop", work.loop)]


def read(loop: Loop, needed: set[Term]) -> set[Term]:
    """Collect the terms that the needed terms of a loop read."""
    terms: set[Term] = set()
    for nest in loop.nests:
        for term in needed.intersection(nest.terms):
            terms |= set(nest.sums[term].others if term in nest.sums else term.operands)
    return terms


class _Counter:
    def __init__(
        self, work: Schedule, sizes: Mapping[str, int], steps: int, rows: int, width: int
    ) -> None:
        self.work, self.sizes, self.steps = work, sizes, steps
        self.rows, self.width = rows, width

    def forward(self, name: str, part: SchedulePart, training: bool) -> Phase:
        updates = set(self.work.updates.values()) if part is self.work.loop else set()
        written = {*part.saved, *updates} if training else set(part.outputs)
        products, pointwise = self.operations(part.loop)
        return self.phase(name, part, products, pointwise, part.loop, written)

    def backward(self, name: str, part: SchedulePart) -> Phase:
        gradients = [*part.adjoint.states.values(), *part.adjoint.inputs.values()]
        roots = {term for term in gradients if term is not None}
        roots |= {weight.left for weight in part.adjoint.weights}
        needed = closure(roots)
        products, pointwise = self.operations(part.backward, needed)
        # The gradients of states stay within the loop.
        seeds = {seed for buffer, seed in part.adjoint.seeds.items() if buffer.kind == "seed"}
        before = {term for term in read(part.backward, needed) if term.op == "state"}
        states = set(part.adjoint.states.values())
        moved = (seeds & needed) | before | {t for t in roots - states if t.op != "seed"}
        return self.phase(f"{name} back", part, products, pointwise, part.backward, moved, needed)

    def weights(self) -> Phase:
        """Count the gradients of the matrices and vectors, from all steps at once."""
        products = pointwise = 0
        read: set[Term] = set()
        written: set[str] = set()
        for _, part in parts(self.work):
            for weight in part.adjoint.weights:
                read.add(self.same(weight.left))
                if weight.right is not None:
                    read.add(weight.right)
                products += 2 * self.rows * self.length(weight.path)
                written.add(weight.path)
            # A vector is the same at all steps: its gradient is the sum over them.
            for leaf in part.loop.vectors:
                gradient = part.gradient(leaf)
                if gradient is not None and leaf.op == "weight":
                    read.add(self.same(gradient))
                    pointwise += self.rows * self.size(leaf)
                    written.add(leaf.attributes["weight"].path)
        stored = self.width * sum(self.length(path) for path in written)
        return Phase("weights", products, pointwise, self.across(read) + stored)

    def length(self, path: str) -> int:
        """Count the numbers of a weight."""
        return prod(self.work.graph.weights[path].numbers(self.sizes))

    def same(self, left: Term) -> Term:
        """Return the loop's own term for a gradient that it hands to the part before it."""
        if left.op == "seed" and self.work.before is not None:
            for buffer, seed in self.work.before.adjoint.seeds.items():
                gradient = self.work.loop.gradient(buffer.term)
                if seed is left and gradient is not None:
                    return gradient
        return left

    def operations(self, loop: Loop, needed: set[Term] | None = None) -> tuple[int, int]:
        """Count the operations in products, and the others."""
        products = pointwise = 0
        for nest in loop.nests:
            for term in nest.terms:
                if needed is not None and term not in needed:
                    continue
                total = nest.sums.get(term)
                if total is not None:
                    products += sum(self.product(product) for product in total.products)
                    adds = len(total.products) + len(total.others) - 1
                    pointwise += adds * self.rows * self.size(term)
                elif term.op in PRODUCTS:
                    products += self.product(term)
                elif term.op not in FREE:
                    widest = max(self.size(t) for t in (term, *term.operands))
                    pointwise += self.rows * widest
        return products, pointwise

    def product(self, term: Term) -> int:
        per_row = 2 * self.size(term) * self.size(term.operands[0])
        return self.rows * per_row // int(term.attributes.get("heads", 1))

    def phase(
        self,
        name: str,
        part: SchedulePart,
        products: int,
        pointwise: int,
        loop: Loop,
        moved: Iterable[Term],
        needed: set[Term] | None = None,
    ) -> Phase:
        def used(terms: Iterable[Term]) -> list[Term]:
            return [term for term in terms if needed is None or term in needed]

        streamed = self.across({*used(loop.step_leaves), *moved})
        streamed += sum(self.size(term) for term in used(loop.vectors)) * self.width
        paths = [term.attributes["weight"].path for term in used(loop.matrices)]
        matrices = self.width * sum(map(self.length, paths))
        if part is self.work.loop:
            return Phase(name, products, pointwise, streamed, matrices, self.steps)
        return Phase(name, products, pointwise, streamed + matrices)

    def across(self, terms: Iterable[Term]) -> int:
        """Count the bytes of terms that have one row for each row of the run."""
        return self.rows * self.width * sum(self.size(term) for term in terms)

    def size(self, term: Term) -> int:
        return number(term.size, self.sizes)
