"""The gradients of what is the same at each step: of matrices, and of vectors such as biases.

They are sums over all packed rows, formed after the loop, at once.

`outer(table, first, end)` computes the rows `first` to `end` of a matrix's gradient, the product
of the left side, transposed, with the right side. A tile of the result stays in registers while
it runs down a block of packed rows, broadcasts some numbers of the left side and multiplies them
with vectors of the right. An index says which row of the right belongs to a packed row, so that
states are read where the loop left them.

`totals(table, first block, end block)` computes some vectors of units of a vector's gradient,
the sum of the packed rows.
"""

from __future__ import annotations

from llvmlite import ir

from gatewright.backends.llvm.index import INDEX, Index
from gatewright.backends.llvm.ir import POINTER, Function, Numbers
from gatewright.schedule.tiling import (
    GRADIENT_DEPTH,
    TOTAL_BLOCKS,
    TOTAL_DEPTH,
    Tile,
    gradient_tile,
)

#: Slots of outer's table: addresses and row lengths of left, right and result; packed rows; blocks
#: of one vector in a row of the result; the index of the right row of each packed one.
LEFT, LEFT_LENGTH, RIGHT, RIGHT_LENGTH, RESULT, RESULT_LENGTH, COUNT, BLOCKS, ROWS = range(9)


def emit_outer(module: ir.Module, numbers: Numbers, registers: int) -> None:
    """Emit `outer(table, first, end)`."""
    tile = gradient_tile(registers)
    shapes = [(tile.rows, tile.blocks), (1, tile.blocks), (tile.rows, 1), (1, 1)]
    tiles = {shape: _emit_tile(module, numbers, Tile(*shape)) for shape in shapes}
    f = Function(module, "outer", [POINTER, INDEX, INDEX], numbers)
    table, first, end = f.arguments
    f.table(table)
    left, right, result = (f.load_pointer(table, slot) for slot in (LEFT, RIGHT, RESULT))
    lengths = [f.load_index(table, s) for s in (LEFT_LENGTH, RIGHT_LENGTH, RESULT_LENGTH)]
    count, blocks = f.load_index(table, COUNT), f.load_index(table, BLOCKS)
    rows = f.load_pointer(table, ROWS)
    depth_end = (count + (GRADIENT_DEPTH - 1)) // GRADIENT_DEPTH * GRADIENT_DEPTH
    with f.loop(0, depth_end, GRADIENT_DEPTH) as n:
        depth = f.minimum(count - n, GRADIENT_DEPTH)
        block_begin = f.index(0)
        for width in (tile.blocks, 1):
            with f.loop(block_begin, blocks, width) as block:
                unit = block * numbers.lanes
                row_begin: Index = first
                for height in (tile.rows, 1):
                    with f.loop(row_begin, end, height) as row:
                        f.b.call(
                            tiles[height, width],
                            [
                                table,
                                f.address(left, n * lengths[0] + row),
                                f.address(right, unit),
                                f.address(result, row * lengths[2] + unit),
                                f.address(rows, n, INDEX),
                                n,
                                *lengths,
                                depth,
                            ],
                        )
                    row_begin = row.end
            block_begin = block.end
    f.b.ret_void()


def _emit_tile(module: ir.Module, numbers: Numbers, tile: Tile) -> ir.Function:
    """Emit the function of one tile.

    `(table, left, right, result, right rows, first packed row, row lengths, packed rows)`.
    """
    name = f"outer_{tile.rows}x{tile.blocks}"
    f = Function(module, name, [POINTER] * 5 + [INDEX] * 5, numbers)
    f.function.linkage = "internal"
    f.function.attributes.add("noinline")
    table, *pointers, first, left_length, right_length, result_length, depth = f.arguments
    slots = LEFT, RIGHT, RESULT, ROWS
    left, right, result, rows = [
        f.belongs(pointer, table, slot) for pointer, slot in zip(pointers, slots, strict=True)
    ]
    lanes = numbers.lanes
    places = [(r, j) for r in range(tile.rows) for j in range(tile.blocks)]
    addresses = [f.address(result, f.index(r) * result_length + j * lanes) for r, j in places]
    # Before the first packed row the result's memory may hold anything, also NaN.
    begins = first == 0
    carried = [f.b.select(begins, f.splat(0.0), f.load(address)) for address in addresses]
    with f.loop(0, depth, 1, carried) as n:
        down = f.load_index(rows, n) * right_length
        vectors = [f.load(f.address(right, down + j * lanes)) for j in range(tile.blocks)]
        start = n * left_length
        # A row of either side is far from the next, so the processor foresees no line itself.
        f.prefetch(f.address(left, (n + GRADIENT_DEPTH) * left_length))
        scalars = [f.broadcast(f.load_scalar(f.address(left, start + r))) for r in range(tile.rows)]
        n.update(
            [
                f.fma(scalars[r], vectors[j], total)
                for (r, j), total in zip(places, n.values, strict=True)
            ]
        )
    for address, total in zip(addresses, n.results, strict=True):
        f.store(total, address)
    f.b.ret_void()
    return f.function


#: Slots of totals' table: the rows, numbers from row to row, how many rows, the sums, how many
#: sums.
SOURCE, LENGTH, ROW_COUNT, SUMS, UNITS = range(5)


def emit_totals(module: ir.Module, numbers: Numbers) -> None:
    """Emit `totals(table, first block, end block)`, blocks of one vector in a row."""
    f = Function(module, "totals", [POINTER, INDEX, INDEX], numbers)
    table, first, end = f.arguments
    f.table(table)
    units = f.load_index(table, UNITS)
    source, result = f.load_pointer(table, SOURCE), f.load_pointer(table, SUMS)
    length, count = f.load_index(table, LENGTH), f.load_index(table, ROW_COUNT)
    block_begin: Index = first
    for width in (TOTAL_BLOCKS, 1):
        with f.loop(block_begin, end, width) as block:
            unit = block * numbers.lanes
            offsets = [unit + j * numbers.lanes for j in range(width)]
            begin, totals = f.index(0), [f.splat(0.0)] * width
            for depth in (TOTAL_DEPTH, 1):
                with f.loop(begin, count, depth, totals) as n:
                    with f.loop(0, depth, 1, [f.splat(0.0)] * width) as d:
                        row = (n + d) * length
                        vectors = [f.load(f.address(source, row + offset)) for offset in offsets]
                        d.update([f.b.fadd(s, v) for s, v in zip(d.values, vectors, strict=True)])
                    n.update([f.b.fadd(a, p) for a, p in zip(n.values, d.results, strict=True)])
                begin, totals = n.end, n.results
            for offset, total in zip(offsets, totals, strict=True):
                # The memory after the sums may belong to another call.
                f.store_first(total, f.address(result, offset), units - offset)
        block_begin = block.end
    f.b.ret_void()
