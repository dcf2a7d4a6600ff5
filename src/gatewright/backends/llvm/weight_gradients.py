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

from dataclasses import dataclass

from llvmlite import ir

from gatewright.backends.llvm.index import INDEX, POINTER, Index
from gatewright.backends.llvm.ir import Function, Numbers
from gatewright.backends.llvm.pairs import add_products, count_words, word
from gatewright.backends.llvm.tables import KernelTable, Number, Pointer
from gatewright.schedule.tiling import (
    GRADIENT_DEPTH,
    TOTAL_BLOCKS,
    TOTAL_DEPTH,
    Tile,
    gradient_tile,
)


@dataclass(frozen=True)
class OuterTable(KernelTable[Pointer, Number]):
    """The table of `outer`; a `RightTable` follows for each product with the left side.

    Attributes:
        left, left_length: The first row of the left side, and the numbers from row to row.
        count: The number of packed rows.
        products: The number of products.
        words, words_length: In bfloat16, memory for the left side of `GRADIENT_DEPTH` packed rows
            as words, and the words from one to the next two packed rows.
    """

    left: Pointer
    left_length: Number
    count: Number
    products: Number
    words: Pointer
    words_length: Number


@dataclass(frozen=True)
class RightTable(KernelTable[Pointer, Number]):
    """The right side of a product, and its result.

    Attributes:
        right, result: The first rows.
        right_length, result_length: The numbers from row to row.
        blocks: The vectors in a row of the result.
        rows: The row of the right for each packed row.
    """

    right: Pointer
    right_length: Number
    result: Pointer
    result_length: Number
    blocks: Number
    rows: Pointer


def emit_outer(module: ir.Module, numbers: Numbers, registers: int) -> None:
    """Emit `outer(table, first, end)`.

    A block of packed rows of the left side goes through all products that have it, such as those
    with the inputs and with the states, while it is in the cache. In bfloat16 both sides are first
    rounded to words: the left side in memory that all threads share, each in columns of its own;
    the right side, some vectors at a time, on the stack.
    """
    tile = gradient_tile(registers)
    emit_tile = _emit_tile_of_words if numbers.pairs else _emit_tile
    shapes = [(tile.rows, tile.blocks), (1, tile.blocks), (tile.rows, 1), (1, 1)]
    tiles = {shape: emit_tile(module, numbers, Tile(*shape)) for shape in shapes}
    f = Function(module, "outer", [POINTER, INDEX, INDEX], numbers)
    table, first, end = f.arguments
    f.table(table)
    slots = OuterTable[ir.Value, Index].load(f, table)
    panel = _emit_panel(f, tile) if numbers.pairs else None

    def operands(
        right_slots: RightTable[ir.Value, Index],
        slot: Index,
        n: Index,
        depth: Index,
        row: Index,
        unit: Index,
    ) -> list[ir.Value]:
        """The arguments of a tile."""
        if panel is not None:
            left, right = f.address(slots.words, row), panel
        else:
            left = f.address(slots.left, n * slots.left_length + row)
            right = f.address(right_slots.right, unit)
        result = f.address(right_slots.result, row * right_slots.result_length + unit)
        if panel is not None:
            lengths = slots.words_length, right_slots.result_length
            return [table, left, right, result, slot, n, *lengths, count_words(depth)]
        rows = f.address(right_slots.rows, n, INDEX)
        lengths_of_rows = slots.left_length, right_slots.right_length, right_slots.result_length
        return [table, left, right, result, rows, slot, n, *lengths_of_rows, depth]

    depth_end = (slots.count + (GRADIENT_DEPTH - 1)) // GRADIENT_DEPTH * GRADIENT_DEPTH
    with f.loop(0, depth_end, GRADIENT_DEPTH) as n:
        depth = f.minimum(slots.count - n, GRADIENT_DEPTH)
        if panel is not None:
            _emit_left_words(f, slots, n, depth, first, end)
        with f.loop(0, slots.products) as product:
            slot = product * RightTable.size() + OuterTable.size()
            right = RightTable[ir.Value, Index].load(f, table, slot)
            block_begin = f.index(0)
            for width in (tile.blocks, 1):
                with f.loop(block_begin, right.blocks, width) as block:
                    unit = block * numbers.lanes
                    if panel is not None:
                        _emit_right_words(f, right, n, depth, unit, panel, width)
                    row_begin: Index = first
                    for height in (tile.rows, 1):
                        with f.loop(row_begin, end, height) as row:
                            arguments = operands(right, slot, n, depth, row, unit)
                            f.b.call(tiles[height, width], arguments)
                        row_begin = row.end
                block_begin = block.end
    f.b.ret_void()


def _emit_tile(module: ir.Module, numbers: Numbers, tile: Tile) -> ir.Function:
    """Emit the function of one tile.

    `(table, left, right, result, right rows, slot of the right's table, first packed row, row
    lengths, packed rows)`.
    """
    name = f"outer_{tile.rows}x{tile.blocks}"
    f = Function(module, name, [POINTER] * 5 + [INDEX] * 6, numbers)
    f.function.linkage = "internal"
    f.function.attributes.add("noinline")
    table, left, *pointers, slot, first, left_length, right_length, result_length, depth = (
        f.arguments
    )
    f.belongs(left, table, OuterTable.slot("left"))
    right, result, rows = [
        f.belongs(pointer, table, slot + RightTable.slot(name))
        for pointer, name in zip(pointers, ("right", "result", "rows"), strict=True)
    ]
    lanes = numbers.lanes
    places = [(r, j) for r in range(tile.rows) for j in range(tile.blocks)]
    addresses = [f.address(result, r * result_length + j * lanes) for r, j in places]
    # Before the first packed row the result's memory may hold anything, also NaN.
    begins = first == 0
    carried = [f.b.select(begins, f.splat(0.0), f.load(address)) for address in addresses]
    with f.loop(0, depth, 1, carried) as n:
        down = f.load_index(rows, n) * right_length
        vectors = [f.load(f.address(right, down + j * lanes)) for j in range(tile.blocks)]
        start = n * left_length
        # Rows are too far apart for the processor's own prefetching. With this and the prefetches
        # of the loop, an LSTM trained at (32, 128, 128, 128) takes 36.0 ms instead of 37.3.
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


# In bfloat16: both sides are rounded to words of two packed rows, block by block.
def _emit_panel(f: Function, tile: Tile) -> ir.Value:
    """Emit the memory on the stack for the right side's words."""
    numbers = f.numbers
    kind = ir.ArrayType(numbers.vector, GRADIENT_DEPTH // 2 * tile.blocks)
    return f.trusted(f.b.write(POINTER, f"alloca {kind}, align {numbers.bytes * numbers.lanes}"))


def _emit_left_words(
    f: Function,
    slots: OuterTable[ir.Value, Index],
    n: Index,
    depth: Index,
    first: Index,
    end: Index,
) -> None:
    """Round a thread's columns of the left side to words."""
    begin = f.index(0)
    for taken in (2, 1):
        with f.loop(begin, depth, taken) as d:
            starts = [
                f.address(slots.left, (n + d + ahead) * slots.left_length) for ahead in range(taken)
            ]
            target = f.address(slots.words, d // 2 * slots.words_length)
            with f.loop(first, end, f.numbers.lanes) as row:
                vectors = [f.load(f.address(start, row)) for start in starts]
                f.store(word(f, vectors), f.address(target, row))
            # The columns after the last one are another thread's, or none.
            left = end - row.end
            vectors = [f.load_first(f.address(start, row.end), left, 0.0) for start in starts]
            f.store_first(word(f, vectors), f.address(target, row.end), left)
        begin = d.end


def _emit_right_words(
    f: Function,
    slots: RightTable[ir.Value, Index],
    n: Index,
    depth: Index,
    unit: Index,
    panel: ir.Value,
    width: int,
) -> None:
    """Round `width` vectors of each row of the right side to words."""
    lanes = f.numbers.lanes
    begin = f.index(0)
    for taken in (2, 1):
        with f.loop(begin, depth, taken) as d:
            starts = [
                f.address(
                    slots.right, f.load_index(slots.rows, n + d + ahead) * slots.right_length + unit
                )
                for ahead in range(taken)
            ]
            target = f.address(panel, d // 2 * (width * lanes))
            for j in range(width):
                vectors = [f.load(f.address(start, j * lanes)) for start in starts]
                f.store(word(f, vectors), f.address(target, j * lanes))
        begin = d.end


def _emit_tile_of_words(module: ir.Module, numbers: Numbers, tile: Tile) -> ir.Function:
    """Emit the function of one tile.

    `(table, left words, right words, result, slot of the right's table, first packed row, row
    lengths, words)`.
    """
    name = f"outer_{tile.rows}x{tile.blocks}"
    f = Function(module, name, [POINTER] * 4 + [INDEX] * 5, numbers)
    f.function.linkage = "internal"
    f.function.attributes.add("noinline")
    table, left, right, result, slot, first, left_length, result_length, words = f.arguments
    f.belongs(left, table, OuterTable.slot("words"))
    f.trusted(right)  # the panel on the stack, of `GRADIENT_DEPTH` rows
    f.belongs(result, table, slot + RightTable.slot("result"))
    lanes = numbers.lanes
    places = [(r, j) for r in range(tile.rows) for j in range(tile.blocks)]
    addresses = [f.address(result, r * result_length + j * lanes) for r, j in places]
    # Before the first packed row the result's memory may hold anything, also NaN.
    begins = first == 0
    carried = [f.b.select(begins, f.splat(0.0), f.load(address)) for address in addresses]
    with f.loop(0, words, 1, carried) as w:
        start = w * (tile.blocks * lanes)
        vectors = [f.load(f.address(right, start + j * lanes)) for j in range(tile.blocks)]
        across = w * left_length
        sums = dict(zip(places, w.values, strict=True))
        for r in range(tile.rows):
            factor = f.broadcast(f.load_scalar(f.address(left, across + r)))
            for j in range(tile.blocks):
                sums[r, j] = add_products(f, sums[r, j], factor, vectors[j])
        w.update([sums[place] for place in places])
    for address, total in zip(addresses, w.results, strict=True):
        f.store(total, address)
    f.b.ret_void()
    return f.function


@dataclass(frozen=True)
class TotalsTable(KernelTable[Pointer, Number]):
    """The table of `totals`: the rows, the numbers from row to row, how many rows there are;
    the sums, and how many numbers they are."""

    source: Pointer
    length: Number
    count: Number
    result: Pointer
    units: Number


def emit_totals(module: ir.Module, numbers: Numbers) -> None:
    """Emit `totals(table, first block, end block)`, blocks of one vector in a row."""
    f = Function(module, "totals", [POINTER, INDEX, INDEX], numbers)
    table, first, end = f.arguments
    f.table(table)
    slots = TotalsTable[ir.Value, Index].load(f, table)
    block_begin: Index = first
    for width in (TOTAL_BLOCKS, 1):
        with f.loop(block_begin, end, width) as block:
            unit = block * numbers.lanes
            offsets = [unit + j * numbers.lanes for j in range(width)]
            begin, totals = f.index(0), [f.splat(0.0)] * width
            for depth in (TOTAL_DEPTH, 1):
                with f.loop(begin, slots.count, depth, totals) as n:
                    with f.loop(0, depth, 1, [f.splat(0.0)] * width) as d:
                        row = (n + d) * slots.length
                        vectors = [
                            f.load(f.address(slots.source, row + offset)) for offset in offsets
                        ]
                        d.update([f.b.fadd(s, v) for s, v in zip(d.values, vectors, strict=True)])
                    n.update([f.b.fadd(a, p) for a, p in zip(n.values, d.results, strict=True)])
                begin, totals = n.end, n.results
            for offset, total in zip(offsets, totals, strict=True):
                # The memory after the sums may belong to another call.
                f.store_first(total, f.address(slots.result, offset), slots.units - offset)
        block_begin = block.end
    f.b.ret_void()
