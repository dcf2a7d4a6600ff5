"""Packing a matrix for the walk of a tile: `pack(table, first, end)`, for some of the blocks.

A tile walks along a source; of each product that reads it, it wants one vector of units at
each place. So the matrices lie as (block of units, place, product, lane).
"""

from __future__ import annotations

from llvmlite import ir

from gatewright.backends.llvm.vector import INDEX, POINTER, Function, Numbers

#: Slots of the table: where the packed matrices go, places along the source, units, products;
#: then for each product its matrix, the numbers from unit to unit and from place to place.
TARGET, LENGTH, UNITS, PRODUCTS, FREE = range(5)


def emit_pack(module: ir.Module, numbers: Numbers) -> None:
    """Emit `pack(table, first block, end block)`."""
    f = Function(module, "pack", [POINTER, INDEX, INDEX], numbers)
    b, lanes = f.b, f.index(numbers.lanes)
    table, first, end = f.arguments
    target = f.load_pointer(table, TARGET)
    length, units, products = (f.load_index(table, s) for s in (LENGTH, UNITS, PRODUCTS))
    turn = b.mul(products, lanes)
    with f.loop(first, end) as block:
        unit = b.mul(block, lanes)
        left = b.sub(units, unit)
        whole = b.icmp_signed(">=", left, lanes)
        here = b.select(whole, lanes, left)
        panel = f.address(target, b.mul(b.mul(block, length), turn))
        with f.loop(f.index(0), products) as product:
            slot = b.add(f.index(FREE), b.mul(product, f.index(3)))
            matrix = f.load_pointer(table, slot)
            by_unit = f.load_index(table, b.add(slot, f.index(1)))
            by_place = f.load_index(table, b.add(slot, f.index(2)))
            start = f.address(matrix, b.mul(unit, by_unit))
            panel_ = f.address(panel, b.mul(product, lanes))
            side_by_side = b.and_(whole, b.icmp_signed("==", by_unit, f.index(1)))
            with b.if_else(side_by_side) as (then, otherwise):
                with then, f.loop(f.index(0), length) as k:
                    vector = f.load(f.address(start, b.mul(k, by_place)))
                    f.store(vector, f.address(panel_, b.mul(k, turn)))
                with otherwise:
                    with f.loop(f.index(0), here) as lane:
                        source = f.address(start, b.mul(lane, by_unit))
                        column = f.address(panel_, lane)
                        with f.loop(f.index(0), length) as k:
                            number = f.load_scalar(f.address(source, b.mul(k, by_place)))
                            b.store(number, f.address(column, b.mul(k, turn)))
                    # Lanes behind the last unit are computed and never read: any finite
                    # number will do, but memory may hold others, slow or trapping ones.
                    with f.loop(here, lanes) as lane:
                        column = f.address(panel_, lane)
                        with f.loop(f.index(0), length) as k:
                            zero = ir.Constant(numbers.scalar, 0.0)
                            b.store(zero, f.address(column, b.mul(k, turn)))
    b.ret_void()
