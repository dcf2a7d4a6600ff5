"""The gradient of a matrix: over all packed rows, the left side times the right transposed.

One function, `outer(table, first, end)`, for the rows `first` to `end` of the result: a tile
of the result stays in registers while it walks down a block of packed rows, broadcasts a few
numbers of the left side and multiplies them with vectors of the right. Which row of the right
belongs to a packed row is said by an index, so that states are read where the loop left them.
"""

from __future__ import annotations

from llvmlite import ir

from gatewright.backends.llvm.ir import INDEX, POINTER, Function, Numbers

#: Slots of the table: addresses and row lengths of left, right and result; packed rows; blocks
#: of one vector in a row of the result; the index of the right row of each packed one.
LEFT, LEFT_LENGTH, RIGHT, RIGHT_LENGTH, RESULT, RESULT_LENGTH, COUNT, BLOCKS, ROWS = range(9)
#: Packed rows that are walked through at a time, so that they stay in the cache.
DEPTH = 128


def emit_outer(module: ir.Module, numbers: Numbers, registers: int) -> None:
    """Emit `outer(table, first, end)`."""
    wide = 4 if registers >= 32 else 2
    shapes = [(6, wide), (1, wide), (6, 1), (1, 1)]
    tiles = {shape: _emit_tile(module, numbers, *shape) for shape in shapes}
    f = Function(module, "outer", [POINTER, INDEX, INDEX], numbers)
    b = f.b
    table, first, end = f.arguments
    f.table(table)
    left, right, result = (f.load_pointer(table, slot) for slot in (LEFT, RIGHT, RESULT))
    lengths = [f.load_index(table, s) for s in (LEFT_LENGTH, RIGHT_LENGTH, RESULT_LENGTH)]
    count, blocks = f.load_index(table, COUNT), f.load_index(table, BLOCKS)
    rows = f.load_pointer(table, ROWS)
    whole = b.add(count, f.index(DEPTH - 1))
    with f.loop(f.index(0), b.mul(b.sdiv(whole, f.index(DEPTH)), f.index(DEPTH)), DEPTH) as n:
        rest = b.sub(count, n)
        depth = b.select(b.icmp_signed("<", rest, f.index(DEPTH)), rest, f.index(DEPTH))
        done: ir.Value = f.index(0)
        for width in (wide, 1):
            with f.carrying(done, blocks, width, []) as (block, _, _):
                unit = b.mul(block, f.index(numbers.lanes))
                row: ir.Value = first
                for height in (6, 1):
                    with f.carrying(row, end, height, []) as (at, _, _):
                        b.call(
                            tiles[height, width],
                            [
                                table,
                                f.address(left, b.add(b.mul(n, lengths[0]), at)),
                                f.address(right, unit),
                                f.address(result, b.add(b.mul(at, lengths[2]), unit)),
                                f.address(rows, n, INDEX),
                                n,
                                *lengths,
                                depth,
                            ],
                        )
                    row = f.reached
            done = f.reached
    b.ret_void()


def _emit_tile(module: ir.Module, numbers: Numbers, height: int, width: int) -> ir.Function:
    """Emit one tile.

    `(table, left, right, result, right rows, first packed row, row lengths, packed rows)`.
    """
    name = f"outer_{height}x{width}"
    f = Function(module, name, [POINTER] * 5 + [INDEX] * 5, numbers)
    f.function.linkage = "internal"
    f.function.attributes.add("noinline")
    table, *pointers, first, left_length, right_length, result_length, depth = f.arguments
    slots = LEFT, RIGHT, RESULT, ROWS
    left, right, result, rows = [
        f.belongs(pointer, table, slot) for pointer, slot in zip(pointers, slots, strict=True)
    ]
    places = [(r, j) for r in range(height) for j in range(width)]
    addresses = [
        f.address(result, f.b.add(f.b.mul(f.index(r), result_length), f.index(j * numbers.lanes)))
        for r, j in places
    ]
    # What stands in the result at first may be anything.
    begins = f.b.icmp_signed("==", first, f.index(0))
    carried = [f.b.select(begins, f.splat(0.0), f.load(one)) for one in addresses]
    with f.carrying(f.index(0), depth, 1, carried) as (n, totals, tell):
        down = f.b.mul(f.load_index(rows, n), right_length)
        row = [
            f.load(f.address(right, f.b.add(down, f.index(j * numbers.lanes))))
            for j in range(width)
        ]
        start = f.b.mul(n, left_length)
        # A row of either side is far from the next: without a hint each line is waited for.
        f.prefetch(f.address(left, f.b.mul(f.b.add(n, f.index(DEPTH)), left_length)))
        numbers_ = [
            f.broadcast(f.load_scalar(f.address(left, f.b.add(start, f.index(r)))))
            for r in range(height)
        ]
        tell(
            [
                f.call("llvm.fma", numbers_[r], row[j], total)
                for (r, j), total in zip(places, totals, strict=True)
            ]
        )
    for address, total in zip(addresses, carried, strict=True):
        f.store(total, address)
    f.b.ret_void()
    return f.function
