"""The loop: what is left of a step between its inputs and its output, and in which order.

Before the loop everything that follows from inputs and weights alone is computed for all
steps at once. What remains is divided into nests. A nest computes, for one row and one block
of units after another, some products and the pointwise terms that follow from them; so the
pointwise part runs on values that are still in registers. A value that a product needs as a
whole row must be complete, and so belongs to an earlier nest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace

from gatewright.graph.adjoint import Adjoint, derive
from gatewright.graph.graph import Graph
from gatewright.graph.recompute import LEAVES
from gatewright.graph.stages import INPUTS, STATE, stages
from gatewright.graph.terms import REDUCTIONS, Term
from gatewright.language.node import Size, closure

PRODUCTS = frozenset({"product", "transposed"})


@dataclass(frozen=True)
class Sum:
    """A sum that is accumulated in one place: products, and other terms added to them."""

    products: tuple[Term, ...]
    others: tuple[Term, ...]


@dataclass(frozen=True, eq=False)
class Nest:
    """Terms of one size that are computed together, block by block of units.

    Attributes:
        size: The number of units that it runs over.
        terms: What it computes, each after its operands.
        sums: Those of its terms that are sums of products.
    """

    size: Size
    terms: tuple[Term, ...]
    sums: Mapping[Term, Sum]


@dataclass(frozen=True, eq=False)
class Loop:
    """The terms of a loop, in nests.

    Attributes:
        nests: In the order in which a step runs them.
        step_leaves: Terms that are known for each step before the loop starts.
        vectors: Terms that are the same at each step, one row for all.
        matrices: The matrices of the products, as terms.
    """

    nests: tuple[Nest, ...]
    step_leaves: tuple[Term, ...]
    vectors: tuple[Term, ...]
    matrices: tuple[Term, ...]


@dataclass(frozen=True, eq=False)
class Part:
    """One pass over rows, forwards, and the adjoint of it.

    Attributes:
        loop: What it computes.
        wanted: Terms that are its results.
        kept: Terms whose values are stored: those that are wanted, those that the adjoint
            reads, and the sources of products, from which gradients of matrices are made.
        adjoint: The adjoint; its inputs are the leaves, as "leaf" and the term's index.
        backward: The nests of the adjoint.
    """

    loop: Loop
    wanted: tuple[Term, ...]
    kept: tuple[Term, ...]
    adjoint: Adjoint
    backward: Loop

    def results(self) -> list[Term]:
        """The terms of the adjoint that leave it: gradients of leaves, and left sides."""
        found = [one for one in self.adjoint.inputs.values() if one is not None]
        return list(dict.fromkeys([*found, *(one.left for one in self.adjoint.weights)]))

    def leaves(self) -> tuple[Term, ...]:
        """What it reads besides the states."""
        return (*self.loop.step_leaves, *self.loop.vectors)


@dataclass(frozen=True, eq=False)
class Schedule:
    """A run in two parts: all steps at once from the inputs, then the loop.

    Attributes:
        before, loop: The parts; there is no first one where nothing is to be computed in it.
        asked: The output and the named values that were asked for.
        updates: Each state after the step, as a term of the loop.
    """

    graph: Graph
    before: Part | None
    loop: Part
    asked: tuple[Term, ...]
    updates: Mapping[str, Term]


def schedule(
    graph: Graph, names: Sequence[str] = (), held: Sequence[str] = (), *, inputs: bool = True
) -> Schedule:
    """How a graph is run, with the named values among the results, and the held ones given.

    Without `inputs`, the backward pass leaves out the gradients of what is given at each step.
    """
    given = {graph.values[name] for name in held}
    stage = stages(graph.forward, given) if given else graph.stages
    wanted = list(dict.fromkeys([graph.output, *(graph.values[name] for name in names)]))
    wanted = [one for one in wanted if one not in given]
    needed = closure([*graph.updates.values(), *wanted])
    inside = [one for one in graph.forward if one in needed and stage[one] >= STATE]
    early = [
        one
        for one in graph.forward
        if one in needed and stage[one] == INPUTS and one.op not in LEAVES and one not in given
    ]
    # A state that the loop does not compute, held or known from the inputs, is copied in it.
    updates = dict(graph.updates)
    for name, term in updates.items():
        if term not in inside or term.op == "state":
            zero = graph.terms.constant(0.0)
            updates[name] = graph.terms.new("add", term, zero, size=term.size)
            inside.append(updates[name])
    own = set(inside)
    # What follows from the weights alone always has a gradient, and so has what is handed on.
    fixed = [one for one in graph.forward if inputs or one in early or stage[one] < INPUTS]
    active = {one for one in fixed if one.op != "noise" or one in given}
    loop = _part(graph, stage, inside, [one for one in wanted if one in own], updates, active)
    handed = [one for one in (*loop.loop.step_leaves, *wanted) if one in set(early)]
    handed = list(dict.fromkeys(handed))
    before = _part(graph, stage, early, handed, {}, active) if handed else None
    return Schedule(graph, before, loop, tuple(wanted), updates)


def _part(
    graph: Graph,
    stage: Mapping[Term, int],
    inside: Sequence[Term],
    wanted: Sequence[Term],
    updates: Mapping[str, Term],
    active: Set[Term],
) -> Part:
    own = set(inside)
    # What is there in the backward run too. No other term of the graph is: the adjoint may have
    # merged with one that this run does not compute, and computes it itself then.
    read = {operand for one in inside for operand in one.operands} - own
    there = read | {one for one in graph.forward if one.op in LEAVES and one not in own}
    leaves = {
        f"leaf {one.index}": one
        for one in sorted(read, key=lambda one: one.index)
        if one in active and one.op != "constant" and not (one.op == "weight" and _is_matrix(one))
    }
    seeds = {**updates, **{f"value {one.index}": one for one in wanted}}
    states = graph.states if updates else {}
    # One that is held is given, and nothing flows to what it was before.
    free = {name: term for name, term in states.items() if term in own}
    adjoint = derive(inside, seeds, free, leaves, there)
    # A gradient that goes through unchanged is copied too, so that it is computed and stored.
    zero = graph.terms.constant(0.0)
    through = {
        name: graph.terms.new("add", one, zero, size=one.size)
        for name, one in adjoint.states.items()
        if one is not None and one.op == "seed"
    }
    order = [*adjoint.order, *through.values()]
    back: dict[str, Term | None] = {**dict.fromkeys(states), **adjoint.states, **through}
    adjoint = replace(adjoint, states=back, order=order)
    rights = [one.right for one in adjoint.weights if one.right is not None]
    kept = dict.fromkeys(
        one for one in (*wanted, *adjoint.saved, *rights) if one in own and one.op != "state"
    )
    computed = [one for one in inside if one.op != "state"]
    stage = {**stage, **{one: STATE for one in updates.values()}}
    loop = nests(computed, {*kept, *updates.values()}, stage)
    results = [*adjoint.states.values(), *adjoint.inputs.values()]
    results += [one.left for one in adjoint.weights]
    roots = {one for one in results if one is not None}
    needed = closure(roots)
    order = [one for one in adjoint.order if one in needed and one.op not in ("constant", "seed")]
    # What the backward pass reads from the forward one is known for each step.
    known = {one: INPUTS for one in inside if one.op != "state"}
    backward = nests(order, roots, {**stage, **known})
    return Part(loop, tuple(wanted), tuple(kept), adjoint, backward)


def reads_whole(term: Term) -> bool:
    """Whether one unit of a term needs more of its operand than one unit, or one number."""
    return term.op in (*REDUCTIONS, "expand") and term.operands[0].size != 1


def _is_matrix(term: Term) -> bool:
    return len(term.attributes["weight"].shape) > 1


def nests(order: Sequence[Term], visible: Set[Term], stage: Mapping[Term, int]) -> Loop:
    """Divide terms into nests. Those that are `visible` must have a value of their own."""
    own = set(order)
    sums, inner = _sums(order, visible)
    outer = [one for one in order if one not in inner]
    place: dict[Term, int] = {}
    levels: dict[tuple[int, Size], list[Term]] = {}
    for one in outer:
        total = sums.get(one)
        sources = [product.operands[0] for product in total.products] if total else []
        beside = total.others if total else one.operands
        found = [place[source] + 1 for source in sources if source in place]
        apart = total is None and reads_whole(one)
        found += [
            place[other] + (apart or other.size != one.size) for other in beside if other in place
        ]
        place[one] = max(found, default=0)
        levels.setdefault((place[one], one.size), []).append(one)
    # Nests of one level and different sizes do not read each other: the order is free.
    built = [
        Nest(size, tuple(members), {one: sums[one] for one in members if one in sums})
        for (_, size), members in sorted(
            levels.items(), key=lambda item: (item[0][0], str(item[0][1]))
        )
    ]
    matrices = dict.fromkeys(one.operands[1] for one in order if one.op in PRODUCTS)
    read = {operand for one in order for operand in one.operands} - own - set(matrices)
    leaves = sorted(
        (
            one
            for one in read
            if one.op not in ("constant", "seed")
            and (one.op != "state" or stage.get(one, STATE) < STATE)
        ),
        key=lambda one: one.index,
    )
    return Loop(
        tuple(built),
        tuple(one for one in leaves if stage.get(one, INPUTS) >= INPUTS),
        tuple(one for one in leaves if stage.get(one, INPUTS) < INPUTS),
        tuple(matrices),
    )


def _sums(order: Sequence[Term], visible: Set[Term]) -> tuple[dict[Term, Sum], set[Term]]:
    """The sums of products by their last addition, and the terms that they swallow."""
    uses: dict[Term, int] = {}
    for one in order:
        for operand in one.operands:
            uses[operand] = uses.get(operand, 0) + 1
    trees: dict[Term, tuple[list[Term], set[Term]]] = {}
    for one in order:
        if one.op in PRODUCTS:
            trees[one] = ([one], set())
        elif one.op == "add":
            leaves: list[Term] = []
            inside: set[Term] = set()
            for operand in one.operands:
                if operand in trees and uses[operand] == 1 and operand not in visible:
                    parts, swallowed = trees.pop(operand)
                    leaves += parts
                    inside |= swallowed | {operand}
                else:
                    leaves.append(operand)
            trees[one] = (leaves, inside)
    sums: dict[Term, Sum] = {}
    inner: set[Term] = set()
    for root, (leaves, inside) in trees.items():
        products = tuple(
            one for one in leaves if one is root or (one.op in PRODUCTS and one in inside)
        )
        if products:
            others = tuple(one for one in leaves if one not in products)
            sums[root] = Sum(products, others)
            inner |= inside
    return sums, inner
