"""Packing matrices as the K-loops read them: `pack(table, first block, end block)`.

A K-loop reads, of each product with its source, one vector of units for each number of the
source. So the matrices lie as (block of units, k, product, lane). With heads, each unit has the
numbers of its own head's source only; a block with units of several heads has one panel
(k, product, lane) for each of them. In bfloat16 a *k* is a word of two numbers; see `pairs.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from gatewright.backends.llvm.elements import Elements
from gatewright.backends.llvm.index import INDEX, POINTER, Index
from gatewright.backends.llvm.ir import Function, Numbers
from gatewright.backends.llvm.pairs import count_words, word
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


def emit_pack(
    module: ir.Module, numbers: Numbers, name: str = "pack", *, low: bool = False
) -> None:
    """Emit `pack(table, first block, end block)`, for matrices in bfloat16 if they are `low`."""
    f = Function(module, name, [POINTER, INDEX, INDEX], numbers)
    matrix_elements = Elements(f, low)
    b, lanes, columns = f.b, f.index(numbers.lanes), numbers.columns
    table, first_block, end_block = f.arguments
    f.table(table)
    slots = PackTable[ir.Value, Index].load(f, table)
    length, units, head_units = slots.length, slots.units, slots.head_units
    step = slots.products * lanes  # from one k to the next
    places = count_words(length) if numbers.pairs else length
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
            panel = f.address(block_start, product * lanes)

            def start(unit: Index, head: Index, source: MatrixTable[ir.Value, Index]) -> ir.Value:
                within = (unit - head * head_units) * source.by_unit
                return matrix_elements.address(source.matrix, head * source.by_head + within)

            def place(base: ir.Value, k: Index) -> ir.Value:
                return f.address(base, (k // columns if columns > 1 else k) * step)

            units_adjacent = b.and_(one_head, by_unit == 1)
            with b.if_else(units_adjacent) as (then, otherwise):
                with then:  # a vector in memory is a vector of the panel
                    vectors = start(unit, first, source)
                    begin = f.index(0)
                    for taken in range(columns, 0, -1):
                        with f.loop(begin, length, taken) as k:
                            rows = [
                                matrix_elements.load(
                                    matrix_elements.address(vectors, (k + i) * by_k)
                                )
                                for i in range(taken)
                            ]
                            f.store(_joined(f, rows), place(panel, k))
                        begin = k.end
                with otherwise:
                    # Where each unit's numbers are adjacent, squares of lanes x lanes are
                    # transposed in registers: three times faster at H = 512 than one by one.
                    rows_adjacent = b.and_(one_head, by_k == 1)
                    squares = f.select(rows_adjacent, length, 0)
                    with f.loop(0, squares, numbers.lanes) as k:
                        corner = matrix_elements.address(start(unit, first, source), k)
                        rows = [
                            matrix_elements.load(matrix_elements.address(corner, lane * by_unit))
                            for lane in range(numbers.lanes)
                        ]
                        turned = f.transposed(rows)
                        for ahead in range(0, numbers.lanes, columns):
                            vector = _joined(f, turned[ahead : ahead + columns])
                            f.store(vector, place(panel, k + ahead))
                    with f.loop(0, count) as lane:
                        head = (unit + lane) // head_units
                        unit_start = start(unit + lane, head, source)
                        column = f.address(panel, (head - first) * (places * step) + lane)
                        begin = k.end
                        for taken in range(columns, 0, -1):
                            with f.loop(begin, length, taken) as rest:
                                scalars = [
                                    matrix_elements.load_scalar(
                                        matrix_elements.address(unit_start, (rest + i) * by_k)
                                    )
                                    for i in range(taken)
                                ]
                                f.store_scalar(_joined(f, scalars), place(column, rest))
                            begin = rest.end
                    # Lanes after the last unit are multiplied and never read. Any finite
                    # number will do; what the memory holds may be slow (denormal) or trap.
                    with f.loop(count, lanes) as lane:
                        column = f.address(panel, lane)
                        with f.loop(0, places) as rest:
                            zero = ir.Constant(numbers.scalar, 0.0)
                            f.store_scalar(zero, f.address(column, rest * step))
    b.ret_void()


def _joined(f: Function, numbers: Sequence[ir.Value]) -> ir.Value:
    """A number as it is, or one or two numbers rounded into a word."""
    return word(f, numbers) if f.numbers.pairs else numbers[0]
