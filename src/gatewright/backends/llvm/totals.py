"""The gradient of what is the same at each step: the sum of rows, `totals(table, first, end)`."""

from __future__ import annotations

from llvmlite import ir

from gatewright.backends.llvm.ir import INDEX, POINTER, Function, Numbers

#: Slots of the table: the rows, numbers from row to row, how many rows, the sums, how many sums.
SOURCE, LENGTH, COUNT, RESULT, UNITS = range(5)
#: Rows that are added up by themselves: a sum of sums is more exact than one long sum.
DEPTH = 64


def emit_totals(module: ir.Module, numbers: Numbers) -> None:
    """Emit `totals(table, first block, end block)`, blocks of one vector in a row."""
    f = Function(module, "totals", [POINTER, INDEX, INDEX], numbers)
    table, first, end = f.arguments
    f.table(table)
    units = f.load_index(table, UNITS)
    source, result = f.load_pointer(table, SOURCE), f.load_pointer(table, RESULT)
    length, count = f.load_index(table, LENGTH), f.load_index(table, COUNT)
    block: ir.Value = first
    for width in (8, 1):
        with f.carrying(block, end, width, []) as (at, _, _):
            unit = f.b.mul(at, f.index(numbers.lanes))
            offsets = [f.b.add(unit, f.index(j * numbers.lanes)) for j in range(width)]
            totals = [f.splat(0.0)] * width
            begin: ir.Value = f.index(0)
            for depth in (DEPTH, 1):
                with f.carrying(begin, count, depth, totals) as (n, values, tell):
                    part = [f.splat(0.0)] * width
                    with f.carrying(f.index(0), f.index(depth), 1, part) as (d, sums, inner):
                        row = f.b.mul(f.b.add(n, d), length)
                        vectors = [f.load(f.address(source, f.b.add(row, o))) for o in offsets]
                        inner([f.b.fadd(s, v) for s, v in zip(sums, vectors, strict=True)])
                    tell([f.b.fadd(a, p) for a, p in zip(values, part, strict=True)])
                begin = f.reached
            for offset, total in zip(offsets, totals, strict=True):
                # What stands behind the sums may be those of another call.
                f.store_first(total, f.address(result, offset), f.b.sub(units, offset))
        block = f.reached
    f.b.ret_void()
