"""A run as a list of prepared calls.

All that a run does follows from the graph, the sizes, and how the tensors lie in memory. Only
where they begin is new each time. So the tables of all kernels are made once, as one array;
a run adds the addresses of its tensors, the *bases*, and makes the calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from gatewright.backends.llvm import build
from gatewright.backends.llvm.chain import NUMBERS as CALL
from gatewright.backends.llvm.library import Built, Kernels, shared
from gatewright.backends.llvm.plan import FREE, Group, Plan
from gatewright.backends.llvm.threads import threads
from gatewright.graph import Term
from gatewright.graph.sizes import number

#: Rows of a tile, and multiplications or numbers that are worth a thread of their own.
TILE, WORTH = 6, 1 << 15
#: Multiplications in a step for which threads share its units: they wait twice for each other.
TOGETHER = 1 << 17
#: The arrays of the order of the steps, which are bases too.
ORDER = ("rows", "offsets", "turned rows", "turned offsets", "before", "after", "last", "every")


class Span(NamedTuple):
    """Rows in memory: on which base, how many numbers behind it, and from row to row."""

    base: int
    offset: int
    length: int

    def beside(self, units: int) -> Span:
        """The same rows from a later unit on."""
        return self._replace(offset=self.offset + units)


#: A kernel's table: numbers, and spans for the addresses of their first ones.
Table = list[int | Span]


class Piece(NamedTuple):
    """The part of a tensor that a term is.

    Attributes:
        whole: Which tensor.
        offset: The numbers of the whole in front of it.
    """

    whole: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True)
class Shape:
    """What a program depends on besides the graph: all sizes, and how tensors lie.

    Attributes:
        steps, batch, total: T, B and the number of packed rows N.
        strides: Those of each given tensor.
        present: Which of the upstream gradients there are.
        asked: Which gradients are asked for.
        fresh: Whether there are fresh states, for restarts.
        pieces: Of each given tensor, the part that it is of a whole one, whose gradient is
            asked for; none where each is whole itself.
        wholes: How many numbers each of those whole ones has.
    """

    sizes: tuple[tuple[str, int], ...]
    steps: int
    batch: int
    total: int
    threads: int
    strides: tuple[tuple[int, ...], ...]
    present: tuple[bool, ...] = ()
    asked: tuple[bool, ...] = ()
    fresh: bool = False
    pieces: tuple[Piece, ...] = ()
    wholes: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        sizes: Mapping[str, int],
        steps: int,
        batch: int,
        total: int,
        given: Sequence[Tensor],
        *,
        fresh: bool,
    ) -> Shape:
        """The shape of a forward pass on as many threads as torch has."""
        strides = tuple([one.stride() for one in given])
        return cls(tuple(sizes.items()), steps, batch, total, threads(), strides, fresh=fresh)

    def backward(self, upstream: Sequence[Tensor | None], asked: Sequence[bool]) -> Shape:
        """The shape of the backward pass."""
        present = tuple([one is not None for one in upstream])
        return replace(self, present=present, asked=tuple(asked))


def prepared(built: Kernels, known: Sequence[Tensor], states: Sequence[Tensor]) -> list[Tensor]:
    """What is given, as kernels read it: numbers in whole rows; matrices may lie in any way."""
    like = states[0]
    given = []
    for term, one in zip(built.given, known, strict=True):
        numbers = (one.to(like.dtype) if one.dtype == torch.bool else one).resolve_neg()
        given.append(numbers if term in built.matrices else numbers.contiguous())
    return [*given, *[one.resolve_neg().contiguous() for one in states]]


class Program:
    """Prepared calls, and the memory that they need.

    Attributes:
        bases: The position of each base, by its name. The first one is 0 itself; then come
            the arrays of the order, the block that the forward pass leaves for the backward
            one ("kept"), the one that only this pass needs ("passing"), and what was given.
        places: Each buffer, by its part and its name in the part's plans, `"loop state h"`.
        lengths: The numbers in each block of memory that a run takes.
    """

    def __init__(self, built: Kernels, shape: Shape) -> None:
        self.built, self.shape = built, shape
        self.sizes = dict(shape.sizes)
        self.lanes, self.itemsize = built.numbers.lanes, built.numbers.bytes
        self.shared = shared(built.numbers.bits)
        self.bases = {"nothing": 0}
        self.places: dict[str, Span] = {}
        self.lengths: dict[str, int] = {}
        self.numbers: list[int] = []
        self.which: list[int] = []
        self.calls: list[int] = []
        self.kernels: set[Built] = set()  # whose code must stay where it is
        for name in (*ORDER, "kept", "passing", *(f"given {i}" for i in range(len(shape.strides)))):
            self.base(name)

    # Sizes.
    def units(self, term: Term) -> int:
        return number(term.size, self.sizes)

    def room(self, units: int) -> int:
        """Units in whole vectors."""
        return -(-units // self.lanes) * self.lanes

    def whole(self, term: Term) -> bool:
        """Whether rows of a term are whole vectors, so that torch's own can be used."""
        return self.units(term) % self.lanes == 0

    # Memory.
    def base(self, name: str) -> int:
        """The position of a base, which is added if it is new."""
        return self.bases.setdefault(name, len(self.bases))

    def place(self, block: str, rows: int, *buffers: tuple[str, int]) -> None:
        """Place buffers of so many rows in a block; several are side by side in longer rows."""
        rooms = [self.room(units) for _, units in buffers]
        length = sum(rooms)
        # Rows a power of two apart would all fall on a few lines of the cache, when a kernel
        # walks down them.
        if length * self.itemsize % 1024 == 0 and rows > 1:
            length += self.lanes
        at = self.lengths.get(block, 0)
        self.lengths[block] = at + rows * length
        for (name, _), room in zip(buffers, rooms, strict=True):
            self.places[name] = Span(self.base(block), at, length)
            at += room

    def own(self, name: str, units: int) -> Span:
        """Rows that are a tensor of their own, without anything between them."""
        return Span(self.base(name), 0, units)

    def behind(self, span: Span, rows: int) -> Span:
        """The same rows from a later one on."""
        return span._replace(offset=span.offset + rows * span.length)

    # Calls.
    def call(self, built: Built, table: Table, rows: int, grain: int, threads: int) -> None:
        """Add a call. In its table, a span is the address of its first number."""
        self.kernels.add(built)
        self.calls += built.call(8 * len(self.numbers), rows, grain, threads)
        for one in table:
            span = one if isinstance(one, Span) else Span(0, 0, 0)
            self.numbers.append(one if isinstance(one, int) else span.offset * self.itemsize)
            self.which.append(span.base)

    def index(self, name: str, first: int = 0) -> Span:
        """An array of the order, from one of its numbers on."""
        return Span(self.base(name), first * 8 // self.itemsize, 1)

    def copy(
        self,
        source: Span,
        target: Span,
        rows: int,
        units: int,
        *,
        read: str = "every",
        write: str = "every",
        add: bool = False,
    ) -> None:
        """Copy rows, or add them to what is there; which ones is said by two indices."""
        table: Table = [target, target.length, source, source.length]
        table += [self.index(write), self.index(read), units, int(add)]
        self.call(self.shared["copy"], table, rows, 1, self.threads(rows * units))

    def clear(self, target: Span, rows: int, units: int) -> None:
        """Fill rows with zeros."""
        table: Table = [target, target.length, self.room(units)]
        self.call(self.shared["clear"], table, rows, 1, self.threads(rows * units))

    def threads(self, work: int) -> int:
        """How many threads some work is worth."""
        return self.shape.threads if work > 2 * WORTH else 1

    def pack(self, part: str, kind: str, matrices: Mapping[Term, int]) -> None:
        """Pack the matrices of a kernel as its tiles read them."""
        for groups in self.built.plans[f"{part}_{kind}"].groups.values():
            for group in groups:
                units, length = self.units(group.products[0]), self.units(group.source)
                each, length = units // group.heads, length // group.heads
                blocks, block = self.room(units) // self.lanes, self.block(group)
                count = blocks * block
                name = f"{part} matrices {group.slot}"
                self.place("passing", 1, (name, count))
                if block > length * len(group.products) * self.lanes:
                    # A lane that has no unit of a head is not written, and multiplied in vain.
                    self.clear(self.places[name], 1, count)
                table: Table = [self.places[name], length, units, each, block]
                table.append(len(group.products))
                for product in group.products:
                    given = matrices[product.operands[1]]
                    by_head, by_unit, by_place = (0, *self.shape.strides[given])[-3:]
                    if product.op == "transposed":
                        by_unit, by_place = by_place, by_unit
                    table += [self.own(f"given {given}", 0), by_head, by_unit, by_place]
                self.call(self.shared["pack"], table, blocks, 1, self.threads(count))

    def block(self, group: Group) -> int:
        """The numbers of one block of units in a group's packed matrices."""
        panels = group.panels(self.units(group.products[0]), self.lanes)
        length = self.units(group.source) // group.heads
        return panels * length * len(group.products) * self.lanes

    def run(self, part: str, kind: str) -> None:
        """Run one kernel of a part on its places."""
        name = f"{part}_{kind}"
        plan, shape = self.built.plans[name], self.shape
        table: Table = [0] * plan.length
        if part == "loop":
            turned = "turned " if kind == "backward" else ""
            steps = [self.index(f"{turned}rows"), self.index(f"{turned}offsets")]
            table[:FREE] = [shape.steps, *steps, self.index("before"), self.index("after")]
        else:  # all packed rows are one step; of the numbers 0, 1 ... N the last is their count
            every = self.index("every")
            table[:FREE] = [1, self.index("every", shape.total), every, every, every]
        for buffer, slot in plan.buffers.items():
            span = self.places[f"{part} {buffer}"]
            table[slot], table[slot + 1] = span, span.length
        for size, slot in plan.sizes.items():
            table[slot] = number(size, self.sizes)
        for groups in plan.groups.values():
            for group in groups:
                table[group.slot] = self.places[f"{part} matrices {group.slot}"]
                table[group.slot + 1] = self.block(group)
        rows = shape.batch if part == "loop" else shape.total
        grain = 1 if rows < 2 * TILE * shape.threads else TILE
        if part == "loop" and rows < 2 * shape.threads and rows * self.step(plan) >= TOGETHER:
            grain = 0
        self.call(self.built.function(name), table, rows, grain, shape.threads)

    def step(self, plan: Plan) -> int:
        """The multiplications of one row in one step."""
        groups = [group for groups in plan.groups.values() for group in groups]
        return sum(
            self.units(product) * self.units(group.source) // group.heads
            for group in groups
            for product in group.products
        )

    def ready(self) -> Program:
        """Ready to be run: its calls and tables as arrays."""
        self.chained = np.array(self.calls, dtype=np.int64)
        self.where, self.count = self.chained.ctypes.data, len(self.calls) // CALL
        self.chain = build.KERNEL(self.shared["chain"].alone)
        self.constants = np.array(self.numbers, dtype=np.int64)
        self.bases_of = np.array(self.which, dtype=np.intp)
        return self

    def __call__(self, bases: Sequence[int]) -> None:
        """Run all calls, with the addresses of the bases, the first one (0) left out."""
        table = np.array([0, *bases], np.int64)[self.bases_of]
        table += self.constants
        self.chain(self.where, self.count, table.ctypes.data)


def rows_of(program: Program, part: str, buffer: str) -> int:
    """How many rows a buffer has."""
    batch, total = program.shape.batch, program.shape.total
    if buffer.startswith("vector"):
        return 1
    if buffer.startswith("scratch"):
        return batch if part == "loop" else total
    if buffer.startswith(("state", "gradient")):
        return 2 * batch + total
    return total
