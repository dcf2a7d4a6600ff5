"""The schedule: the part of a step before the loop, the loop itself, and their order.

Before the loop, everything that follows from inputs and weights only is computed for all
steps at once. The rest is divided into nests. A nest computes, for one row and one block of
units after another, some products and the pointwise terms that use them; so the pointwise
terms read values that are still in registers. A value that a product needs as a whole row must
be complete, and so belongs to an earlier nest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from gatewright.graph.adjoint import Adjoint, derive
from gatewright.graph.graph import Graph
from gatewright.graph.recompute import LEAVES
from gatewright.graph.stages import INPUTS, STATE, stages
from gatewright.graph.terms import REDUCTIONS, Term, Terms
from gatewright.language.node import Size, closure
from gatewright.schedule.buffers import Buffer

PRODUCTS = frozenset({"product", "transposed"})


@dataclass(frozen=True)
class Sum:
    """Products that are accumulated in one register, and the other terms added to them."""

    products: tuple[Term, ...]
    others: tuple[Term, ...]


@dataclass(frozen=True, eq=False)
class Nest:
    """Terms of one size that are computed together, block by block of units.

    Attributes:
        size: The number of units that it runs over.
        terms: The terms that it computes, each after its operands.
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
class SchedulePart:
    """One pass over the rows, forwards, and its adjoint.

    Attributes:
        loop: The terms that it computes.
        outputs: The terms that it returns.
        saved: The terms whose values a training run stores: the outputs, the terms that the
            adjoint reads, and the sources of products, which gradients of matrices need.
        adjoint: The adjoint. Its seeds have the name of the buffer that they are loaded from,
            its inputs are the leaves, each by the name `Buffer("leaf", term)`.
        backward: The nests of the adjoint.
    """

    loop: Loop
    outputs: tuple[Term, ...]
    saved: tuple[Term, ...]
    adjoint: Adjoint[Buffer]
    backward: Loop

    def gradient(self, leaf: Term) -> Term | None:
        """Return the gradient of a leaf, as a term of the adjoint."""
        return self.adjoint.inputs.get(Buffer("leaf", leaf))

    def results(self) -> list[Term]:
        """List the terms that leave the adjoint: gradients of leaves, and left factors."""
        gradients = [term for term in self.adjoint.inputs.values() if term is not None]
        return list(dict.fromkeys([*gradients, *(w.left for w in self.adjoint.weights)]))

    def leaves(self) -> tuple[Term, ...]:
        """List the terms that it reads in addition to the states."""
        return (*self.loop.step_leaves, *self.loop.vectors)


@dataclass(frozen=True, eq=False)
class Schedule:
    """A run in two parts: all steps at once from the inputs, then the loop.

    Attributes:
        before, loop: The parts; `before` is None where it would compute nothing.
        requested: The output and the named values that are returned.
        updates: Each state after the step, as a term of the loop.
    """

    graph: Graph
    before: SchedulePart | None
    loop: SchedulePart
    requested: tuple[Term, ...]
    updates: Mapping[str, Term]


class ScheduleOptions(NamedTuple):
    """The options of a schedule.

    Attributes:
        names: Named values to return.
        held: Named values that are fixed.
        input_gradients: Whether the backward pass computes the gradients of the inputs.
    """

    names: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    input_gradients: bool = True

    @classmethod
    def of(
        cls, names: Iterable[str], held: Iterable[str], input_gradients: bool
    ) -> ScheduleOptions:
        """Bring options into the form by which they are compared."""
        return cls(tuple(names), tuple(sorted(held)), input_gradients)


@lru_cache(maxsize=256)
def schedule(graph: Graph, options: ScheduleOptions) -> Schedule:
    """Schedule a graph; the same options give the same schedule, so its terms can be compared."""
    names, held_names, input_gradients = options
    terms = graph.terms.extended()
    held = {graph.values[name] for name in held_names}
    stage = stages(graph.forward, held) if held else graph.stages
    requested = list(dict.fromkeys([graph.output, *(graph.values[name] for name in names)]))
    requested = [term for term in requested if term not in held]
    needed = closure([*graph.updates.values(), *requested])
    inside = [term for term in graph.forward if term in needed and stage[term] >= STATE]
    early = [
        term
        for term in graph.forward
        if term in needed and stage[term] == INPUTS and term.op not in LEAVES and term not in held
    ]
    # A state that the loop does not compute, because it is held or known from the inputs, is
    # copied by it, so that every state has a buffer that the loop writes.
    updates = dict(graph.updates)
    for name, term in updates.items():
        if term not in inside or term.op == "state":
            updates[name] = _copy(terms, term)
            inside.append(updates[name])
    own = set(inside)
    # Values from weights only always have a gradient, and so have those of the part before.
    learned = [
        term for term in graph.forward if input_gradients or term in early or stage[term] < INPUTS
    ]
    active = {term for term in learned if term.op != "noise" or term in held}
    outputs = [term for term in requested if term in own]
    loop = _part(terms, graph, stage, inside, outputs, updates, active)
    handed_on = [term for term in (*loop.loop.step_leaves, *requested) if term in set(early)]
    handed_on = list(dict.fromkeys(handed_on))
    before = _part(terms, graph, stage, early, handed_on, {}, active) if handed_on else None
    return Schedule(graph, before, loop, tuple(requested), updates)


def _copy(terms: Terms, term: Term) -> Term:
    """Add a term with the value of another: a sum with 0 that is not simplified."""
    return terms.new("add", term, terms.constant(0.0), size=term.size)


def _part(
    terms: Terms,
    graph: Graph,
    stage: Mapping[Term, int],
    inside: Sequence[Term],
    outputs: Sequence[Term],
    updates: Mapping[str, Term],
    active: Set[Term],
) -> SchedulePart:
    """Schedule the terms `inside` one pass over the rows, and their adjoint.

    Args:
        updates: The states that the pass updates; none for the part before the loop.
        active: The terms that have a gradient.
    """
    own = set(inside)
    # The values that the backward run can read. No other term of the graph is available: if
    # the adjoint has merged with one that this pass does not compute, it computes it itself.
    read = {operand for term in inside for operand in term.operands} - own
    available = read | {term for term in graph.forward if term.op in LEAVES and term not in own}
    leaves = {
        Buffer("leaf", term): term
        for term in _in_order(read)
        if term in active
        and term.op != "constant"
        and not (term.op == "weight" and _is_matrix(term))
    }
    seeds = {Buffer("gradient", graph.states[name]): term for name, term in updates.items()}
    seeds |= {Buffer("seed", term): term for term in outputs}
    states = graph.states if updates else {}
    # A held state is an input of the pass, and no gradient reaches its value before the step.
    free = {name: term for name, term in states.items() if term in own}
    adjoint = derive(terms, inside, seeds, free, leaves, available)
    # A gradient that passes through unchanged is copied, so that a kernel stores it.
    through = {
        name: _copy(terms, term)
        for name, term in adjoint.states.items()
        if term is not None and term.op == "seed"
    }
    order = [*adjoint.order, *through.values()]
    back: dict[str, Term | None] = {**dict.fromkeys(states), **adjoint.states, **through}
    adjoint = replace(adjoint, states=back, order=order)
    rights = [weight.right for weight in adjoint.weights if weight.right is not None]
    saved = dict.fromkeys(
        term for term in (*outputs, *adjoint.saved, *rights) if term in own and term.op != "state"
    )
    computed = [term for term in inside if term.op != "state"]
    stage = {**stage, **dict.fromkeys(updates.values(), STATE)}
    loop = nests(computed, {*saved, *updates.values()}, stage)
    results = [*adjoint.states.values(), *adjoint.inputs.values()]
    results += [weight.left for weight in adjoint.weights]
    roots = {term for term in results if term is not None}
    needed = closure(roots)
    order = [t for t in adjoint.order if t in needed and t.op not in ("constant", "seed")]
    # The values that the backward pass reads from the forward one are known for each step.
    known = dict.fromkeys(computed, INPUTS)
    backward = nests(order, roots, {**stage, **known})
    return SchedulePart(loop, tuple(outputs), tuple(saved), adjoint, backward)


def _in_order(terms: Iterable[Term]) -> list[Term]:
    return sorted(terms, key=lambda term: term.index)


def reads_whole(term: Term) -> bool:
    """Tell if one unit of a term needs more of its operand than one unit, or one number."""
    return term.op in (*REDUCTIONS, "expand") and term.operands[0].size != 1


def _is_matrix(term: Term) -> bool:
    return len(term.attributes["weight"].shape) > 1


def nests(order: Sequence[Term], visible: Set[Term], stage: Mapping[Term, int]) -> Loop:
    """Divide terms into nests; `visible` terms must have a value of their own."""
    own = set(order)
    sums, inner = _sums(order, visible)
    level: dict[Term, int] = {}
    members: dict[tuple[int, Size], list[Term]] = {}
    for term in order:
        if term in inner:
            continue
        total = sums.get(term)
        sources = [product.operands[0] for product in total.products] if total else []
        others = total.others if total else term.operands
        # A whole row must be complete, and a row of another size belongs to another nest.
        levels = [level[source] + 1 for source in sources if source in level]
        whole = total is None and reads_whole(term)
        levels += [level[o] + (whole or o.size != term.size) for o in others if o in level]
        level[term] = max(levels, default=0)
        members.setdefault((level[term], term.size), []).append(term)
    # Nests of one level and different sizes do not read each other: their order is arbitrary.
    built = [
        Nest(size, tuple(terms), {term: sums[term] for term in terms if term in sums})
        for (_, size), terms in sorted(
            members.items(), key=lambda item: (item[0][0], str(item[0][1]))
        )
    ]
    matrices = dict.fromkeys(term.operands[1] for term in order if term.op in PRODUCTS)
    read = {operand for term in order for operand in term.operands} - own - set(matrices)
    leaves = [
        term
        for term in _in_order(read)
        if term.op not in ("constant", "seed")
        and (term.op != "state" or stage.get(term, STATE) < STATE)
    ]
    return Loop(
        tuple(built),
        tuple(term for term in leaves if stage.get(term, INPUTS) >= INPUTS),
        tuple(term for term in leaves if stage.get(term, INPUTS) < INPUTS),
        tuple(matrices),
    )


def _sums(order: Sequence[Term], visible: Set[Term]) -> tuple[dict[Term, Sum], set[Term]]:
    """Find the sums of products by their last addition, and the terms inside of them."""
    uses: dict[Term, int] = {}
    for term in order:
        for operand in term.operands:
            uses[operand] = uses.get(operand, 0) + 1
    #: Of each addition or product: the summands, and the terms that its sum absorbs.
    trees: dict[Term, tuple[list[Term], set[Term]]] = {}
    for term in order:
        if term.op in PRODUCTS:
            trees[term] = ([term], set())
        elif term.op == "add":
            summands: list[Term] = []
            inside: set[Term] = set()
            for operand in term.operands:
                # One number for all units is no part of the sum of a row: it is added to it.
                own = uses[operand] == 1 and operand not in visible and operand.size == term.size
                if operand in trees and own:
                    parts, absorbed = trees.pop(operand)
                    summands += parts
                    inside |= absorbed | {operand}
                else:
                    summands.append(operand)
            trees[term] = (summands, inside)
    sums: dict[Term, Sum] = {}
    inner: set[Term] = set()
    for root, (summands, inside) in trees.items():
        products = tuple(
            term for term in summands if term is root or (term.op in PRODUCTS and term in inside)
        )
        if products:
            others = tuple(term for term in summands if term not in products)
            sums[root] = Sum(products, others)
            inner |= inside
    return sums, inner
