"""The checked build: kernels that compare every load and store with the bounds of its buffer.

`GATEWRIGHT_CHECKED=1` asks for it (`backends/checked_build.py`). The kernels are the same except
for the comparisons. An access out of bounds goes to spare memory instead, so nothing is damaged;
the first one is recorded, and raises `KernelError` when the run's calls are done. Memory is
filled with NaN before it is used, and lies between guard zones (`memory.py`).

A kernel's addresses come from its table, one from each slot. In the checked build, the numbers
in front of the table are

    table[-1]           the address of the record of violations
    table[-2]           the number of slots of the table
    table[-3 - slot]    the end of the buffer whose first address is in the slot
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from llvmlite import ir

from gatewright.backends.llvm.index import INDEX, POINTER, Index
from gatewright.errors import KernelError

#: Positions in front of a table.
RECORD, SLOTS, ENDS = -1, -2, -3
#: Not a slot: an access to the table itself.
WHOLE_TABLE = -1
#: Positions in a record: whether there is a violation; then the address of the table, the slot,
#: the bytes from the buffer's beginning to the access, the bytes of the access, whether it
#: writes, the bytes of the buffer. From `SPARE` on there is memory for two vectors of 64 bytes.
SEEN, TABLE, SLOT, PLACE, SIZE, WRITES, BUFFER, SPARE, NUMBERS = *range(8), 24


def header(ends: Sequence[int], record: int) -> list[int]:
    """The numbers in front of a table, of the address at which the buffer of each slot ends."""
    return [*reversed(ends), len(ends), record]


class Record:
    """The first violation in some calls of kernels, if there is one."""

    def __init__(self) -> None:
        self.numbers = np.zeros(NUMBERS, np.int64)

    @property
    def address(self) -> int:
        """The record's own address, for the tables of the calls."""
        return int(self.numbers.ctypes.data)

    def raise_violation(self, name_buffer: Callable[[int, int], tuple[str, str]]) -> None:
        """Raise an error if there is a violation.

        Args:
            name_buffer: Returns the names of the kernel and the buffer, of a table's address
                and a slot.

        Raises:
            KernelError: naming the kernel, the buffer, the index and the length.
        """
        if not self.numbers[SEEN]:
            return
        table, slot, place, size, writes, buffer = map(int, self.numbers[TABLE:SPARE])
        self.numbers[SEEN] = 0
        kernel, name = name_buffer(table, slot)
        verb = "writes" if writes else "reads"
        raise KernelError(
            f"kernel {kernel} {verb} {size} bytes at byte {place} of {name}, which has {buffer} "
            "bytes; no memory was damaged. This is a fault of Gatewright: please report it "
            "with the cell, the sizes and the options"
        )


def emit_check(module: ir.Module) -> ir.Function:
    """Emit `check(table, slot, address, bytes, write)` once a module.

    It returns the address, or that of the record's spare memory where the access is out of
    bounds.
    """
    if "check" in module.globals:
        return module.globals["check"]
    kind = ir.FunctionType(POINTER, [POINTER, INDEX, POINTER, INDEX, INDEX])
    function = ir.Function(module, kind, "check")
    function.linkage = "internal"
    function.attributes.add("noinline")
    b = ir.IRBuilder(function.append_basic_block("entry"))
    table, slot, address, size, write = function.args

    def element(base: ir.Value, position: Index | int) -> ir.Value:
        return b.gep(base, [Index.of(b, position)], source_etype=INDEX)

    def read(position: Index | int) -> Index:
        return Index(b, b.load(element(table, position), typ=INDEX))

    def select(condition: ir.Value, first: Index, second: Index) -> Index:
        return Index(b, b.select(condition, first, second))

    whole = Index(b, slot) == WHOLE_TABLE
    start, position = Index(b, b.ptrtoint(table, INDEX)), Index(b, b.ptrtoint(address, INDEX))
    slots = read(SLOTS) * (INDEX.width // 8)
    # Both sides of a `select` are computed. WHOLE_TABLE as a slot is a valid position in front of
    # the table, so the number that is read there does no harm, and is not used.
    begin = select(whole, start, read(Index(b, slot)))
    end = select(whole, start + slots, read(ENDS - Index(b, slot)))
    # Addresses are compared as unsigned integers.
    inside = b.and_(b.icmp_unsigned(">=", position, begin), b.icmp_unsigned("<=", position, end))
    # The size is compared with the bytes that are left, since position + size could overflow.
    inside = b.and_(inside, b.icmp_unsigned("<=", size, end - position))
    # A masked access of no lane touches no memory.
    inside = b.or_(inside, Index(b, size) == 0)
    with b.if_then(inside):
        b.ret(address)
    record = b.inttoptr(read(RECORD), POINTER)
    # Several threads may find a violation at once: only one of them writes the record.
    first = b.cmpxchg(record, Index(b, 0), Index(b, 1), "acq_rel", "acquire")
    with b.if_then(b.extract_value(first, 1)):
        facts = {
            TABLE: start,
            SLOT: slot,
            PLACE: position - begin,
            SIZE: size,
            WRITES: write,
            BUFFER: end - begin,
        }
        for place, fact in facts.items():
            b.store(fact, element(record, place))
    b.ret(element(record, SPARE))
    return function
