"""Kernels: from a loop's nests to functions in LLVM's language.

A nest runs over blocks of one vector of units, and for each block over tiles of rows. A tile
holds, in registers, `rows x blocks` vectors for every sum of products. Its K-loop runs once
over the sources, broadcasts one number of each row and multiplies it with the packed matrices,
so a number that is loaded is used in all sums. Its epilogue computes the pointwise terms and
stores the results. Rows are independent, so each thread runs all steps on rows of its own.

Where there are fewer rows than threads could use, a team of threads shares the units instead:
each thread takes its blocks of every nest, and waits for the others before the next nest.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from llvmlite import ir

from gatewright.backends.llvm.index import INDEX, POINTER, Index
from gatewright.backends.llvm.int8_products import Int8Plan, emit_int8_products
from gatewright.backends.llvm.ir import Function, Numbers
from gatewright.backends.llvm.mathematics import POINTWISE
from gatewright.backends.llvm.pairs import PairPlan
from gatewright.backends.llvm.products import emit_products
from gatewright.backends.llvm.row_reductions import emit_row_reduction
from gatewright.backends.llvm.rows import TileRows, size_of
from gatewright.backends.llvm.threads import emit_barrier
from gatewright.graph.terms import Term
from gatewright.schedule.loop import Nest, reads_whole
from gatewright.schedule.slots import AFTER, BEFORE, OFFSETS, ROWS, STEPS, Plan
from gatewright.schedule.tiling import CHUNK_BYTES, CHUNK_ROWS, EPILOGUE_ROWS, Tile, Tiling


def emit(
    module: ir.Module,
    name: str,
    plan: Plan,
    numbers: Numbers,
    registers: int,
    rounded: Int8Plan | PairPlan | None = None,
) -> None:
    """Emit the kernel `name(table, first row, end row)` for the rows of one thread.

    With `rounded` sources its products are in bfloat16 or in int8; a kernel in int8 runs on a
    single thread.

    In addition, emit `name_team(table, first row, end row, rank, team size, barrier)` for one
    thread of a team that shares the units of these rows.
    """
    nests = {
        nest: _emit_nest(module, f"{name}_{position}", plan, nest, numbers, registers, rounded)
        for position, nest in enumerate(plan.loop.nests)
    }
    roundings = rounded.emit_roundings(module, name, plan, numbers) if rounded else {}
    kinds = [POINTER, INDEX, INDEX, INDEX, INDEX, POINTER]
    f = Function(module, f"{name}_team", kinds, numbers)
    table, first, end, rank, team, barrier = f.arguments
    f.table(table)
    rows, offsets = f.load_pointer(table, ROWS), f.load_pointer(table, OFFSETS)
    steps = f.load_index(table, STEPS)
    chunk = _chunk(f, plan, table)
    # Every other step is turned. A stream calls the kernel for each step, and exchanges these two.
    ahead = f.load_index(table, BEFORE) < f.load_index(table, AFTER)
    odd = f.select(ahead, f.index(0), f.index(1))
    with f.loop(0, steps) as step:
        # The caller lists the steps in the order in which they run.
        running = f.load_index(rows, step)
        last = f.minimum(end, running)
        offset = f.load_index(offsets, step)
        turned = step + odd - (step + odd) // 2 * 2
        # One chunk of rows at a time goes through all nests and blocks, and stays in the cache.
        with f.chunks(first, last, chunk) as (begin, until):
            for nest, function in nests.items():
                for rounding in roundings.get(nest, ()):
                    f.b.call(rounding, [table, offset, begin, until])
                f.b.call(function, [table, offset, begin, until, rank, team, turned])
                with f.b.if_then(team > 1):
                    f.b.call(emit_barrier(module, numbers), [barrier, team])
    f.b.ret_void()
    # For a single thread: rank 0 of a team of 1, which needs no barrier.
    single = Function(module, name, [POINTER, INDEX, INDEX], numbers)
    no_barrier = ir.Constant(POINTER, None)
    single.b.call(f.function, [*single.arguments, single.index(0), single.index(1), no_barrier])
    single.b.ret_void()


def _chunk(f: Function, plan: Plan, table: ir.Value) -> Index:
    """Emit the number of rows of a chunk, from the longest source of a product."""
    longest = f.index(1)
    for group in plan.all_groups():
        longest = f.maximum(size_of(f, plan, table, group.source.size), longest)
    rows = f.index(CHUNK_BYTES // f.numbers.bytes) // longest
    return f.maximum(rows // CHUNK_ROWS * CHUNK_ROWS, CHUNK_ROWS)


def _emit_nest(
    module: ir.Module,
    name: str,
    plan: Plan,
    nest: Nest,
    numbers: Numbers,
    registers: int,
    rounded: Int8Plan | PairPlan | None,
) -> ir.Function:
    """Emit the loops of a nest over one thread's blocks of units, and over the rows.

    `(table, offset, first row, end row, rank, team size, turned)`.

    A `turned` nest takes the blocks from the last to the first. So it begins with the matrices that
    the step before has left in a cache that does not hold all of them.
    """
    tiling = Tiling.of(nest, registers)
    terms = {1: _emit_terms(module, f"{name}_terms", plan, nest, numbers, 1)}
    if tiling.columns[-1][0].rows % EPILOGUE_ROWS == 0:
        several = f"{name}_terms_{EPILOGUE_ROWS}"
        terms[EPILOGUE_ROWS] = _emit_terms(module, several, plan, nest, numbers, EPILOGUE_ROWS)
    functions = {}
    for tile in tiling.tiles:
        tile_name = f"{name}_{tile.rows}x{tile.blocks}"
        functions[tile] = _emit_tile(
            module, tile_name, plan, nest, numbers, tile, terms, tiling, rounded
        )
    f = Function(module, name, [POINTER, *[INDEX] * 6], numbers)
    f.function.linkage = "internal"
    f.function.attributes.add("alwaysinline")
    table, offset, first, last, rank, team, turned = f.arguments
    f.table(table)
    units = size_of(f, plan, table, nest.size)
    blocks = (units + (numbers.lanes - 1)) // numbers.lanes
    # This thread's share of the blocks.
    begin, end = blocks * rank // team, blocks * (rank + 1) // team
    single_row = last - first == 1
    if not nest.sums:  # row by row, in the order of memory
        with f.loop(first, last) as row, f.loop(begin, end) as block:
            f.b.call(functions[Tile(1, 1)], [table, offset, row, block])
        f.b.ret_void()
        return f.function
    for order, column in enumerate(tiling.columns):
        # Of several columns the first one is for a single row; others do not use it.
        only_single = order == 0 and len(tiling.columns) > 1
        column_end = f.select(single_row, end, begin) if only_single else end
        width = column[0].blocks
        mirror = begin * 2 + (column_end - begin) // width * width - width
        with f.loop(begin, column_end, width) as position:
            block = f.select(turned == 1, mirror - position, position)
            row_begin: Index = first
            for tile in column:
                with f.loop(row_begin, last, tile.rows) as row:
                    f.b.call(functions[tile], [table, offset, row, block])
                row_begin = row.end
        begin = position.end
    f.b.ret_void()
    return f.function


def _emit_tile(
    module: ir.Module,
    name: str,
    plan: Plan,
    nest: Nest,
    numbers: Numbers,
    tile: Tile,
    terms: Mapping[int, ir.Function],
    tiling: Tiling,
    rounded: Int8Plan | PairPlan | None,
) -> ir.Function:
    """Emit one tile: `(table, offset, first row, first block)`."""
    f = Function(module, name, [POINTER, INDEX, INDEX, INDEX], numbers)
    f.function.linkage = "internal"
    f.function.attributes.add("noinline")
    table, offset, row, block = f.arguments
    f.table(table)
    within = [row + r for r in range(tile.rows)]
    rows = TileRows(f, plan, table, [offset + b for b in within], within)
    unit = block * numbers.lanes
    if nest.sums and numbers.prefetches:
        _emit_prefetches(f, plan, nest, rows, tile, unit)
    if isinstance(rounded, Int8Plan):
        sums = emit_int8_products(f, plan, rounded, nest, rows, tile, table, block, tiling)
    else:
        sums = emit_products(f, plan, nest, rows, tile, table, block, tiling, rounded)
    count = max(count for count in terms if tile.rows % count == 0)
    for r in range(0, tile.rows, count):
        for j in range(tile.blocks):
            first_unit = unit + j * numbers.lanes
            values = [sums[term, r + i, j] for i in range(count) for term in nest.sums]
            f.b.call(terms[count], [table, rows.packed[r], rows.within[r], first_unit, *values])
    f.b.ret_void()
    return f.function


def _emit_prefetches(
    f: Function, plan: Plan, nest: Nest, rows: TileRows, tile: Tile, unit: Index
) -> None:
    """Prefetch the epilogue's operands and results, while the products are summed."""
    own = set(nest.terms)
    read = [o for term in nest.terms if term not in nest.sums for o in term.operands]
    read += [other for total in nest.sums.values() for other in total.others]
    loads = [plan.loads[term] for term in read if term in plan.loads and term not in own]
    accesses = dict.fromkeys(loads, False)
    accesses |= {store: True for term in nest.terms for store in plan.stores.get(term, ())}
    for access, write in accesses.items():
        # Vectors and scratch are small, and in the cache already.
        if access.how in ("step", "before", "after"):
            for r in range(tile.rows):
                start = f.address(rows.address(access, r), unit)
                for j in range(tile.blocks):
                    f.prefetch(f.address(start, j * f.numbers.lanes), write=write)


def _emit_terms(
    module: ir.Module, name: str, plan: Plan, nest: Nest, numbers: Numbers, count: int
) -> ir.Function:
    """Emit the epilogue: the pointwise terms of `count` rows and one block, and their stores.

    `(table, first packed row, first row within the batch, first unit, the sums of each row)`. It is
    a function of its own: unrolled into every tile it would be most of the code, and of the time
    to build it.
    """
    kinds = [POINTER, INDEX, INDEX, INDEX, *[numbers.vector] * len(nest.sums) * count]
    f = Function(module, name, kinds, numbers)
    f.function.linkage = "internal"
    f.function.attributes.add("noinline")
    table, packed, within, unit, *values = f.arguments
    f.table(table)
    each = range(count)
    rows = TileRows(f, plan, table, [packed + r for r in each], [within + r for r in each])
    sums = dict(zip(itertools.product(each, nest.sums), values, strict=True))
    known: dict[tuple[int, Term], ir.Value] = {}

    def value(r: int, term: Term) -> ir.Value:
        if (r, term) not in known:
            known[r, term] = _load_operand(f, plan, nest, rows, r, term, unit)
        return known[r, term]

    for term in nest.terms:
        f.b.comment(repr(term))  # for those who read the kernel: `gatewright cells --kernel llvm`
        for r in each:
            if term in nest.sums:
                total = sums[r, term]
                for other in nest.sums[term].others:
                    total = f.b.fadd(total, value(r, other))
                known[r, term] = total
            elif reads_whole(term):
                known[r, term] = emit_row_reduction(f, plan, table, rows, r, term, unit)
            else:
                operands = [value(r, operand) for operand in term.operands]
                known[r, term] = POINTWISE[term.op](f, *operands)
            _store(f, plan, rows, r, term, unit, known[r, term])
    f.b.ret_void()
    return f.function


def _load_operand(
    f: Function, plan: Plan, nest: Nest, rows: TileRows, r: int, term: Term, unit: Index
) -> ir.Value:
    """Load one row's block of a term that the nest does not compute."""
    if term.op == "constant":
        return f.splat(term.attributes["value"])
    address = rows.address(plan.loads[term], r)
    if term.size == 1 and nest.size != 1:
        loaded = f.broadcast(f.load_scalar(address))
    else:
        loaded = f.load(f.address(address, unit))
    if term.boolean:  # 1 or 0 in memory
        return f.b.fcmp_unordered("!=", loaded, f.splat(0.0))
    return loaded


def _store(
    f: Function, plan: Plan, rows: TileRows, r: int, term: Term, unit: Index, value: ir.Value
) -> None:
    """Store one row's block of a term in all buffers that have it."""
    if term.boolean:
        value = f.b.select(value, f.splat(1.0), f.splat(0.0))
    for access in plan.stores.get(term, ()):
        address = f.address(rows.address(access, r), unit)
        f.store(f.b.fadd(value, f.load(address)) if access.add else value, address)
