"""Moving rows: `copy(table, first, end)` and `clear(table, first, end)`.

`widen` and `narrow` are copies out of tensors in bfloat16 and into them.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from gatewright.backends.llvm.elements import Elements
from gatewright.backends.llvm.index import INDEX, POINTER, Index
from gatewright.backends.llvm.ir import Function, Numbers
from gatewright.backends.llvm.tables import KernelTable, Number, Pointer


@dataclass(frozen=True)
class CopyTable(KernelTable[Pointer, Number]):
    """The table of `copy`.

    Attributes:
        target, source: The first row of both sides.
        target_length, source_length: The numbers from row to row.
        written, read: The index arrays of the rows that are written and read.
        units: The numbers of a row that are copied.
        add: 1 to add to what is there, 0 to replace it.
    """

    target: Pointer
    target_length: Number
    source: Pointer
    source_length: Number
    written: Pointer
    read: Pointer
    units: Number
    add: Number


@dataclass(frozen=True)
class ClearTable(KernelTable[Pointer, Number]):
    """The table of `clear`: the first row, the numbers from row to row, those to be cleared."""

    target: Pointer
    length: Number
    units: Number


def emit_copy(
    module: ir.Module,
    numbers: Numbers,
    name: str = "copy",
    *,
    from_low: bool = False,
    to_low: bool = False,
) -> None:
    """Emit `copy(table, first, end)`, for the rows `first` to `end` of both indices.

    Either side may be in bfloat16.
    """
    f = Function(module, name, [POINTER, INDEX, INDEX], numbers)
    b, goals, starts = f.b, Elements(f, to_low), Elements(f, from_low)
    table, first, end = f.arguments
    f.table(table)
    slots = CopyTable[ir.Value, Index].load(f, table)
    adding = slots.add != 0
    with f.loop(first, end) as row:
        goal = goals.address(slots.target, f.load_index(slots.written, row) * slots.target_length)
        start = starts.address(slots.source, f.load_index(slots.read, row) * slots.source_length)
        with f.loop(0, slots.units, numbers.lanes) as unit:
            place = goals.address(goal, unit)
            vector = starts.load(starts.address(start, unit))
            # Selected, not multiplied by 0: memory that is not added to may hold NaN.
            total = b.select(adding, b.fadd(goals.load(place), vector), vector)
            goals.store(total, place)
        with f.loop(unit.end, slots.units) as rest:
            place = goals.address(goal, rest)
            scalar = starts.load_scalar(starts.address(start, rest))
            total = b.select(adding, b.fadd(goals.load_scalar(place), scalar), scalar)
            goals.store_scalar(total, place)
    b.ret_void()


def emit_clear(module: ir.Module, numbers: Numbers) -> None:
    """Emit `clear(table, first, end)`, for rows of whole vectors."""
    f = Function(module, "clear", [POINTER, INDEX, INDEX], numbers)
    table, first, end = f.arguments
    f.table(table)
    slots = ClearTable[ir.Value, Index].load(f, table)
    with f.loop(first, end) as row:
        start = f.address(slots.target, row * slots.length)
        with f.loop(0, slots.units, numbers.lanes) as unit:
            f.store(f.splat(0.0), f.address(start, unit))
    f.b.ret_void()
