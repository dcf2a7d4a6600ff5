"""A run as a list of prepared calls.

Everything that a run does follows from the graph, the sizes, and the layout of the tensors in
memory. Only their addresses are new each time. So the tables of all kernels are made once, as
one array; a run adds the addresses of its tensors, the *bases*, and makes the calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from gatewright.backends.llvm import build
from gatewright.backends.llvm.call_shape import CallShape, TensorForm
from gatewright.backends.llvm.chain import NUMBERS as CALL
from gatewright.backends.llvm.checked import Record, header
from gatewright.backends.llvm.elements import LOW_BYTES
from gatewright.backends.llvm.library import BuiltKernel, Kernels, shared
from gatewright.backends.llvm.memory import check_guards
from gatewright.backends.llvm.moves import ClearTable, CopyTable
from gatewright.backends.llvm.pack import MatrixTable, PackTable
from gatewright.backends.llvm.verify import Access, Contents, Span, verify
from gatewright.backends.order import ARRAYS
from gatewright.errors import KernelError
from gatewright.graph import Term
from gatewright.graph.sizes import number
from gatewright.schedule.buffers import Buffer
from gatewright.schedule.slots import FREE, Group, Plan
from gatewright.schedule.tiling import GRAIN

#: Multiplications or numbers that are worth a thread of their own.
WORTH = 1 << 15
#: Multiplications in a step from which on threads share its units: they wait for each other
#: after each nest, at least twice a step.
TOGETHER = 1 << 17

NOWHERE = Span(0, 0, 0, 0, 0)
#: A kernel's table: numbers, and spans for the addresses of their first numbers.
Table = list[int | Span]
#: A buffer or the packed matrices of a part.
Key = tuple[str, Buffer | Group]


class Program:
    """Prepared calls, and the memory that they need.

    The calls are verified when the program is complete (`verify.py`), before any of them runs.

    Attributes:
        bases: The position of each base, by its name. The first one is 0 itself, the second
            the record of violations, which only the checked build has; then come the arrays of
            the order, the block that the forward pass leaves for the backward one ("saved"),
            the block that only this pass needs ("scratch"), and the tensors that come in.
        places: The memory of each buffer, by its part.
        lengths: The count of numbers in each block of memory that a run takes.
        low: The bases of tensors in bfloat16.
    """

    #: Blocks that the calls only read, in addition to the tensors from torch.
    lent: tuple[str, ...] = ()

    def __init__(self, built: Kernels, shape: CallShape) -> None:
        self.built, self.shape = built, shape
        self.sizes = dict(shape.sizes)
        self.lanes, self.itemsize = built.numbers.lanes, built.numbers.bytes
        self.shared = shared(built.numbers)
        self.bases = {"nothing": 0, "record": 1}
        self.places: dict[Key, Span] = {}
        self.lengths: dict[str, int] = {}
        self.low: set[int] = set()
        self.numbers: list[int] = []
        self.which: list[int] = []
        self.calls: list[int] = []
        self.kernels: set[BuiltKernel] = set()  # whose code must stay loaded
        #: The accesses of each call, and the values in the blocks after all of them.
        self.accesses: list[tuple[str, list[Access]]] = []
        self.contents = Contents()
        #: The results, which the calls must have written in the end.
        self.results_written: list[Access] = []
        #: The kernel of each call, the offset of its table, and the table.
        self.tables: list[tuple[str, int, Table]] = []
        steps, total = shape.steps, shape.total
        every = max(total, shape.batch) + 1
        counts = (steps, steps, steps, steps, total, total, shape.batch, every)
        for name, count in zip(ARRAYS, counts, strict=True):
            self.base(name)
            self.lengths[name] = count * 8 // self.itemsize
        self.base("saved")
        self.base("scratch")
        for i, form in enumerate(shape.forms):
            self.tensor(f"input {i}", form.extent, low=form.low)

    # Sizes.
    def units(self, term: Term) -> int:
        return number(term.size, self.sizes)

    def room(self, units: int) -> int:
        """Round units up to whole vectors."""
        return -(-units // self.lanes) * self.lanes

    def whole(self, term: Term) -> bool:
        """Tell if rows of a term are whole vectors, so that a kernel can use torch's own rows."""
        return self.units(term) % self.lanes == 0

    def rows_of(self, key: Key) -> int:
        """Count the rows of a buffer."""
        part, buffer = key
        assert isinstance(buffer, Buffer)
        # In the part before the loop, all packed rows are one batch.
        batch = self.shape.batch if part == "loop" else self.shape.total
        return buffer.rows(batch, self.shape.total)

    # Memory.
    def base(self, name: str) -> int:
        """Return the position of a base, which is added if it is new."""
        return self.bases.setdefault(name, len(self.bases))

    def tensor(self, name: str, numbers: int, *, low: bool) -> int:
        """Add the base of a tensor from torch, or of one that is returned to it."""
        base = self.base(name)
        self.lengths[name] = numbers
        if low:
            self.low.add(base)
        return base

    def bytes_of(self, span: Span, numbers: int) -> int:
        """Count the bytes of some numbers of a span's block."""
        return numbers * (LOW_BYTES if span.base in self.low else self.itemsize)

    def place(self, block: str, rows: int, *buffers: tuple[Key, int]) -> None:
        """Place buffers in a block; several get adjacent columns of longer rows."""
        rooms = [self.room(units) for _, units in buffers]
        span = self.block_of(block, rows, sum(rooms))
        for (key, _), room in zip(buffers, rooms, strict=True):
            self.places[key] = span
            span = span.from_unit(room)

    def block_of(self, block: str, rows: int, units: int) -> Span:
        """Return new rows of whole vectors in a block, which no buffer of the plan names."""
        length, start = self.room(units), self.lengths.get(block, 0)
        self.lengths[block] = end = start + rows * length
        return Span(self.base(block), start, length, start, end)

    def own(self, name: str, units: int, rows: int) -> Span:
        """Return the rows of a tensor of their own, without gaps."""
        return Span(self.base(name), 0, units, 0, rows * units)

    def returned(self, name: str, term: Term, rows: int) -> Span:
        """Return the rows of a tensor of their own that the run returns."""
        span = self.own(name, self.units(term), rows)
        self.tensor(name, span.end, low=self.shape.low)
        self.results_written.append(Access("read", span, rows, span.length, span.length))
        return span

    # Calls.
    def call(
        self,
        built: BuiltKernel,
        table: Table,
        rows: int,
        grain: int,
        threads: int,
        accesses: Sequence[Access],
    ) -> None:
        """Add a call; in its table, a span is the address of its first number."""
        self.kernels.add(built)
        order = ("read", "update", "write")
        self.accesses.append((built.name, sorted(accesses, key=lambda a: order.index(a.kind))))
        if self.built.numbers.checked:
            self.add_header(table)
        self.tables.append((built.name, 8 * len(self.numbers), table))
        self.calls += built.call(8 * len(self.numbers), rows, grain, threads)
        for entry in table:
            if isinstance(entry, Span):
                self.numbers.append(self.bytes_of(entry, entry.offset))
                self.which.append(entry.base)
            else:
                self.numbers.append(entry)
                self.which.append(NOWHERE.base)

    def add_header(self, table: Table) -> None:
        """Put the numbers of the checked build in front of a table."""
        spans = [entry if isinstance(entry, Span) else NOWHERE for entry in table]
        self.numbers += header([self.bytes_of(span, span.end) for span in spans], 0)
        bases = [span.base for span in reversed(spans)]
        self.which += [*bases, self.base("nothing"), self.base("record")]

    def name_of(self, entry: int | Span) -> str:
        """Name the buffer of an entry of a table, or the block that it lies in."""
        if not isinstance(entry, Span):
            return "a number"
        named = [key for key, span in self.places.items() if span == entry]
        if named:
            return f"buffer {' '.join(map(str, named[0]))!r}"
        return f"block {list(self.bases)[entry.base]!r} from {entry.offset} on"

    def index(self, name: str, first: int = 0) -> Span:
        """Return an array of the order, from one of its numbers on."""
        return Span(self.base(name), first * 8 // self.itemsize, 1, 0, self.lengths[name])

    def picks(self, index: str, count: int) -> Access:
        """Return the access to an array of the order that picks the rows of a call."""
        numbers = count * 8 // self.itemsize
        return Access("read", self.index(index), 1, numbers, numbers)

    def rows(self, index: str, count: int) -> tuple[int, int]:
        """Return the first row and the number of rows that an array of the order points to."""
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
        """Copy rows that hold a content, or add them to the rows in memory.

        Two arrays of the order, `read` and `write`, pick the rows. Out of a tensor in bfloat16
        numbers are widened, and into it they are rounded.
        """
        kernel = "widen" if source.base in self.low else "copy"
        if target.base in self.low:
            kernel = "narrow"
        table = CopyTable(
            target=target,
            target_length=target.length,
            source=source,
            source_length=source.length,
            written=self.index(write),
            read=self.index(read),
            units=units,
            add=int(add),
        ).entries
        first, count = self.rows(read, rows)
        reads = Access("read", source, count, units, units, content, first)
        # Where an index picks the rows, the others keep their values.
        kind = "write" if write == "every" and not add else "update"
        first, count = self.rows(write, rows)
        writes = Access(kind, target, count, units, units, content, first)
        if kind == "update":
            writes = writes._replace(content=None)
        threads = self.threads(rows * units)
        accesses = [self.picks(read, rows), self.picks(write, rows), reads, writes]
        self.call(self.shared[kernel], table, rows, 1, threads, accesses)

    def clear(self, target: Span, rows: int, units: int) -> None:
        """Fill rows with zeros."""
        room = self.room(units)
        table = ClearTable(target, target.length, room).entries
        writes = Access("write", target, rows, room, room)
        self.call(self.shared["clear"], table, rows, 1, self.threads(rows * units), [writes])

    def threads(self, work: int) -> int:
        """Return the number of threads that some work is worth."""
        return self.shape.threads if work > 2 * WORTH else 1

    def pack(self, part: str, kind: str, matrices: Mapping[Term, int]) -> None:
        """Pack the matrices of a kernel as its tiles read them.

        Raises:
            KernelError: if some of those that are packed together are in bfloat16.
        """
        for group in self.built.plans[f"{part}_{kind}"].all_groups():
            units, length = self.units(group.products[0]), self.units(group.source)
            each, length = units // group.heads, length // group.heads
            blocks, block = self.room(units) // self.lanes, self.block(group)
            count = blocks * block
            self.place("scratch", 1, ((part, group), count))
            packed = self.places[part, group]
            calls = len(self.accesses)
            if block > self.places_of(group) * len(group.products) * self.lanes:
                # The kernel multiplies lanes without units of a head too, and drops the result;
                # `pack` does not write them.
                self.clear(packed, 1, count)
            table = PackTable(packed, length, units, each, block, len(group.products)).entries
            kind_of_write = "write" if len(self.accesses) == calls else "update"
            accesses = [Access(kind_of_write, packed, 1, count, count)]
            low = set()
            for product in group.products:
                i = matrices[product.operands[1]]
                by_head, by_unit, by_place = (0, *self.shape.forms[i].strides)[-3:]
                if product.op == "transposed":
                    by_unit, by_place = by_place, by_unit
                matrix = self.own(f"input {i}", self.lengths[f"input {i}"], 1)
                low.add(matrix.base in self.low)
                table += MatrixTable(matrix, by_head, by_unit, by_place).entries
                form = TensorForm((group.heads, each, length), (by_head, by_unit, by_place))
                accesses.append(Access("read", matrix, 1, form.extent, form.extent))
            threads = self.threads(count)
            if len(low) > 1:
                raise KernelError(f"the matrices of {part} are of two number types")
            kernel = "pack_low" if True in low else "pack"
            self.call(self.shared[kernel], table, blocks, 1, threads, accesses)

    def block(self, group: Group) -> int:
        """Count the numbers of one block of units in a group's packed matrices."""
        panels = group.panels(self.units(group.products[0]), self.lanes)
        return panels * self.places_of(group) * len(group.products) * self.lanes

    def places_of(self, group: Group) -> int:
        """Count the steps of the K-loop along one head of a group's source."""
        return -(-(self.units(group.source) // group.heads) // self.built.numbers.columns)

    def run(self, part: str, kind: str) -> None:
        """Run one kernel of a part on its places."""
        name = f"{part}_{kind}"
        plan, shape = self.built.plans[name], self.shape
        table: Table = [0] * plan.length
        if part == "loop":
            turned = "turned " if kind == "backward" else ""
            steps = [self.index(f"{turned}rows"), self.index(f"{turned}offsets")]
            table[:FREE] = [shape.steps, *steps, self.index("before"), self.index("after")]
        else:  # all packed rows are one step; of the numbers 0, 1, ... N the last is their count
            every = self.index("every")
            table[:FREE] = [1, self.index("every", shape.total), every, every, every]
        for buffer, slot in plan.buffers.items():
            span = self.places[part, buffer]
            table[slot], table[slot + 1] = span, span.length
        for size, slot in plan.sizes.items():
            table[slot] = number(size, self.sizes)
        for group in plan.all_groups():
            table[group.slot] = self.places[part, group]
            table[group.slot + 1] = self.block(group)
        rows = shape.batch if part == "loop" else shape.total
        words = self.place_words(name, table, rows)
        grain = 1 if rows < GRAIN * shape.threads else GRAIN
        step = rows * plan.multiplications(self.sizes)
        if part == "loop" and rows < 2 * shape.threads and step >= TOGETHER:
            grain = 0
        accesses = [*self.accesses_of(part, plan), *self.packed_matrices(part, plan), *words]
        if part == "loop":
            accesses += [self.picks(name, shape.total) for name in ("before", "after")]
            accesses += [self.picks(name, shape.steps) for name in ("rows", "offsets")]
        else:
            accesses.append(self.picks("every", shape.total + 1))
        self.call(self.built.function(name), table, rows, grain, shape.threads, accesses)

    def place_words(self, name: str, table: Table, rows: int) -> list[Access]:
        """Place the rows of words that a kernel rounds its sources to, and list its accesses."""
        if name not in self.built.rounded:
            return []
        accesses = []
        for sources in self.built.rounded[name].sources.values():
            for source in sources:
                count = source.words(self.units(source.term))
                span = self.block_of("scratch", rows, count)
                table[source.slot], table[source.slot + 1] = span, span.length
                accesses.append(Access("write", span, rows, count, count))
        return accesses

    def packed_matrices(self, part: str, plan: Plan) -> list[Access]:
        """List the accesses of a part's kernel to packed matrices."""
        accesses = []
        for group in plan.all_groups():
            count = self.room(self.units(group.products[0])) // self.lanes * self.block(group)
            accesses.append(Access("read", self.places[part, group], 1, count, count))
        return accesses

    def accesses_of(self, part: str, plan: Plan) -> list[Access]:
        """List the accesses of a part's kernel to buffers: reads of earlier calls, and writes."""
        loads = {(access.slot, access.how) for access in plan.loads.values()}
        stores = {access for of_term in plan.stores.values() for access in of_term}
        stored = {access.slot for access in stores}
        accesses = []
        for buffer, slot in plan.buffers.items():
            units = self.units(buffer.term)
            room = self.room(units)
            whole = Access("write", self.places[part, buffer], 0, room, room, buffer.content)
            for how in sorted(how for of, how in loads if of == slot):
                first, count = self.rows_reached((part, buffer), how)
                if slot in stored:  # by the kernel itself, except states before the first step
                    count = 2 * self.shape.batch - first if how == "before" else 0
                accesses.append(whole._replace(kind="read", first=first, rows=count, units=units))
            own = (access for access in stores if access.slot == slot)
            for access in sorted(own, key=lambda access: (access.how, access.add)):
                first, count = self.rows_reached((part, buffer), access.how)
                kind = "update" if access.add else "write"
                accesses.append(whole._replace(kind=kind, first=first, rows=count))
        return accesses

    def rows_reached(self, key: Key, how: str) -> tuple[int, int]:
        """Return the first row and the number of rows that a kernel reaches in some way."""
        if how in ("before", "after"):
            return self.rows(how, 0)
        return 0, self.rows_of(key)

    def complete(self) -> Program:
        """Verify the calls, and turn calls and tables into arrays.

        Raises:
            KernelError: if a call does not fit the memory; see `verify.py`.
        """
        lengths = {position: self.lengths.get(name, 0) for name, position in self.bases.items()}
        lent = ("nothing", "record", *ARRAYS, "input", "upstream", *self.lent)
        writable = {position for name, position in self.bases.items() if not name.startswith(lent)}
        calls = [*self.accesses, ("torch", self.results_written)]
        verify(calls, lengths, writable, self.contents)
        self.chained = np.array(self.calls, dtype=np.int64)
        self.where, self.count = self.chained.ctypes.data, len(self.calls) // CALL
        self.chain = build.KERNEL(self.shared["chain"].single)
        self.constants = np.array(self.numbers, dtype=np.int64)
        self.bases_of = np.array(self.which, dtype=np.intp)
        return self

    def __call__(self, bases: Sequence[int]) -> None:
        """Make all calls, with the addresses of the bases, without the first two.

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
        """Name the kernel and the buffer of a slot, by the offset of the table."""
        kernel, _, table = next(call for call in self.tables if call[1] == offset)
        return kernel, self.name_of(table[slot]) if slot >= 0 else "its table"
