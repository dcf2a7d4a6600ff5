"""Kernels: from a loop's nests to functions in LLVM's language.

A nest runs over blocks of one vector of units, and for each over tiles of rows. A tile holds,
in registers, `rows x blocks` vectors for every sum of products. It walks once along the
sources, broadcasts one number of each row and multiplies it with the packed matrices, so a
number that is loaded is used in all sums; then it computes the pointwise terms and stores
what is wanted. Rows do not touch, so each thread walks through all steps with rows of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from gatewright.backends.llvm.mathematics import POINTWISE
from gatewright.backends.llvm.plan import AFTER, BEFORE, OFFSETS, ROWS, STEPS, Group, Place, Plan
from gatewright.backends.llvm.vector import INDEX, POINTER, Function, Numbers
from gatewright.graph.loop import Nest
from gatewright.graph.terms import Term
from gatewright.language.node import Size

#: Multiplications in one turn of the innermost loop, at least: its own cost is shared by them.
BUSY = 24


@dataclass(frozen=True)
class Tile:
    """Rows and blocks of units that are computed at once."""

    rows: int
    blocks: int


def heights(sums: int, blocks: int, registers: int) -> list[int]:
    """How many rows the tiles of a nest have, the most first; the last takes any row alone.

    The sums, one vector of each matrix and one broadcast number fit into the registers.
    """
    if sums == 0:
        return [1]
    most = min(6, max(1, (registers - 1 - sums * blocks) // (sums * blocks)))
    return sorted({most, min(most, 3), 1}, reverse=True)


def levels(sums: int, registers: int) -> list[tuple[int, list[int]]]:
    """Blocks of a tile, and the heights to go with them; the last level takes any block.

    Few sums get several blocks, and a row that stands alone more of them, so that enough
    multiplications are under way at once to hide how long each takes.
    """
    if sums == 0:
        return [(1, [1])]
    blocks = max(1, 4 // sums)
    wide = -(-8 // sums)
    found = [(blocks, heights(sums, blocks, registers)), (1, heights(sums, 1, registers))]
    return [(wide, [1]), *(found if blocks > 1 else found[1:])]


def emit(module: ir.Module, name: str, plan: Plan, numbers: Numbers, registers: int) -> None:
    """Emit the kernel `name(table, first row, end row)` for the rows of one thread."""
    walks = [
        _emit_nest(module, f"{name}_{position}", plan, nest, numbers, registers)
        for position, nest in enumerate(plan.loop.nests)
    ]
    f = Function(module, name, [POINTER, INDEX, INDEX], numbers)
    table, first, end = f.arguments
    rows, offsets = f.load_pointer(table, ROWS), f.load_pointer(table, OFFSETS)
    steps = f.load_index(table, STEPS)
    with f.loop(f.index(0), steps) as turn:
        # The caller lists the steps in the order in which they run.
        running = f.load_index(rows, turn)
        last = f.b.select(f.b.icmp_signed("<", end, running), end, running)
        offset = f.load_index(offsets, turn)
        for walk in walks:
            f.b.call(walk, [table, offset, first, last])
    f.b.ret_void()


def _emit_nest(
    module: ir.Module, name: str, plan: Plan, nest: Nest, numbers: Numbers, registers: int
) -> ir.Function:
    """Emit the walk of a nest over its blocks and rows: `(table, offset, first, last)`."""
    stairs = levels(len(nest.sums), registers)
    terms = _emit_terms(module, f"{name}_terms", plan, nest, numbers)
    functions = {
        (rows, blocks): _emit_tile(
            module, f"{name}_{rows}x{blocks}", plan, nest, numbers, Tile(rows, blocks), terms
        )
        for blocks, tall in stairs
        for rows in tall
    }
    f = Function(module, name, [POINTER, INDEX, INDEX, INDEX], numbers)
    f.function.linkage = "internal"
    table, offset, first, last = f.arguments
    units = _size(f, plan, table, nest.size)
    count = f.b.sdiv(f.b.add(units, f.index(numbers.lanes - 1)), f.index(numbers.lanes))
    alone = f.b.icmp_signed("==", f.b.sub(last, first), f.index(1))
    done: ir.Value = f.index(0)
    for level, (blocks, tall) in enumerate(stairs):
        # The widest tiles are for a row that stands alone.
        end = f.b.select(alone, count, done) if level == 0 and len(stairs) > 1 else count
        with f.carrying(done, end, blocks, []) as (block, _, _):
            row: ir.Value = first
            for rows in tall:
                with f.carrying(row, last, rows, []) as (position, _, _):
                    f.b.call(functions[rows, blocks], [table, offset, position, block])
                row = f.reached
        done = f.reached
    f.b.ret_void()
    return f.function


def _size(f: Function, plan: Plan, table: ir.Value, size: Size) -> ir.Value:
    return f.load_index(table, plan.sizes[size])


class _Rows:
    """The rows of a tile: their addresses in every buffer."""

    def __init__(
        self,
        f: Function,
        plan: Plan,
        table: ir.Value,
        packed: list[ir.Value],
        within: list[ir.Value],
    ) -> None:
        self.f, self.plan, self.table = f, plan, table
        self.packed, self.within = packed, within
        self.indexed: dict[tuple[str, int], ir.Value] = {}

    def position(self, how: str, r: int) -> ir.Value:
        """The number of row r in a buffer."""
        if how == "step":
            return self.packed[r]
        if how == "scratch":
            return self.within[r]
        if how == "vector":
            return self.f.index(0)
        if (how, r) not in self.indexed:
            array = self.f.load_pointer(self.table, BEFORE if how == "before" else AFTER)
            self.indexed[how, r] = self.f.load_index(array, self.packed[r])
        return self.indexed[how, r]

    def address(self, place: Place, r: int) -> ir.Value:
        """The first unit of row r in a buffer."""
        f = self.f
        base = f.load_pointer(self.table, place.slot)
        length = f.load_index(self.table, place.slot + 1)
        return f.address(base, f.b.mul(self.position(place.how, r), length))


def _emit_tile(
    module: ir.Module,
    name: str,
    plan: Plan,
    nest: Nest,
    numbers: Numbers,
    tile: Tile,
    terms: ir.Function,
) -> ir.Function:
    """Emit one tile: `(table, offset, first row, first block)`."""
    f = Function(module, name, [POINTER, INDEX, INDEX, INDEX], numbers)
    f.function.linkage = "internal"
    f.function.attributes.add("noinline")
    table, offset, row, block = f.arguments
    within = [f.b.add(row, f.index(r)) for r in range(tile.rows)]
    rows = _Rows(f, plan, table, [f.b.add(offset, one) for one in within], within)
    unit = f.b.mul(block, f.index(numbers.lanes))
    sums = _emit_products(f, plan, nest, rows, tile, table, block)
    for r in range(tile.rows):
        for j in range(tile.blocks):
            at = f.b.add(unit, f.index(j * numbers.lanes))
            values = [sums[term][r][j] for term in nest.sums]
            f.b.call(terms, [table, rows.packed[r], rows.within[r], at, *values])
    f.b.ret_void()
    return f.function


def _emit_products(
    f: Function, plan: Plan, nest: Nest, rows: _Rows, tile: Tile, table: ir.Value, block: ir.Value
) -> dict[Term, list[list[ir.Value]]]:
    """The sums of products of a tile, by term, row and block."""
    totals = {term: [[f.splat(0.0)] * tile.blocks for _ in range(tile.rows)] for term in nest.sums}
    for group in plan.groups[nest]:
        length = _size(f, plan, table, group.size)
        walk = _Walk(f, plan, nest, group, rows, tile, table, block)
        carried = [totals[term][r][j] for term, r, j in walk.places]
        begin: ir.Value = f.index(0)
        each = len(group.products) * tile.rows * tile.blocks
        for count in (-(-BUSY // each), 1) if each < BUSY else (1,):
            with f.carrying(begin, length, count, carried) as (k, values, tell):
                tell(walk.turn(k, values, count))
            begin = f.reached
        for (term, r, j), value in zip(walk.places, carried, strict=True):
            totals[term][r][j] = value
    return totals


class _Walk:
    """The walk of a tile along the sources of a group of products."""

    def __init__(
        self,
        f: Function,
        plan: Plan,
        nest: Nest,
        group: Group,
        rows: _Rows,
        tile: Tile,
        table: ir.Value,
        block: ir.Value,
    ) -> None:
        self.f, self.group, self.tile = f, group, tile
        sums = {product: term for term, one in nest.sums.items() for product in one.products}
        self.target = [sums[product] for product in group.products]
        self.sources = group.by_source()
        self.width = len(group.products) * f.numbers.lanes
        panel = f.b.mul(_size(f, plan, table, group.size), f.index(self.width))
        packed = f.load_pointer(table, group.slot)
        self.panels = [
            f.address(packed, f.b.mul(f.b.add(block, f.index(j)), panel))
            for j in range(tile.blocks)
        ]
        self.starts = {
            source: [rows.address(plan.loads[source], r) for r in range(tile.rows)]
            for source in self.sources
        }
        #: The sums that it adds to: term, row and block.
        self.places = [
            (term, r, j)
            for term in dict.fromkeys(self.target)
            for r in range(tile.rows)
            for j in range(tile.blocks)
        ]

    def turn(self, k: ir.Value, values: list[ir.Value], count: int) -> list[ir.Value]:
        """Multiply `count` numbers of each source, from the k-th on, with their matrices."""
        f, lanes = self.f, self.f.numbers.lanes
        found = dict(zip(self.places, values, strict=True))
        for ahead in range(count):
            at = f.b.add(k, f.index(ahead))
            start = f.b.mul(at, f.index(self.width))
            for source, members in self.sources.items():
                matrix = {
                    (p, j): f.load(f.address(self.panels[j], f.b.add(start, f.index(p * lanes))))
                    for p in members
                    for j in range(self.tile.blocks)
                }
                for r in range(self.tile.rows):
                    number = f.broadcast(f.load_scalar(f.address(self.starts[source][r], at)))
                    for p, j in matrix:
                        key = (self.target[p], r, j)
                        found[key] = f.call("llvm.fma", number, matrix[p, j], found[key])
        return [found[one] for one in self.places]


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
    rows = _Rows(f, plan, table, [packed], [within])
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
        elif term.op == "sum" and term.operands[0].size != 1:
            known[term] = _emit_sum(f, plan, table, rows, term.operands[0])
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


def _emit_sum(f: Function, plan: Plan, table: ir.Value, rows: _Rows, term: Term) -> ir.Value:
    """The sum over a row that an earlier nest has stored, in every lane."""
    start = rows.address(plan.loads[term], 0)
    length = _size(f, plan, table, term.size)
    lanes = f.numbers.lanes
    vectors = [f.splat(0.0)]
    with f.carrying(f.index(0), length, lanes, vectors) as (unit, (total,), tell):
        tell([f.b.fadd(total, f.load(f.address(start, unit)))])
    # Behind the last unit a row holds anything: the rest is added one by one.
    scalars = [f.across(vectors[0])]
    with f.carrying(f.reached, length, 1, scalars) as (unit, (total,), tell):
        tell([f.b.fadd(total, f.load_scalar(f.address(start, unit)))])
    return f.broadcast(scalars[0])
