"""Counting: the operations and the bytes that a run of a graph cannot do without.

A run is a row of phases, each of which needs what the one before it left: all steps at once
from the inputs, the loop, back through both, the gradients of the weights. A phase reads and
writes each value once, whatever the cache; the matrices of a loop are read again at every
step, since the next step waits for this one. What stays within a step is not counted, nor are
the states of the first and the last step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod

from gatewright.graph.graph import Graph
from gatewright.graph.sizes import number
from gatewright.graph.terms import Term
from gatewright.language.node import closure
from gatewright.schedule.loop import PRODUCTS, Loop, Part, Schedule, schedule

#: What costs nothing: it is another name, or another shape, for the same numbers.
FREE = frozenset({"expand", "stop_gradient"})


@dataclass(frozen=True)
class Phase:
    """One phase of a run.

    Attributes:
        products: Operations in products of matrices: two for each multiplication with addition.
        pointwise: Operations on single units, each counted as one, a tanh like an addition.
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
        """What moves in all, from wherever it is."""
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
    """The phases of a forward run, or of one with the gradients behind it.

    Args:
        sizes: Numbers for "input" and "hidden".
        steps: T, and `rows` the rows of all steps together: T * B without padding.
        width: Bytes of a number.
        training: Whether the backward pass is counted, and what is kept for it.
        input_gradient: Whether the inputs need gradients.

    >>> import gatewright as gw
    >>> sizes = {"input": 3, "hidden": 5}
    >>> phases = count(gw.CELLS["lstm"]().graph, sizes, steps=4, rows=8, width=4)
    >>> [(one.name, one.products) for one in phases]
    [('inputs', 960), ('loop', 1600)]
    """
    run = scheduled(graph, input_gradient)
    counter = _Counter(run, sizes, steps, rows, width)
    found = [counter.forward(name, part, training) for name, part in parts(run)]
    if training:
        for name, part in reversed(parts(run)):
            found.append(counter.backward(name, part))
        found.append(counter.weights())
    return [one for one in found if one.operations]


@lru_cache(maxsize=128)
def scheduled(graph: Graph, inputs: bool) -> Schedule:
    """How a graph is run without traces; made once, since making it adds terms to the graph."""
    return schedule(graph, inputs=inputs)


def parts(run: Schedule) -> list[tuple[str, Part]]:
    """The parts of a run by the names of their phases."""
    early = [("inputs", run.before)] if run.before is not None else []
    return [*early, ("loop", run.loop)]


def read(loop: Loop, needed: set[Term]) -> set[Term]:
    """What the needed terms of a loop read."""
    found: set[Term] = set()
    for nest in loop.nests:
        for term in needed.intersection(nest.terms):
            found |= set(nest.sums[term].others if term in nest.sums else term.operands)
    return found


class _Counter:
    def __init__(
        self, run: Schedule, sizes: Mapping[str, int], steps: int, rows: int, width: int
    ) -> None:
        self.run, self.sizes, self.steps = run, sizes, steps
        self.rows, self.width = rows, width

    def forward(self, name: str, part: Part, training: bool) -> Phase:
        updates = set(self.run.updates.values()) if part is self.run.loop else set()
        written = {*part.kept, *updates} if training else set(part.wanted)
        products, pointwise = self.operations(part.loop)
        return self.phase(name, part, products, pointwise, part.loop, written)

    def backward(self, name: str, part: Part) -> Phase:
        given = [*part.adjoint.states.values(), *part.adjoint.inputs.values()]
        wanted = {one for one in given if one is not None}
        wanted |= {one.left for one in part.adjoint.weights}
        needed = closure(wanted)
        products, pointwise = self.operations(part.backward, needed)
        updates = set(self.run.updates) if part is self.run.loop else set()
        seeds = {one for key, one in part.adjoint.seeds.items() if key not in updates}
        before = {one for one in read(part.backward, needed) if one.op == "state"}
        states = set(part.adjoint.states.values())
        moved = (seeds & needed) | before | {one for one in wanted - states if one.op != "seed"}
        return self.phase(f"{name} back", part, products, pointwise, part.backward, moved, needed)

    def weights(self) -> Phase:
        """The gradients of the matrices and vectors, from all steps at once."""
        products = pointwise = 0
        gone: set[Term] = set()
        written: set[str] = set()
        for _, part in parts(self.run):
            for one in part.adjoint.weights:
                gone |= {self.same(one.left), *([one.right] if one.right is not None else [])}
                products += 2 * self.rows * self.length(one.path)
                written.add(one.path)
            # A vector is the same at all steps: its gradient is the sum over them.
            for leaf in part.loop.vectors:
                gradient = part.adjoint.inputs.get(f"leaf {leaf.index}")
                if gradient is not None and leaf.op == "weight":
                    gone.add(self.same(gradient))
                    pointwise += self.rows * self.size(leaf)
                    written.add(leaf.attributes["weight"].path)
        stored = self.width * sum(self.length(path) for path in written)
        return Phase("weights", products, pointwise, self.across(gone) + stored)

    def length(self, path: str) -> int:
        """How many numbers a weight has."""
        return prod(self.run.graph.weights[path].numbers(self.sizes))

    def same(self, left: Term) -> Term:
        """What reaches the part before the loop is what the loop gave."""
        if left.op == "seed" and self.run.before is not None:
            for name, seed in self.run.before.adjoint.seeds.items():
                given = self.run.loop.adjoint.inputs.get(name.replace("value", "leaf"))
                if seed is left and given is not None:
                    return given
        return left

    def operations(self, loop: Loop, needed: set[Term] | None = None) -> tuple[int, int]:
        """Operations in products, and others."""
        products = pointwise = 0
        for nest in loop.nests:
            for term in nest.terms:
                if needed is not None and term not in needed:
                    continue
                total = nest.sums.get(term)
                if total is not None:
                    products += sum(self.product(one) for one in total.products)
                    adds = len(total.products) + len(total.others) - 1
                    pointwise += adds * self.rows * self.size(term)
                elif term.op in PRODUCTS:
                    products += self.product(term)
                elif term.op not in FREE:
                    widest = max(self.size(one) for one in (term, *term.operands))
                    pointwise += self.rows * widest
        return products, pointwise

    def product(self, term: Term) -> int:
        per_row = 2 * self.size(term) * self.size(term.operands[0])
        return self.rows * per_row // int(term.attributes.get("heads", 1))

    def phase(
        self,
        name: str,
        part: Part,
        products: int,
        pointwise: int,
        loop: Loop,
        moved: Iterable[Term],
        needed: set[Term] | None = None,
    ) -> Phase:
        def used(terms: Iterable[Term]) -> list[Term]:
            return [one for one in terms if needed is None or one in needed]

        streamed = self.across({*used(loop.step_leaves), *moved})
        streamed += sum(self.size(one) for one in used(loop.vectors)) * self.width
        paths = [one.attributes["weight"].path for one in used(loop.matrices)]
        matrices = self.width * sum(map(self.length, paths))
        if part is self.run.loop:
            return Phase(name, products, pointwise, streamed, matrices, self.steps)
        return Phase(name, products, pointwise, streamed + matrices)

    def across(self, terms: Iterable[Term]) -> int:
        """Bytes of terms that have one row for each row of the run."""
        return self.rows * self.width * sum(self.size(one) for one in terms)

    def size(self, term: Term) -> int:
        return number(term.size, self.sizes)
