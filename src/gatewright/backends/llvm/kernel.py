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

from llvmlite import ir

from gatewright.backends.llvm.ir import INDEX, POINTER, Function, Numbers
from gatewright.backends.llvm.mathematics import POINTWISE
from gatewright.backends.llvm.products import Tile, emit_products, levels
from gatewright.backends.llvm.row_reductions import emit_whole
from gatewright.backends.llvm.rows import Rows, size_of
from gatewright.backends.llvm.threads import emit_barrier
from gatewright.graph.terms import Term
from gatewright.schedule.loop import Nest, reads_whole
from gatewright.schedule.slots import OFFSETS, ROWS, STEPS, Plan

#: Bytes of a product's source that a chunk of rows may have: all blocks of units read the chunk
#: before the next one, so that it stays in the second cache, next to the matrices.
CHUNK_BYTES = 1 << 18
#: The rows of a chunk are a multiple of this, which is a multiple of the rows of every tile.
CHUNK_ROWS = 24


def emit(module: ir.Module, name: str, plan: Plan, numbers: Numbers, registers: int) -> None:
    """Emit the kernel `name(table, first row, end row)` for the rows of one thread.

    In addition, emit `name_team(table, first row, end row, rank, team size, barrier)` for one
    thread of a team that shares the units of these rows.
    """
    nests = [
        _emit_nest(module, f"{name}_{position}", plan, nest, numbers, registers)
        for position, nest in enumerate(plan.loop.nests)
    ]
    kinds = [POINTER, INDEX, INDEX, INDEX, INDEX, POINTER]
    f = Function(module, f"{name}_team", kinds, numbers)
    table, first, end, rank, team, barrier = f.arguments
    f.table(table)
    rows, offsets = f.load_pointer(table, ROWS), f.load_pointer(table, OFFSETS)
    steps = f.load_index(table, STEPS)
    chunk = _chunk(f, plan, table)
    with f.loop(f.index(0), steps) as step:
        # The caller lists the steps in the order in which they run.
        running = f.load_index(rows, step)
        last = f.b.select(f.b.icmp_signed("<", end, running), end, running)
        offset = f.load_index(offsets, step)
        # One chunk of rows at a time goes through all nests and blocks, and stays in the cache.
        with f.strides(first, last, chunk) as (begin, until):
            for nest in nests:
                f.b.call(nest, [table, offset, begin, until, rank, team])
                with f.b.if_then(f.b.icmp_signed(">", team, f.index(1))):
                    f.b.call(emit_barrier(module, numbers), [barrier, team])
    f.b.ret_void()
    # For a single thread: rank 0 of a team of 1, which needs no barrier.
    single = Function(module, name, [POINTER, INDEX, INDEX], numbers)
    no_barrier = ir.Constant(POINTER, None)
    single.b.call(f.function, [*single.arguments, single.index(0), single.index(1), no_barrier])
    single.b.ret_void()


def _chunk(f: Function, plan: Plan, table: ir.Value) -> ir.Value:
    """Emit the number of rows of a chunk, from the longest source of a product."""
    longest: ir.Value = f.index(1)
    for group in plan.all_groups():
        size = size_of(f, plan, table, group.source.size)
        longer = f.b.icmp_signed(">", size, longest)
        longest = f.b.select(longer, size, longest)
    fitting = f.b.sdiv(f.index(CHUNK_BYTES // f.numbers.bytes), longest)
    whole = f.b.mul(f.b.sdiv(fitting, f.index(CHUNK_ROWS)), f.index(CHUNK_ROWS))
    enough = f.b.icmp_signed(">", whole, f.index(CHUNK_ROWS))
    return f.b.select(enough, whole, f.index(CHUNK_ROWS))


def _emit_nest(
    module: ir.Module, name: str, plan: Plan, nest: Nest, numbers: Numbers, registers: int
) -> ir.Function:
    """Emit the loops of a nest over one thread's blocks of units, and over the rows.

    `(table, offset, first row, end row, rank, team size)`.
    """
    stairs = levels(len(nest.sums), registers)
    terms = _emit_terms(module, f"{name}_terms", plan, nest, numbers)
    functions = {
        (rows, blocks): _emit_tile(
            module,
            f"{name}_{rows}x{blocks}",
            plan,
            nest,
            numbers,
            Tile(rows, blocks),
            terms,
            registers,
        )
        for blocks, heights in stairs
        for rows in heights
    }
    f = Function(module, name, [POINTER, *[INDEX] * 5], numbers)
    f.function.linkage = "internal"
    table, offset, first, last, rank, team = f.arguments
    f.table(table)
    units = size_of(f, plan, table, nest.size)
    count = f.b.sdiv(f.b.add(units, f.index(numbers.lanes - 1)), f.index(numbers.lanes))
    done: ir.Value = f.b.sdiv(f.b.mul(count, rank), team)
    count = f.b.sdiv(f.b.mul(count, f.b.add(rank, f.index(1))), team)
    single_row = f.b.icmp_signed("==", f.b.sub(last, first), f.index(1))
    if not nest.sums:  # row by row, in the order of memory
        with f.loop(first, last) as row_index, f.loop(done, count) as block_index:
            f.b.call(functions[1, 1], [table, offset, row_index, block_index])
        f.b.ret_void()
        return f.function
    for level, (blocks, heights) in enumerate(stairs):
        # The widest tiles are for a single row.
        end = f.b.select(single_row, count, done) if level == 0 and len(stairs) > 1 else count
        with f.carrying(done, end, blocks, []) as (block, _, _):
            row: ir.Value = first
            for rows in heights:
                with f.carrying(row, last, rows, []) as (position, _, _):
                    f.b.call(functions[rows, blocks], [table, offset, position, block])
                row = f.reached
        done = f.reached
    f.b.ret_void()
    return f.function


def _emit_tile(
    module: ir.Module,
    name: str,
    plan: Plan,
    nest: Nest,
    numbers: Numbers,
    tile: Tile,
    terms: ir.Function,
    registers: int,
) -> ir.Function:
    """Emit one tile: `(table, offset, first row, first block)`."""
    f = Function(module, name, [POINTER, INDEX, INDEX, INDEX], numbers)
    f.function.linkage = "internal"
    f.function.attributes.add("noinline")
    table, offset, row, block = f.arguments
    f.table(table)
    within = [f.b.add(row, f.index(r)) for r in range(tile.rows)]
    rows = Rows(f, plan, table, [f.b.add(offset, r) for r in within], within)
    unit = f.b.mul(block, f.index(numbers.lanes))
    if nest.sums:
        _emit_prefetches(f, plan, nest, rows, tile, unit)
    sums = emit_products(f, plan, nest, rows, tile, table, block, registers)
    for r in range(tile.rows):
        for j in range(tile.blocks):
            first_unit = f.b.add(unit, f.index(j * numbers.lanes))
            values = [sums[term, r, j] for term in nest.sums]
            f.b.call(terms, [table, rows.packed[r], rows.within[r], first_unit, *values])
    f.b.ret_void()
    return f.function


def _emit_prefetches(
    f: Function, plan: Plan, nest: Nest, rows: Rows, tile: Tile, unit: ir.Value
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
                    f.prefetch(f.address(start, f.index(j * f.numbers.lanes)), write=write)


def _emit_terms(
    module: ir.Module, name: str, plan: Plan, nest: Nest, numbers: Numbers
) -> ir.Function:
    """Emit the epilogue: the pointwise terms of one row and block, and their stores.

    `(table, packed row, row within the batch, first unit, the sums of products)`. It is a
    function of its own: unrolled into every tile it would be most of the code, and of the time
    to build it.
    """
    kinds = [POINTER, INDEX, INDEX, INDEX, *[numbers.vector] * len(nest.sums)]
    f = Function(module, name, kinds, numbers)
    f.function.linkage = "internal"
    f.function.attributes.add("noinline")
    table, packed, within, unit, *values = f.arguments
    f.table(table)
    rows = Rows(f, plan, table, [packed], [within])
    sums = dict(zip(nest.sums, values, strict=True))
    known: dict[Term, ir.Value] = {}

    def value(term: Term) -> ir.Value:
        if term not in known:
            if term.op == "constant":
                known[term] = f.splat(term.attributes["value"])
            else:
                address = rows.address(plan.loads[term], 0)
                if term.size == 1 and nest.size != 1:
                    known[term] = f.broadcast(f.load_scalar(address))
                else:
                    known[term] = f.load(f.address(address, unit))
                if term.boolean:  # 1 or 0 in memory
                    known[term] = f.b.fcmp_unordered("!=", known[term], f.splat(0.0))
        return known[term]

    for term in nest.terms:
        if term in sums:
            total = sums[term]
            for other in nest.sums[term].others:
                total = f.b.fadd(total, value(other))
            known[term] = total
        elif reads_whole(term):
            known[term] = emit_whole(f, plan, table, rows, term, unit)
        else:
            known[term] = POINTWISE[term.op](f, *(value(operand) for operand in term.operands))
        for access in plan.stores.get(term, ()):
            address = f.address(rows.address(access, 0), unit)
            stored = known[term]
            if term.boolean:
                stored = f.b.select(stored, f.splat(1.0), f.splat(0.0))
            f.store(f.b.fadd(stored, f.load(address)) if access.add else stored, address)
    f.b.ret_void()
    return f.function
