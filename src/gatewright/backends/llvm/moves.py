"""Moving rows: `copy(table, first, end)` and `clear(table, first, end)`."""

from __future__ import annotations

from llvmlite import ir

from gatewright.backends.llvm.index import INDEX
from gatewright.backends.llvm.ir import POINTER, Function, Numbers

#: Slots of copy's table: where the rows go, from row to row there, where they come from, from
#: row to row, which rows are written and which are read, units, whether to add.
TARGET, TARGET_LENGTH, SOURCE, SOURCE_LENGTH, WRITTEN, READ, UNITS, ADD = range(8)


def emit_copy(module: ir.Module, numbers: Numbers) -> None:
    """Emit `copy(table, first, end)`, for the rows `first` to `end` of both indices."""
    f = Function(module, "copy", [POINTER, INDEX, INDEX], numbers)
    b = f.b
    table, first, end = f.arguments
    f.table(table)
    target, source = f.load_pointer(table, TARGET), f.load_pointer(table, SOURCE)
    lengths = f.load_index(table, TARGET_LENGTH), f.load_index(table, SOURCE_LENGTH)
    written, read = f.load_pointer(table, WRITTEN), f.load_pointer(table, READ)
    units = f.load_index(table, UNITS)
    adding = f.load_index(table, ADD) != 0
    with f.loop(first, end) as row:
        goal = f.address(target, f.load_index(written, row) * lengths[0])
        start = f.address(source, f.load_index(read, row) * lengths[1])
        with f.loop(0, units, numbers.lanes) as unit:
            place = f.address(goal, unit)
            vector = f.load(f.address(start, unit))
            # A selection, since 0 times what is there would be NaN where that is infinite.
            f.store(b.select(adding, b.fadd(f.load(place), vector), vector), place)
        with f.loop(unit.end, units) as rest:
            place = f.address(goal, rest)
            scalar = f.load_scalar(f.address(start, rest))
            total = b.select(adding, b.fadd(f.load_scalar(place), scalar), scalar)
            f.store_scalar(total, place)
    b.ret_void()


def emit_clear(module: ir.Module, numbers: Numbers) -> None:
    """Emit `clear(table, first, end)`: rows of whole vectors, by target, length and units."""
    f = Function(module, "clear", [POINTER, INDEX, INDEX], numbers)
    table, first, end = f.arguments
    f.table(table)
    target, length = f.load_pointer(table, 0), f.load_index(table, 1)
    units = f.load_index(table, 2)
    with f.loop(first, end) as row:
        start = f.address(target, row * length)
        with f.loop(0, units, numbers.lanes) as unit:
            f.store(f.splat(0.0), f.address(start, unit))
    f.b.ret_void()
