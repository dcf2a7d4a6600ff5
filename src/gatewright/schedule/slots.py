"""Where a kernel finds and leaves its values: one slot of a table for each buffer.

A kernel gets one table of numbers and addresses. Buffers hold rows of units, padded to whole
vectors, and a row is found in one of five ways:

    step      the packed row of this step, n
    before    the row of the state that this step reads, given by an index for each n
    after     the row of the state that this step leaves, likewise
    scratch   the row within the batch, b: what one nest leaves for the next
    vector    one row for all
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from gatewright.graph.terms import Term
from gatewright.language.node import Size
from gatewright.schedule.loop import Loop, Nest, Part, Schedule, reads_whole

#: The first slots: number of steps; rows and first packed row of each; the index of the
#: states before and after each packed row.
STEPS, ROWS, OFFSETS, BEFORE, AFTER, FREE = range(6)


@dataclass(frozen=True)
class Place:
    """A buffer's slot, followed by that of its row length, and how a row is found."""

    slot: int
    how: str
    add: bool = False


@dataclass(frozen=True)
class Group:
    """The products of a nest that read one source: a number of it that is loaded is used in
    all of them, and their matrices are packed into one buffer.

    Its slot is followed by that of the numbers of one block of units in it.
    """

    source: Term
    heads: int
    products: tuple[Term, ...]
    slot: int

    def panels(self, units: int, lanes: int) -> int:
        """How many heads a block of units has units of, at most: it has a panel for each."""
        each, begins = units // self.heads, range(0, units, lanes)
        return max((min(at + lanes, units) - 1) // each - at // each + 1 for at in begins)


@dataclass(eq=False)
class Plan:
    """The slots of one kernel.

    Attributes:
        sizes: The slot of each symbolic size's number.
        loads, stores: Where terms come from and go to.
        groups: The packed matrices of each nest, by what its products read.
        buffers: What stands in each buffer's slot, by a name that the caller knows.
    """

    loop: Loop
    sizes: dict[Size, int] = field(default_factory=dict)
    loads: dict[Term, Place] = field(default_factory=dict)
    stores: dict[Term, list[Place]] = field(default_factory=dict)
    groups: dict[Nest, list[Group]] = field(default_factory=dict)
    buffers: dict[str, int] = field(default_factory=dict)
    terms: dict[str, Term] = field(default_factory=dict)
    length: int = FREE

    def buffer(self, name: str, term: Term, how: str, *, add: bool = False) -> Place:
        """The place of a buffer, under a name; the same name is the same buffer."""
        if name not in self.buffers:
            self.buffers[name] = self.length
            self.terms[name] = term
            self.length += 2
        return Place(self.buffers[name], how, add)

    def load(self, term: Term, name: str, how: str) -> None:
        """Where a term comes from, unless that is known; a state may be held, and a leaf."""
        if term not in self.loads:
            self.loads[term] = self.buffer(name, term, how)

    def store(self, term: Term, name: str, how: str, *, add: bool = False) -> None:
        self.stores.setdefault(term, []).append(self.buffer(name, term, how, add=add))

    def finish(self, computed: Iterable[Term]) -> None:
        """Add scratch for what one nest reads from another, the matrices and the sizes."""
        home = {term: nest for nest in self.loop.nests for term in nest.terms}
        own = set(computed)
        for nest in self.loop.nests:
            for term in read_by(nest):
                if term in own and (home.get(term) is not nest or is_source(nest, term)):
                    kept = next((p for p in self.stores.get(term, ()) if p.how == "step"), None)
                    if kept is None:
                        self.store(term, f"scratch {term.index}", "scratch")
                        kept = self.stores[term][-1]
                    self.loads.setdefault(term, kept)
            self.groups[nest] = self._groups(nest)
            read = [term.operands[0].size for term in nest.terms if reads_whole(term)]
            for size in (nest.size, *read, *(group.source.size for group in self.groups[nest])):
                if size not in self.sizes:
                    self.sizes[size] = self.length
                    self.length += 1

    def _groups(self, nest: Nest) -> list[Group]:
        by_source: dict[tuple[Term, int], list[Term]] = {}
        for total in nest.sums.values():
            for product in total.products:
                key = (product.operands[0], product.attributes["heads"])
                by_source.setdefault(key, []).append(product)
        found = []
        for (source, heads), products in by_source.items():
            found.append(Group(source, heads, tuple(products), self.length))
            self.length += 2
        return found


def read_by(nest: Nest) -> list[Term]:
    """What a nest's terms read."""
    found: list[Term] = []
    for term in nest.terms:
        total = nest.sums.get(term)
        if total is None:
            found += term.operands
        else:
            found += [product.operands[0] for product in total.products]
            found += total.others
    return found


def is_source(nest: Nest, term: Term) -> bool:
    """Whether a product of the nest reads whole rows of a term."""
    return any(
        product.operands[0] is term for total in nest.sums.values() for product in total.products
    )


def plan_forward(work: Schedule, part: Part, *, saving: bool) -> Plan:
    """The forward kernel's table; `saving` keeps what the backward one reads."""
    plan = Plan(part.loop)
    computed = [term for nest in part.loop.nests for term in nest.terms]
    _leaves(plan, part.loop)
    if part.adjoint.states:
        for name, term in work.graph.states.items():
            plan.load(term, f"state {name}", "before")
        for name, term in work.updates.items():
            plan.store(term, f"state {name}", "after")
    for term in part.kept if saving else part.wanted:
        if term in computed:
            plan.store(term, f"kept {term.index}", "step")
    plan.finish(computed)
    return plan


def plan_backward(work: Schedule, part: Part) -> Plan:
    """The backward kernel's table."""
    plan = Plan(part.backward)
    computed = [term for nest in part.backward.nests for term in nest.terms]
    _leaves(plan, part.backward)
    for name, seed in part.adjoint.seeds.items():
        if part.adjoint.states and name in work.updates:
            plan.load(seed, f"gradient {name}", "after")
        else:
            plan.load(seed, f"seed {name}", "step")
    for name, back in part.adjoint.states.items():
        plan.load(work.graph.states[name], f"state {name}", "before")
        if back is not None:
            plan.store(back, f"gradient {name}", "before", add=True)
    for term in part.results():
        if term in computed:
            plan.store(term, f"result {term.index}", "step")
    plan.finish(computed)
    return plan


def _leaves(plan: Plan, loop: Loop) -> None:
    for term in loop.step_leaves:
        plan.load(term, f"leaf {term.index}", "step")
    for term in loop.vectors:
        plan.load(term, f"vector {term.index}", "vector")


def unsupported(part: Part, known: Mapping[str, object]) -> str | None:
    """Why these kernels cannot run a part, or None."""
    for loop in (part.loop, part.backward):
        for nest in loop.nests:
            for term in nest.terms:
                if term not in nest.sums and term.op not in known:
                    return f"they have no {term.op} yet"
    return None
