"""The sums of products of a tile: one walk along their sources, all of them in registers."""

from __future__ import annotations

from dataclasses import dataclass

from llvmlite import ir

from gatewright.backends.llvm.plan import Group, Plan
from gatewright.backends.llvm.rows import Rows, size_of
from gatewright.backends.llvm.vector import Function
from gatewright.graph.loop import Nest
from gatewright.graph.terms import Term

#: Multiplications in one turn of the innermost loop, at least: its own cost is shared by them.
BUSY = 24


@dataclass(frozen=True)
class Tile:
    """Rows and blocks of units that are computed at once."""

    rows: int
    blocks: int


def heights(sums: int, blocks: int, registers: int) -> list[int]:
    """How many rows the tiles of a nest have, the most first; the last takes any row alone.

    So many that their sums, one vector of each matrix and a broadcast number fit into the
    registers; and two, which are as fast a row where eight sums are under way.
    """
    if sums == 0:
        return [1]
    most = max(1, accumulators(registers) // (sums * blocks))
    return sorted({most, min(most, 2), 1}, reverse=True)


def accumulators(registers: int) -> int:
    """How many vectors of sums a tile keeps in registers."""
    return 24 if registers >= 32 else 12


def levels(sums: int, registers: int) -> list[tuple[int, list[int]]]:
    """Blocks of a tile, and the heights to go with them; the last level takes any block.

    Few sums get several blocks, and a row that stands alone more of them, so that enough
    multiplications are under way at once to hide how long each takes.
    """
    if sums == 0:
        return [(1, [1])]
    blocks = max(1, accumulators(registers) // 6 // sums)
    wide = -(-8 // sums)
    found = [(blocks, heights(sums, blocks, registers)), (1, heights(sums, 1, registers))]
    if wide == 1:  # enough sums by themselves, and the last level has that tile
        return found[1:]
    return [(wide, [1]), *(found if blocks > 1 else found[1:])]


def emit_products(
    f: Function, plan: Plan, nest: Nest, rows: Rows, tile: Tile, table: ir.Value, block: ir.Value
) -> dict[Term, list[list[ir.Value]]]:
    """The sums of products of a tile, by term, row and block."""
    totals = {term: [[f.splat(0.0)] * tile.blocks for _ in range(tile.rows)] for term in nest.sums}
    for group in plan.groups[nest]:
        length = size_of(f, plan, table, group.source.size)
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
    """The walk of a tile along the source of a group of products."""

    def __init__(
        self,
        f: Function,
        plan: Plan,
        nest: Nest,
        group: Group,
        rows: Rows,
        tile: Tile,
        table: ir.Value,
        block: ir.Value,
    ) -> None:
        self.f, self.tile = f, tile
        sums = {product: term for term, one in nest.sums.items() for product in one.products}
        self.target = [sums[product] for product in group.products]
        self.width = len(group.products) * f.numbers.lanes
        panel = f.b.mul(size_of(f, plan, table, group.source.size), f.index(self.width))
        packed = f.load_pointer(table, group.slot)
        self.panels = [
            f.address(packed, f.b.mul(f.b.add(block, f.index(j)), panel))
            for j in range(tile.blocks)
        ]
        self.starts = [rows.address(plan.loads[group.source], r) for r in range(tile.rows)]
        #: The sums that it adds to: term, row and block.
        self.places = [
            (term, r, j)
            for term in dict.fromkeys(self.target)
            for r in range(tile.rows)
            for j in range(tile.blocks)
        ]

    def turn(self, k: ir.Value, values: list[ir.Value], count: int) -> list[ir.Value]:
        """Multiply `count` numbers of the source, from the k-th on, with the matrices."""
        f, lanes = self.f, self.f.numbers.lanes
        found = dict(zip(self.places, values, strict=True))
        for ahead in range(count):
            at = f.b.add(k, f.index(ahead))
            start = f.b.mul(at, f.index(self.width))
            matrix = {
                (p, j): f.load(f.address(self.panels[j], f.b.add(start, f.index(p * lanes))))
                for p in range(len(self.target))
                for j in range(self.tile.blocks)
            }
            for r in range(self.tile.rows):
                number = f.broadcast(f.load_scalar(f.address(self.starts[r], at)))
                for p, j in matrix:
                    key = (self.target[p], r, j)
                    found[key] = f.call("llvm.fma", number, matrix[p, j], found[key])
        return [found[one] for one in self.places]
