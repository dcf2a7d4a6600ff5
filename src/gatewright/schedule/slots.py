"""The table of a kernel: a slot for each buffer, packed matrix and size.

A kernel gets one table of numbers and addresses. Buffers hold rows of units, padded to whole
vectors, and the row of a packed row n is found in one of five ways:

    step      n itself
    before    the row of the state that this step reads, by an index for each n
    after     the row of the state that this step leaves, likewise
    scratch   the row within the batch, b
    vector    one row for all
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gatewright.graph.sizes import number
from gatewright.graph.terms import Term
from gatewright.language.node import Size
from gatewright.schedule.buffers import Buffer
from gatewright.schedule.loop import Loop, Nest, Schedule, SchedulePart, reads_whole

#: The first slots: number of steps; rows and first packed row of each; the index of the
#: states before and after each packed row.
STEPS, ROWS, OFFSETS, BEFORE, AFTER, FREE = range(6)

How = Literal["step", "before", "after", "scratch", "vector"]


@dataclass(frozen=True)
class RowAccess:
    """An access to the rows of a buffer.

    Attributes:
        buffer: The buffer.
        slot: The slot of its address, followed by the slot of its row length.
        how: The way in which a row is found.
        add: Whether a store adds to the value in memory.
    """

    buffer: Buffer
    slot: int
    how: How
    add: bool = False


@dataclass(frozen=True)
class Group:
    """The products of a nest that read one source.

    Each number of the source is loaded once for all of them, and their matrices are packed
    into one buffer. Its slot is followed by that of the numbers of one block of units in it.
    """

    source: Term
    heads: int
    products: tuple[Term, ...]
    slot: int

    def __str__(self) -> str:
        return f"matrices of {self.source.index}"

    def panels(self, units: int, lanes: int) -> int:
        """Count the heads that a block of units belongs to, at most: it has a panel for each."""
        each, begins = units // self.heads, range(0, units, lanes)
        return max((min(at + lanes, units) - 1) // each - at // each + 1 for at in begins)


@dataclass(eq=False)
class Plan:
    """The slots of one kernel.

    Attributes:
        sizes: The slot of each symbolic size's number.
        loads, stores: The accesses by which terms are loaded and stored.
        groups: The packed matrices of each nest, by the source that its products read.
        buffers: The slot of each buffer.
        length: The number of slots.
    """

    loop: Loop
    sizes: dict[Size, int] = field(default_factory=dict)
    loads: dict[Term, RowAccess] = field(default_factory=dict)
    stores: dict[Term, list[RowAccess]] = field(default_factory=dict)
    groups: dict[Nest, list[Group]] = field(default_factory=dict)
    buffers: dict[Buffer, int] = field(default_factory=dict)
    length: int = FREE

    def access(self, buffer: Buffer, how: How, *, add: bool = False) -> RowAccess:
        """Return an access to a buffer, which gets a slot at its first one."""
        if buffer not in self.buffers:
            self.buffers[buffer] = self.length
            self.length += 2
        return RowAccess(buffer, self.buffers[buffer], how, add)

    def load(self, term: Term, buffer: Buffer, how: How) -> None:
        """Load a term from a buffer, unless it has one: a held state is also a leaf."""
        if term not in self.loads:
            self.loads[term] = self.access(buffer, how)

    def store(self, term: Term, buffer: Buffer, how: How, *, add: bool = False) -> None:
        """Store a term in a buffer, possibly in addition to others."""
        self.stores.setdefault(term, []).append(self.access(buffer, how, add=add))

    def finish(self, computed: Iterable[Term]) -> None:
        """Add scratch for values that one nest reads from another, the matrices and the sizes."""
        home = {term: nest for nest in self.loop.nests for term in nest.terms}
        own = set(computed)
        for nest in self.loop.nests:
            for term in read_by(nest):
                if term in own and (home.get(term) is not nest or is_source(nest, term)):
                    stored = next((a for a in self.stores.get(term, ()) if a.how == "step"), None)
                    if stored is None:
                        self.store(term, Buffer("scratch", term), "scratch")
                        stored = self.stores[term][-1]
                    self.loads.setdefault(term, stored)
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
        groups = []
        for (source, heads), products in by_source.items():
            groups.append(Group(source, heads, tuple(products), self.length))
            self.length += 2
        return groups

    def all_groups(self) -> list[Group]:
        """List the packed matrices of all nests."""
        return [group for groups in self.groups.values() for group in groups]

    def multiplications(self, sizes: Mapping[str, int]) -> int:
        """Count the multiplications of one row in one step: the numbers of all matrices."""
        return sum(
            number(product.size, sizes) * number(group.source.size, sizes) // group.heads
            for group in self.all_groups()
            for product in group.products
        )


def read_by(nest: Nest) -> list[Term]:
    """List the terms that a nest reads, from memory or from registers."""
    read: list[Term] = []
    for term in nest.terms:
        total = nest.sums.get(term)
        if total is None:
            read += term.operands
        else:
            read += [product.operands[0] for product in total.products]
            read += total.others
    return read


def is_source(nest: Nest, term: Term) -> bool:
    """Tell if a product of the nest reads whole rows of a term."""
    return any(
        product.operands[0] is term for total in nest.sums.values() for product in total.products
    )


def plan_forward(work: Schedule, part: SchedulePart, *, saving: bool) -> Plan:
    """Plan the forward kernel's table; `saving` stores the values that the backward one reads."""
    plan = Plan(part.loop)
    computed = [term for nest in part.loop.nests for term in nest.terms]
    _load_leaves(plan, part.loop)
    if part.adjoint.states:
        for name, state in work.graph.states.items():
            plan.load(state, Buffer("state", state), "before")
            plan.store(work.updates[name], Buffer("state", state), "after")
    for term in part.saved if saving else part.outputs:
        if term in computed:
            plan.store(term, Buffer("value", term), "step")
    plan.finish(computed)
    return plan


def plan_backward(work: Schedule, part: SchedulePart) -> Plan:
    """Plan the backward kernel's table."""
    plan = Plan(part.backward)
    computed = [term for nest in part.backward.nests for term in nest.terms]
    _load_leaves(plan, part.backward)
    for buffer, seed in part.adjoint.seeds.items():
        plan.load(seed, buffer, "after" if buffer.kind == "gradient" else "step")
    for name, back in part.adjoint.states.items():
        state = work.graph.states[name]
        plan.load(state, Buffer("state", state), "before")
        if back is not None:
            plan.store(back, Buffer("gradient", state), "before", add=True)
    for term in part.results():
        if term in computed:
            plan.store(term, Buffer("result", term), "step")
    plan.finish(computed)
    return plan


def _load_leaves(plan: Plan, loop: Loop) -> None:
    for term in loop.step_leaves:
        plan.load(term, Buffer("leaf", term), "step")
    for term in loop.vectors:
        plan.load(term, Buffer("vector", term), "vector")


def unsupported(part: SchedulePart, known: Collection[str]) -> str | None:
    """Give the reason why kernels with the `known` operations cannot run a part, or None."""
    for loop in (part.loop, part.backward):
        for nest in loop.nests:
            for term in nest.terms:
                if term not in nest.sums and term.op not in known:
                    return f"they have no {term.op} yet"
    return None
