"""Packing matrices as the K-loops read them: `pack(table, first block, end block)`.

A K-loop reads, of each product with its source, one vector of units for each number of the
source. So the matrices lie as (block of units, k, product, lane). With heads, each unit has the
numbers of its own head's source only; a block with units of several heads has one panel
(k, product, lane) for each of them.
"""

from __future__ import annotations

from llvmlite import ir

from gatewright.backends.llvm.index import INDEX, Index
from gatewright.backends.llvm.ir import POINTER, Function, Numbers
from gatewright.backends.llvm.row_reductions import heads_of

#: Slots of the table: where the packed matrices go, places along the source, units, units of a
#: head, numbers of a block, products; then for each product its matrix, and the numbers from
#: head to head, from unit to unit and from place to place.
TARGET, LENGTH, UNITS, EACH, BLOCK, PRODUCTS, FREE = range(7)


def emit_pack(module: ir.Module, numbers: Numbers) -> None:
    """Emit `pack(table, first block, end block)`."""
    f = Function(module, "pack", [POINTER, INDEX, INDEX], numbers)
    b, lanes = f.b, f.index(numbers.lanes)
    table, first_block, end_block = f.arguments
    f.table(table)
    target = f.load_pointer(table, TARGET)
    length, units, products = (f.load_index(table, s) for s in (LENGTH, UNITS, PRODUCTS))
    head_units, block_numbers = f.load_index(table, EACH), f.load_index(table, BLOCK)
    step = products * lanes  # from one k to the next
    with f.loop(first_block, end_block) as block:
        unit = block * lanes
        left = units - unit
        full = left >= lanes
        count = f.select(full, lanes, left)
        first, last = heads_of(f, unit, units, head_units)
        one_head = b.and_(full, first == last)
        block_start = f.address(target, block * block_numbers)
        with f.loop(0, products) as product:
            slot = FREE + product * 4
            matrix = f.load_pointer(table, slot)
            by_head, by_unit, by_k = (f.load_index(table, slot + after) for after in (1, 2, 3))

            def start(unit: Index, head: Index) -> ir.Value:
                within = (unit - head * head_units) * by_unit
                return f.address(matrix, head * by_head + within)

            panel = f.address(block_start, product * lanes)
            units_adjacent = b.and_(one_head, by_unit == 1)
            with b.if_else(units_adjacent) as (then, otherwise):
                with then:  # a vector in memory is a vector of the panel
                    vectors = start(unit, first)
                    with f.loop(0, length) as k:
                        vector = f.load(f.address(vectors, k * by_k))
                        f.store(vector, f.address(panel, k * step))
                with otherwise:
                    # Where each unit's numbers are adjacent, squares of lanes x lanes are
                    # transposed in registers: three times faster at H = 512 than one by one.
                    rows_adjacent = b.and_(one_head, by_k == 1)
                    squares = f.select(rows_adjacent, length, 0)
                    with f.loop(0, squares, numbers.lanes) as k:
                        corner = f.address(start(unit, first), k)
                        rows = [
                            f.load(f.address(corner, f.index(lane) * by_unit))
                            for lane in range(numbers.lanes)
                        ]
                        for ahead, vector in enumerate(f.transposed(rows)):
                            f.store(vector, f.address(panel, (k + ahead) * step))
                    with f.loop(0, count) as lane:
                        head = (unit + lane) // head_units
                        source = start(unit + lane, head)
                        panels_before = (head - first) * (length * step)
                        column = f.address(panel, panels_before + lane)
                        with f.loop(k.end, length) as rest:
                            number = f.load_scalar(f.address(source, rest * by_k))
                            f.store_scalar(number, f.address(column, rest * step))
                    # Lanes after the last unit are multiplied and never read. Any finite
                    # number will do; what the memory holds may be slow (denormal) or trap.
                    with f.loop(count, lanes) as lane:
                        column = f.address(panel, lane)
                        with f.loop(0, length) as rest:
                            zero = ir.Constant(numbers.scalar, 0.0)
                            f.store_scalar(zero, f.address(column, rest * step))
    b.ret_void()
