"""Kernels: from a loop's nests to functions in LLVM's language.

A nest runs over blocks of one vector of units, and for each over tiles of rows. A tile holds,
in registers, `rows x blocks` vectors for every sum of products. It walks once along the
sources, broadcasts one number of each row and multiplies it with the packed matrices, so a
number that is loaded is used in all sums; then it computes the pointwise terms and stores
what is wanted. Rows do not touch, so each thread walks through all steps with rows of its own.

Where there are fewer rows than threads have use for, a team shares the units instead: each
thread takes its blocks of every nest, and waits for the others before the next one.
"""

from __future__ import annotations

from llvmlite import ir

from gatewright.backends.llvm.index import INDEX, POINTER, Index
from gatewright.backends.llvm.ir import Function, Numbers
from gatewright.backends.llvm.mathematics import POINTWISE
from gatewright.backends.llvm.products import emit_products
from gatewright.backends.llvm.row_reductions import emit_row_reduction
from gatewright.backends.llvm.rows import Rows, size_of
from gatewright.backends.llvm.threads import emit_barrier
from gatewright.graph.terms import Term
from gatewright.schedule.loop import Nest, reads_whole
from gatewright.schedule.slots import OFFSETS, ROWS, STEPS, Plan
from gatewright.schedule.tiling import CHUNK_BYTES, CHUNK_ROWS, Tile, Tiling


def emit(module: ir.Module, name: str, plan: Plan, numbers: Numbers, registers: int) -> None:
    """Emit the kernel `name(table, first row, end row)` for the rows of one thread.

    Beside it, `name_team(table, first row, end row, thread, threads, barrier)` for one thread
    of a team that shares the units of these rows.
    """
    walks = [
        _emit_nest(module, f"{name}_{position}", plan, nest, numbers, registers)
        for position, nest in enumerate(plan.loop.nests)
    ]
    kinds = [POINTER, INDEX, INDEX, INDEX, INDEX, POINTER]
    f = Function(module, f"{name}_team", kinds, numbers)
    table, first, end, me, team, barrier = f.arguments
    f.table(table)
    rows, offsets = f.load_pointer(table, ROWS), f.load_pointer(table, OFFSETS)
    steps = f.load_index(table, STEPS)
    chunk = _chunk(f, plan, table)
    with f.loop(f.index(0), steps) as turn:
        # The caller lists the steps in the order in which they run.
        running = f.load_index(rows, turn)
        last = f.b.select(f.b.icmp_signed("<", end, running), end, running)
        offset = f.load_index(offsets, turn)
        # A few rows at a time go through all nests and all blocks: they stay in the cache.
        with f.chunks(first, last, chunk) as (begin, until):
            for walk in walks:
                f.b.call(walk, [table, offset, begin, until, me, team])
                with f.b.if_then(f.b.icmp_signed(">", team, f.index(1))):
                    f.b.call(emit_barrier(module, numbers), [barrier, team])
    f.b.ret_void()
    alone = Function(module, name, [POINTER, INDEX, INDEX], numbers)
    nobody = ir.Constant(POINTER, None)
    alone.b.call(f.function, [*alone.arguments, alone.index(0), alone.index(1), nobody])
    alone.b.ret_void()


def _chunk(f: Function, plan: Plan, table: ir.Value) -> ir.Value:
    """How many rows are taken through all nests at a time, a multiple of every tile's."""
    longest: ir.Value = f.index(1)
    for nest in plan.loop.nests:
        for group in plan.groups[nest]:
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
    """Emit the walk of a nest over one thread's blocks, and rows.

    `(table, offset, first row, last row, thread, threads)`.
    """
    tiling = Tiling.of(nest, registers)
    terms = _emit_terms(module, f"{name}_terms", plan, nest, numbers)
    functions = {
        tile: _emit_tile(
            module,
            f"{name}_{tile.rows}x{tile.blocks}",
            plan,
            nest,
            numbers,
            tile,
            terms,
            tiling,
        )
        for tile in tiling.tiles
    }
    f = Function(module, name, [POINTER, *[INDEX] * 5], numbers)
    f.function.linkage = "internal"
    table, offset, first, last, me, team = f.arguments
    f.table(table)
    units = size_of(f, plan, table, nest.size)
    count = f.b.sdiv(f.b.add(units, f.index(numbers.lanes - 1)), f.index(numbers.lanes))
    done: ir.Value = f.b.sdiv(f.b.mul(count, me), team)
    count = f.b.sdiv(f.b.mul(count, f.b.add(me, f.index(1))), team)
    alone = f.b.icmp_signed("==", f.b.sub(last, first), f.index(1))
    if not nest.sums:  # one row after the other, as they lie in memory
        with f.loop(first, last) as one, f.loop(done, count) as at:
            f.b.call(functions[Tile(1, 1)], [table, offset, one, at])
        f.b.ret_void()
        return f.function
    for level, column in enumerate(tiling.columns):
        # The widest tiles are for a row that stands alone.
        end = f.b.select(alone, count, done) if level == 0 and len(tiling.columns) > 1 else count
        with f.loop(done, end, column[0].blocks) as block:
            row: Index = first
            for tile in column:
                with f.loop(row, last, tile.rows) as position:
                    f.b.call(functions[tile], [table, offset, position, block])
                row = position.end
        done = block.end
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
    tiling: Tiling,
) -> ir.Function:
    """Emit one tile: `(table, offset, first row, first block)`."""
    f = Function(module, name, [POINTER, INDEX, INDEX, INDEX], numbers)
    f.function.linkage = "internal"
    f.function.attributes.add("noinline")
    table, offset, row, block = f.arguments
    f.table(table)
    within = [f.b.add(row, f.index(r)) for r in range(tile.rows)]
    rows = Rows(f, plan, table, [f.b.add(offset, one) for one in within], within)
    unit = f.b.mul(block, f.index(numbers.lanes))
    if nest.sums:
        _emit_hints(f, plan, nest, rows, tile, unit)
    sums = emit_products(f, plan, nest, rows, tile, table, block, tiling)
    for r in range(tile.rows):
        for j in range(tile.blocks):
            at = f.b.add(unit, f.index(j * numbers.lanes))
            values = [sums[term, r, j] for term in nest.sums]
            f.b.call(terms, [table, rows.packed[r], rows.within[r], at, *values])
    f.b.ret_void()
    return f.function


def _emit_hints(
    f: Function, plan: Plan, nest: Nest, rows: Rows, tile: Tile, unit: ir.Value
) -> None:
    """Ask for what the pointwise terms will read and write, while the products are summed."""
    own = set(nest.terms)
    read = [one for term in nest.terms if term not in nest.sums for one in term.operands]
    read += [one for total in nest.sums.values() for one in total.others]
    places = {plan.loads[one]: False for one in read if one in plan.loads and one not in own}
    places |= {place: True for term in nest.terms for place in plan.stores.get(term, ())}
    for place, write in places.items():
        if place.how in ("step", "before", "after"):
            for r in range(tile.rows):
                start = f.address(rows.address(place, r), unit)
                for j in range(tile.blocks):
                    f.prefetch(f.address(start, f.index(j * f.numbers.lanes)), write=write)


def _emit_terms(
    module: ir.Module, name: str, plan: Plan, nest: Nest, numbers: Numbers
) -> ir.Function:
    """Emit the pointwise terms of one row and block, and what of them is stored.

    `(table, packed row, row within the batch, first unit, the sums of products)`. A function
    of its own: unrolled into every tile it would be most of the code, and of the time to
    build it.
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
                if term.boolean:  # in memory it is 1 or 0
                    known[term] = f.b.fcmp_unordered("!=", known[term], f.splat(0.0))
        return known[term]

    for term in nest.terms:
        if term in sums:
            total = sums[term]
            for other in nest.sums[term].others:
                total = f.b.fadd(total, value(other))
            known[term] = total
        elif reads_whole(term):
            known[term] = emit_row_reduction(f, plan, table, rows, term, unit)
        else:
            known[term] = POINTWISE[term.op](f, *(value(one) for one in term.operands))
        for place in plan.stores.get(term, ()):
            address = f.address(rows.address(place, 0), unit)
            stored = known[term]
            if term.boolean:
                stored = f.b.select(stored, f.splat(1.0), f.splat(0.0))
            f.store(f.b.fadd(stored, f.load(address)) if place.add else stored, address)
    f.b.ret_void()
    return f.function
