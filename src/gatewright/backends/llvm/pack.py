"""Packing a matrix for the walk of a tile: `pack(table, first, end)`, for some of the blocks.

A tile walks along a source; of each product that reads it, it wants one vector of units at
each place. So the matrices lie as (block of units, place, product, lane). With heads, each
unit has the places of its own head's source alone; a block that has units of several heads
has one panel (place, product, lane) for each of them.
"""

from __future__ import annotations

from llvmlite import ir

from gatewright.backends.llvm.ir import INDEX, POINTER, Function, Numbers
from gatewright.backends.llvm.row_reductions import heads_of

#: Slots of the table: where the packed matrices go, places along the source, units, units of a
#: head, numbers of a block, products; then for each product its matrix, and the numbers from
#: head to head, from unit to unit and from place to place.
TARGET, LENGTH, UNITS, EACH, BLOCK, PRODUCTS, FREE = range(7)


def emit_pack(module: ir.Module, numbers: Numbers) -> None:
    """Emit `pack(table, first block, end block)`."""
    f = Function(module, "pack", [POINTER, INDEX, INDEX], numbers)
    b, lanes = f.b, f.index(numbers.lanes)
    table, first, end = f.arguments
    f.table(table)
    target = f.load_pointer(table, TARGET)
    length, units, products = (f.load_index(table, s) for s in (LENGTH, UNITS, PRODUCTS))
    each, numbers_of_block = f.load_index(table, EACH), f.load_index(table, BLOCK)
    turn = b.mul(products, lanes)
    with f.loop(first, end) as block:
        unit = b.mul(block, lanes)
        left = b.sub(units, unit)
        whole = b.icmp_signed(">=", left, lanes)
        here = b.select(whole, lanes, left)
        first, last = heads_of(f, unit, units, each)
        whole = b.and_(whole, b.icmp_signed("==", first, last))
        panel = f.address(target, b.mul(block, numbers_of_block))
        with f.loop(f.index(0), products) as product:
            slot = b.add(f.index(FREE), b.mul(product, f.index(4)))
            matrix = f.load_pointer(table, slot)
            by_head, by_unit, by_place = (
                f.load_index(table, b.add(slot, f.index(behind))) for behind in (1, 2, 3)
            )

            def start(unit: ir.Value, head: ir.Value) -> ir.Value:
                within = b.mul(b.sub(unit, b.mul(head, each)), by_unit)
                return f.address(matrix, b.add(b.mul(head, by_head), within))

            panel_ = f.address(panel, b.mul(product, lanes))
            side_by_side = b.and_(whole, b.icmp_signed("==", by_unit, f.index(1)))
            with b.if_else(side_by_side) as (then, otherwise):
                with then:
                    vectors = start(unit, first)
                    with f.loop(f.index(0), length) as k:
                        vector = f.load(f.address(vectors, b.mul(k, by_place)))
                        f.store(vector, f.address(panel_, b.mul(k, turn)))
                with otherwise:
                    in_rows = b.and_(whole, b.icmp_signed("==", by_place, f.index(1)))
                    squares = b.select(in_rows, length, f.index(0))
                    with f.loop(f.index(0), squares, numbers.lanes) as k:
                        corner = f.address(start(unit, first), k)
                        rows = [
                            f.load(f.address(corner, b.mul(f.index(lane), by_unit)))
                            for lane in range(numbers.lanes)
                        ]
                        for place, vector in enumerate(f.transposed(rows)):
                            at = b.mul(b.add(k, f.index(place)), turn)
                            f.store(vector, f.address(panel_, at))
                    done = f.reached
                    with f.loop(f.index(0), here) as lane:
                        head = b.sdiv(b.add(unit, lane), each)
                        source = start(b.add(unit, lane), head)
                        behind = b.mul(b.sub(head, first), b.mul(length, turn))
                        column = f.address(panel_, b.add(behind, lane))
                        with f.loop(done, length) as k:
                            number = f.load_scalar(f.address(source, b.mul(k, by_place)))
                            f.store_scalar(number, f.address(column, b.mul(k, turn)))
                    # Lanes behind the last unit are computed and never read: any finite
                    # number will do, but memory may hold others, slow or trapping ones.
                    with f.loop(here, lanes) as lane:
                        column = f.address(panel_, lane)
                        with f.loop(f.index(0), length) as k:
                            zero = ir.Constant(numbers.scalar, 0.0)
                            f.store_scalar(zero, f.address(column, b.mul(k, turn)))
    b.ret_void()
