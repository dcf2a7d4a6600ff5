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

from gatewright.backends.llvm import build, extent
from gatewright.backends.llvm.chain import NUMBERS as CALL
from gatewright.backends.llvm.checked import Record, header
from gatewright.backends.llvm.library import Built, Kernels, shared
from gatewright.backends.llvm.memory import check_guards
from gatewright.backends.llvm.moves import ClearTable, CopyTable
from gatewright.backends.llvm.pack import MatrixTable, PackTable
from gatewright.backends.llvm.threads import threads
from gatewright.backends.llvm.verify import Access, Contents, Span, verify
from gatewright.errors import KernelError
from gatewright.graph import Term
from gatewright.graph.sizes import number
from gatewright.schedule.slots import FREE, Group, Plan
from gatewright.schedule.tiling import TILE_ROWS

#: Multiplications or numbers that are worth a thread of their own.
WORTH = 1 << 15
#: Multiplications in a step for which threads share its units: they wait twice for each other.
TOGETHER = 1 << 17
#: The arrays of the order of the steps, which are bases too.
ORDER = ("rows", "offsets", "turned rows", "turned offsets", "before", "after", "last", "every")


NOWHERE = Span(0, 0, 0, 0, 0)
#: A kernel's table: numbers, and spans for the addresses of their first ones.
Table = list[int | Span]


class Lie(NamedTuple):
    """A tensor's shape and strides."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def extent(self) -> int:
        """The numbers from its first one to its last one."""
        return extent(self.shape, self.strides)


class Piece(NamedTuple):
    """The part of a tensor that a term is: some of its rows.

    Attributes:
        whole: Which tensor.
        offset: The numbers of the whole's gradient in front of the piece's: all gradients
            lie row by row, however the tensors do.
        shape: The piece's own.
    """

    whole: int
    offset: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Shape:
    """What a program depends on besides the graph: all sizes, and how tensors lie.

    Attributes:
        steps, batch, total: T, B and the number of packed rows N.
        lies: How each given tensor lies in memory.
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
    lies: tuple[Lie, ...]
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
        lies = lies_of(given)
        return cls(tuple(sizes.items()), steps, batch, total, threads(), lies, fresh=fresh)

    def backward(self, upstream: Sequence[Tensor | None], asked: Sequence[bool]) -> Shape:
        """The shape of the backward pass."""
        present = tuple([one is not None for one in upstream])
        return replace(self, present=present, asked=tuple(asked))


def lies_of(tensors: Sequence[Tensor]) -> tuple[Lie, ...]:
    """The shape and strides of some tensors."""
    return tuple([Lie(tuple(tensor.shape), tensor.stride()) for tensor in tensors])


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

    The calls are verified when the program is ready (`verify.py`), before any of them runs.

    Attributes:
        bases: The position of each base, by its name. The first one is 0 itself, the second
            the record of violations, which only the checked build has; then come the arrays of
            the order, the block that the forward pass leaves for the backward one ("kept"),
            the one that only this pass needs ("passing"), and what was given.
        places: Each buffer, by its part and its name in the part's plans, `"loop state h"`.
        lengths: The numbers in each block of memory that a run takes.
    """

    #: Blocks that the calls only read, besides what torch gives.
    lent: tuple[str, ...] = ()

    def __init__(self, built: Kernels, shape: Shape) -> None:
        self.built, self.shape = built, shape
        self.sizes = dict(shape.sizes)
        self.lanes, self.itemsize = built.numbers.lanes, built.numbers.bytes
        self.shared = shared(built.numbers.bits)
        self.bases = {"nothing": 0, "record": 1}
        self.places: dict[str, Span] = {}
        self.lengths: dict[str, int] = {}
        self.numbers: list[int] = []
        self.which: list[int] = []
        self.calls: list[int] = []
        self.kernels: set[Built] = set()  # whose code must stay where it is
        #: What each call reads and writes, and what is in the blocks after them.
        self.accesses: list[tuple[str, list[Access]]] = []
        self.contents = Contents()
        #: The results, which the calls have to have written in the end.
        self.results_written: list[Access] = []
        #: Of each call, its kernel, where its table begins, and the table.
        self.tables: list[tuple[str, int, Table]] = []
        steps, total = shape.steps, shape.total
        every = max(total, shape.batch) + 1
        counts = (steps, steps, steps, steps, total, total, shape.batch, every)
        for name, count in zip(ORDER, counts, strict=True):
            self.base(name)
            self.lengths[name] = count * 8 // self.itemsize
        self.base("kept")
        self.base("passing")
        for i, lie in enumerate(shape.lies):
            self.base(f"given {i}")
            self.lengths[f"given {i}"] = lie.extent

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
        at = start = self.lengths.get(block, 0)
        self.lengths[block] = end = at + rows * length
        for (name, _), room in zip(buffers, rooms, strict=True):
            self.places[name] = Span(self.base(block), at, length, start, end)
            at += room

    def own(self, name: str, units: int, rows: int) -> Span:
        """Rows that are a tensor of their own, without anything between them."""
        return Span(self.base(name), 0, units, 0, rows * units)

    def returned(self, name: str, term: Term, rows: int) -> Span:
        """Rows that torch gets, as a tensor of their own."""
        span = self.own(name, self.units(term), rows)
        self.lengths[name] = span.end
        self.results_written.append(Access("read", span, rows, span.length, span.length))
        return span

    # Calls.
    def call(
        self,
        built: Built,
        table: Table,
        rows: int,
        grain: int,
        threads: int,
        accesses: Sequence[Access],
    ) -> None:
        """Add a call. In its table, a span is the address of its first number."""
        self.kernels.add(built)
        order = ("read", "update", "write")
        self.accesses.append((built.name, sorted(accesses, key=lambda a: order.index(a.kind))))
        if self.built.numbers.checked:
            self.add_header(table)
        self.tables.append((built.name, 8 * len(self.numbers), table))
        self.calls += built.call(8 * len(self.numbers), rows, grain, threads)
        for entry in table:
            if isinstance(entry, Span):
                self.numbers.append(entry.offset * self.itemsize)
                self.which.append(entry.base)
            else:
                self.numbers.append(entry)
                self.which.append(NOWHERE.base)

    def add_header(self, table: Table) -> None:
        """Put in front of a table what the checked build reads there."""
        spans = [entry if isinstance(entry, Span) else NOWHERE for entry in table]
        self.numbers += header([span.end * self.itemsize for span in spans], 0)
        bases = [span.base for span in reversed(spans)]
        self.which += [*bases, self.base("nothing"), self.base("record")]

    def name_of(self, entry: int | Span) -> str:
        """The buffer that an entry of a table names, or the block that it lies in."""
        if not isinstance(entry, Span):
            return "a number"
        named = [name for name, span in self.places.items() if span == entry]
        block = list(self.bases)[entry.base]
        return f"buffer {named[0]!r}" if named else f"block {block!r} from {entry.offset} on"

    def index(self, name: str, first: int = 0) -> Span:
        """An array of the order, from one of its numbers on."""
        return Span(self.base(name), first * 8 // self.itemsize, 1, 0, self.lengths[name])

    def picks(self, index: str, count: int) -> Access:
        """The access to an array of the order that picks the rows of a call."""
        numbers = count * 8 // self.itemsize
        return Access("read", self.index(index), 1, numbers, numbers)

    def rows(self, index: str, count: int) -> tuple[int, int]:
        """The first row and the number of rows that an array of the order points to."""
        batch, total = self.shape.batch, self.shape.total
        if index == "every":
            return 0, count
        # The fresh states, those before the first step, and those after each packed row.
        first = 0 if index == "before" and self.shape.fresh else batch
        return (2 * batch, total) if index == "after" else (first, 2 * batch + total - first)

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
        content: str | None = None,
    ) -> None:
        """Copy rows that hold a content, or add them to what is there.

        Two arrays of the order, `read` and `write`, pick the rows.
        """
        rows_written, rows_read = self.index(write), self.index(read)
        table = CopyTable(
            target,
            target.length,
            source,
            source.length,
            rows_written,
            rows_read,
            units,
            int(add),
        ).entries
        first, count = self.rows(read, rows)
        reads = Access("read", source, count, units, units, content, first)
        # Where the rows are picked by an index, some of what is there stays.
        kind = "write" if write == "every" and not add else "update"
        first, count = self.rows(write, rows)
        writes = Access(kind, target, count, units, units, content, first)
        if kind == "update":
            writes = writes._replace(content=None)
        threads = self.threads(rows * units)
        accesses = [self.picks(read, rows), self.picks(write, rows), reads, writes]
        self.call(self.shared["copy"], table, rows, 1, threads, accesses)

    def clear(self, target: Span, rows: int, units: int) -> None:
        """Fill rows with zeros."""
        room = self.room(units)
        table = ClearTable(target, target.length, room).entries
        writes = Access("write", target, rows, room, room)
        self.call(self.shared["clear"], table, rows, 1, self.threads(rows * units), [writes])

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
                calls = len(self.accesses)
                if block > length * len(group.products) * self.lanes:
                    # A lane that has no unit of a head is not written, and multiplied in vain.
                    self.clear(self.places[name], 1, count)
                products = len(group.products)
                table = PackTable(self.places[name], length, units, each, block, products).entries
                kind_of_write = "write" if len(self.accesses) == calls else "update"
                accesses = [Access(kind_of_write, self.places[name], 1, count, count)]
                for product in group.products:
                    given = matrices[product.operands[1]]
                    by_head, by_unit, by_place = (0, *self.shape.lies[given].strides)[-3:]
                    if product.op == "transposed":
                        by_unit, by_place = by_place, by_unit
                    matrix = self.own(f"given {given}", self.lengths[f"given {given}"], 1)
                    table += MatrixTable(matrix, by_head, by_unit, by_place).entries
                    read = Lie((group.heads, each, length), (by_head, by_unit, by_place)).extent
                    accesses.append(Access("read", matrix, 1, read, read))
                threads = self.threads(count)
                self.call(self.shared["pack"], table, blocks, 1, threads, accesses)

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
        grain = 1 if rows < 2 * TILE_ROWS * shape.threads else TILE_ROWS
        if part == "loop" and rows < 2 * shape.threads and rows * self.step(plan) >= TOGETHER:
            grain = 0
        accesses = [*self.accesses_of(part, plan), *self.packed_matrices(part, plan)]
        if part == "loop":
            accesses += [self.picks(name, shape.total) for name in ("before", "after")]
            accesses += [self.picks(name, shape.steps) for name in ("rows", "offsets")]
        else:
            accesses.append(self.picks("every", shape.total + 1))
        self.call(self.built.function(name), table, rows, grain, shape.threads, accesses)

    def packed_matrices(self, part: str, plan: Plan) -> list[Access]:
        """The accesses of a part's kernel to packed matrices."""
        found = []
        for groups in plan.groups.values():
            for group in groups:
                count = self.room(self.units(group.products[0])) // self.lanes * self.block(group)
                place = self.places[f"{part} matrices {group.slot}"]
                found.append(Access("read", place, 1, count, count))
        return found

    def accesses_of(self, part: str, plan: Plan) -> list[Access]:
        """The accesses of a part's kernel: what others have written, and what it writes."""
        loads = {(place.slot, place.how) for place in plan.loads.values()}
        stores = {place for places in plan.stores.values() for place in places}
        stored = {place.slot for place in stores}
        found = []
        for buffer, slot in plan.buffers.items():
            units = self.units(plan.terms[buffer])
            room = self.room(units)
            whole = Access("write", self.places[f"{part} {buffer}"], 0, room, room, content(buffer))
            for how in sorted(how for of, how in loads if of == slot):
                first, count = self.rows_found(part, buffer, how)
                if slot in stored:  # by the kernel itself, but for the states before the first step
                    count = 2 * self.shape.batch - first if how == "before" else 0
                found.append(whole._replace(kind="read", first=first, rows=count, units=units))
            for place in sorted((place for place in stores if place.slot == slot), key=str):
                first, count = self.rows_found(part, buffer, place.how)
                kind = "update" if place.add else "write"
                found.append(whole._replace(kind=kind, first=first, rows=count))
        return found

    def rows_found(self, part: str, buffer: str, how: str) -> tuple[int, int]:
        """The first row and the number of rows of a buffer that a kernel finds in some way."""
        if how in ("before", "after"):
            return self.rows(how, 0)
        return 0, rows_of(self, part, buffer)

    def step(self, plan: Plan) -> int:
        """The multiplications of one row in one step."""
        groups = [group for groups in plan.groups.values() for group in groups]
        return sum(
            self.units(product) * self.units(group.source) // group.heads
            for group in groups
            for product in group.products
        )

    def ready(self) -> Program:
        """Ready to be run: verified, with its calls and tables as arrays.

        Raises:
            KernelError: if a call does not fit the memory; see `verify.py`.
        """
        lengths = {position: self.lengths.get(name, 0) for name, position in self.bases.items()}
        lent = ("nothing", "record", *ORDER, "given", "upstream", *self.lent)
        writable = {position for name, position in self.bases.items() if not name.startswith(lent)}
        calls = [*self.accesses, ("torch", self.results_written)]
        verify(calls, lengths, writable, self.contents)
        self.chained = np.array(self.calls, dtype=np.int64)
        self.where, self.count = self.chained.ctypes.data, len(self.calls) // CALL
        self.chain = build.KERNEL(self.shared["chain"].alone)
        self.constants = np.array(self.numbers, dtype=np.int64)
        self.bases_of = np.array(self.which, dtype=np.intp)
        return self

    def __call__(self, bases: Sequence[int]) -> None:
        """Run all calls, with the addresses of the bases, the first two left out.

        Raises:
            KernelError: if the addresses are not as many as the bases, or a kernel of the
                checked build reads or writes out of bounds.
        """
        if len(bases) + 2 != len(self.bases):
            raise KernelError(f"{len(bases)} addresses for the blocks {list(self.bases)[2:]}")
        record = Record() if self.built.numbers.checked else None
        table = np.array([0, record.address if record else 0, *bases], np.int64)[self.bases_of]
        table += self.constants
        first = table.ctypes.data
        self.chain(self.where, self.count, first)
        if record is not None:
            record.raise_violation(lambda address, slot: self.slot_name(address - first, slot))
            check_guards()

    def slot_name(self, offset: int, slot: int) -> tuple[str, str]:
        """The names of the kernel and the buffer of a slot, by where the table begins."""
        kernel, _, table = next(call for call in self.tables if call[1] == offset)
        return kernel, self.name_of(table[slot]) if slot >= 0 else "its table"


def content(buffer: str) -> str | None:
    """The value that a buffer of a plan holds: a term's, whatever the buffer is called.

    None for a seed, which stands where whoever computed it has left it.
    """
    kind, _, name = buffer.partition(" ")
    if kind == "seed":
        return None
    return f"value {name}" if kind in ("leaf", "kept", "vector", "scratch", "result") else buffer


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
