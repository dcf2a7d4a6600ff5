"""Packing matrices as the K-loops read them: `pack(table, first block, end block)`.

A K-loop reads, of each product with its source, one vector of units for each number of the
source. So the matrices lie as (block of units, k, product, lane). With heads, each unit has the
numbers of its own head's source only; a block with units of several heads has one panel
(k, product, lane) for each of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from gatewright.backends.llvm.index import INDEX, POINTER, Index
from gatewright.backends.llvm.ir import Function, Numbers
from gatewright.backends.llvm.row_reductions import heads_of
from gatewright.backends.llvm.tables import KernelTable, Number, Pointer


@dataclass(frozen=True)
class PackTable(KernelTable[Pointer, Number]):
    """The table of `pack`; a `MatrixTable` follows for each product.

    Attributes:
        target: The packed matrices.
        length: K, the numbers of a head's source.
        units, head_units: The units in all, and those of a head.
        block: The numbers of a block in the packed matrices.
        products: How many matrices are packed.
    """

    target: Pointer
    length: Number
    units: Number
    head_units: Number
    block: Number
    products: Number


@dataclass(frozen=True)
class MatrixTable(KernelTable[Pointer, Number]):
    """A matrix to be packed, and its strides from head to head, unit to unit and k to k."""

    matrix: Pointer
    by_head: Number
    by_unit: Number
    by_k: Number


def emit_pack(module: ir.Module, numbers: Numbers) -> None:
    """Emit `pack(table, first block, end block)`."""
    f = Function(module, "pack", [POINTER, INDEX, INDEX], numbers)
    b, lanes = f.b, f.index(numbers.lanes)
    table, first_block, end_block = f.arguments
    f.table(table)
    slots = PackTable[ir.Value, Index].load(f, table)
    length, units, head_units = slots.length, slots.units, slots.head_units
    step = slots.products * lanes  # from one k to the next
    with f.loop(first_block, end_block) as block:
        unit = block * lanes
        left = units - unit
        full = left >= lanes
        count = f.select(full, lanes, left)
        first, last = heads_of(f, unit, units, head_units)
        one_head = b.and_(full, first == last)
        block_start = f.address(slots.target, block * slots.block)
        with f.loop(0, slots.products) as product:
            slot = PackTable.size() + product * MatrixTable.size()
            source = MatrixTable[ir.Value, Index].load(f, table, slot)
            by_unit, by_k = source.by_unit, source.by_k

            def start(unit: Index, head: Index, source: MatrixTable[ir.Value, Index]) -> ir.Value:
                within = (unit - head * head_units) * source.by_unit
                return f.address(source.matrix, head * source.by_head + within)

            panel = f.address(block_start, product * lanes)
            units_adjacent = b.and_(one_head, by_unit == 1)
            with b.if_else(units_adjacent) as (then, otherwise):
                with then:  # a vector in memory is a vector of the panel
                    vectors = start(unit, first, source)
                    with f.loop(0, length) as k:
                        vector = f.load(f.address(vectors, k * by_k))
                        f.store(vector, f.address(panel, k * step))
                with otherwise:
                    # Where each unit's numbers are adjacent, squares of lanes x lanes are
                    # transposed in registers: three times faster at H = 512 than one by one.
                    rows_adjacent = b.and_(one_head, by_k == 1)
                    squares = f.select(rows_adjacent, length, 0)
                    with f.loop(0, squares, numbers.lanes) as k:
                        corner = f.address(start(unit, first, source), k)
                        rows = [
                            f.load(f.address(corner, lane * by_unit))
                            for lane in range(numbers.lanes)
                        ]
                        for ahead, vector in enumerate(f.transposed(rows)):
                            f.store(vector, f.address(panel, (k + ahead) * step))
                    with f.loop(0, count) as lane:
                        head = (unit + lane) // head_units
                        unit_start = start(unit + lane, head, source)
                        panels_before = (head - first) * (length * step)
                        column = f.address(panel, panels_before + lane)
                        with f.loop(k.end, length) as rest:
                            number = f.load_scalar(f.address(unit_start, rest * by_k))
                            f.store_scalar(number, f.address(column, rest * step))
                    # Lanes after the last unit are multiplied and never read. Any finite
                    # number will do; what the memory holds may be slow (denormal) or trap.
                    with f.loop(count, lanes) as lane:
                        column = f.address(panel, lane)
                        with f.loop(0, length) as rest:
                            zero = ir.Constant(numbers.scalar, 0.0)
                            f.store_scalar(zero, f.address(column, rest * step))
    b.ret_void()
