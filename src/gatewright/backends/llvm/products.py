"""The sums of products of a tile: one walk along their sources, all of them in registers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llvmlite import ir

from gatewright.backends.llvm.ir import Function
from gatewright.backends.llvm.row_reductions import heads_of
from gatewright.backends.llvm.rows import Rows, size_of
from gatewright.graph.terms import Term
from gatewright.schedule.loop import Nest
from gatewright.schedule.slots import Plan

#: Multiplications in one turn of the innermost loop, at least: its own cost is shared by them.
#: More would pay at the edges alone, and is longer to build.
BUSY = 4


@dataclass(frozen=True)
class Tile:
    """Rows and blocks of units that are computed at once."""

    rows: int
    blocks: int


def heights(sums: int, blocks: int, registers: int) -> list[int]:
    """How many rows the tiles of a nest have, the most first; the last takes any row alone.

    So many that the sums of a walk, one vector of each matrix and a broadcast number fit into
    the registers; and two, which are as fast a row where eight sums are under way.
    """
    if sums == 0:
        return [1]
    most = max(1, accumulators(registers) // (together(sums, registers) * blocks))
    return sorted({most, min(most, 2), 1}, reverse=True)


def accumulators(registers: int) -> int:
    """How many vectors of sums a tile keeps in registers."""
    return 24 if registers >= 32 else 12


def together(sums: int, registers: int) -> int:
    """How many of a nest's sums one walk forms; the others wait in memory.

    Not all where they are many: they would leave registers for few rows, and what is loaded of
    the matrices would be used for as few.
    """
    most = accumulators(registers) // 4
    return -(-sums // -(-sums // most)) if sums else 0


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


#: The sums of a tile, by term, row and block.
Totals = dict[tuple[Term, int, int], ir.Value]


def emit_products(
    f: Function,
    plan: Plan,
    nest: Nest,
    rows: Rows,
    tile: Tile,
    table: ir.Value,
    block: ir.Value,
    registers: int,
) -> Totals:
    """The sums of products of a tile."""
    blocks = range(tile.blocks)
    totals = {(t, r, j): f.splat(0.0) for t in nest.sums for r in range(tile.rows) for j in blocks}
    sums = {product: term for term, one in nest.sums.items() for product in one.products}
    for group in plan.groups[nest]:
        packed, panel = f.load_pointer(table, group.slot), f.load_index(table, group.slot + 1)
        length = size_of(f, plan, table, group.source.size)
        panels = [f.address(packed, f.b.mul(f.b.add(block, f.index(j)), panel)) for j in blocks]
        starts = [rows.address(plan.loads[group.source], r) for r in range(tile.rows)]
        targets, width = [sums[one] for one in group.products], f.numbers.lanes
        most = together(max(len(targets), len(nest.sums)), registers)
        for first in range(0, len(targets), most):
            here = [f.address(one, f.index(first * width)) for one in panels]
            walk = _Walk(f, targets[first : first + most], starts, here, len(targets) * width)
            if group.heads == 1:
                walk.along(length, totals)
            else:
                units = size_of(f, plan, table, nest.size)
                unit = f.b.mul(block, f.index(f.numbers.lanes))
                _by_head(walk, group.heads, length, units, unit, totals)
    return totals


class _Walk:
    """The walk along a source: the numbers of some rows times the panels of some blocks.

    From place to place, a panel has `width` numbers. Each block may begin at a number of its
    own, counted in `begins`.
    """

    def __init__(
        self,
        f: Function,
        target: Sequence[Term],
        starts: Sequence[ir.Value],
        panels: Sequence[ir.Value],
        width: int,
        begins: Sequence[ir.Value] = (),
    ) -> None:
        self.f, self.target, self.starts, self.panels = f, target, starts, panels
        self.width, self.begins = width, begins
        #: The sums that it adds to: term, row and block.
        self.places = [
            (term, r, j)
            for term in dict.fromkeys(target)
            for r in range(len(starts))
            for j in range(len(panels))
        ]

    def along(self, length: ir.Value, totals: Totals) -> None:
        """Add the products with `length` numbers to the totals."""
        f, begin = self.f, self.f.index(0)
        carried = [totals[one] for one in self.places]
        each = len(self.target) * len(self.starts) * len(self.panels)
        for count in (-(-BUSY // each), 1) if each < BUSY else (1,):
            with f.carrying(begin, length, count, carried) as (k, values, tell):
                tell(self.turn(k, values, count))
            begin = f.reached
        totals.update(zip(self.places, carried, strict=True))

    def turn(self, k: ir.Value, values: list[ir.Value], count: int) -> list[ir.Value]:
        """Multiply `count` numbers of the source, from the k-th on, with the matrices."""
        f, lanes = self.f, self.f.numbers.lanes
        found = dict(zip(self.places, values, strict=True))
        for ahead in range(count):
            at = f.b.add(k, f.index(ahead))
            start = f.b.mul(at, f.index(self.width))
            matrix = {
                (p, j): f.load(f.address(panel, f.b.add(start, f.index(p * lanes))))
                for p in range(len(self.target))
                for j, panel in enumerate(self.panels)
            }
            places = [f.b.add(at, one) for one in self.begins] or [at]
            for r, row in enumerate(self.starts):
                read = [f.broadcast(f.load_scalar(f.address(row, one))) for one in places]
                for p, j in matrix:
                    key = (self.target[p], r, j)
                    number = read[j] if self.begins else read[0]
                    found[key] = f.call("llvm.fma", number, matrix[p, j], found[key])
        return [found[one] for one in self.places]


def _by_head(
    walk: _Walk, heads: int, length: ir.Value, units: ir.Value, unit: ir.Value, totals: Totals
) -> None:
    """The walk of a tile from unit `unit` on, each block along the heads that it has units of.

    All heads have one length, so the blocks walk side by side: first each along its first
    head, then, where one has units of several, along the next. What a head gives goes into
    the lanes of its own units alone. Zeros in the others' lanes of the matrix would not do: 0
    times infinity is NaN.
    """
    f, b, lanes = walk.f, walk.f.b, walk.f.numbers.lanes
    each, part = b.sdiv(units, f.index(heads)), b.sdiv(length, f.index(heads))
    blocks = [b.add(unit, f.index(j * lanes)) for j in range(len(walk.panels))]
    spans = [heads_of(f, one, units, each) for one in blocks]
    turns: ir.Value = f.index(0)
    for first, last in spans:
        turns = f.greatest(turns, b.sub(b.add(last, f.index(1)), first))
    carried = [totals[one] for one in walk.places]
    with f.carrying(f.index(0), turns, 1, carried) as (turn, values, tell):
        found = dict(zip(walk.places, values, strict=True))
        start = b.mul(b.mul(turn, part), f.index(walk.width))
        _Walk(
            f,
            walk.target,
            walk.starts,
            [f.address(one, start) for one in walk.panels],
            walk.width,
            [b.mul(f.least(b.add(first, turn), last), part) for first, last in spans],
        ).along(part, found)
        own = []
        for one, (first, _) in zip(blocks, spans, strict=True):
            begin = b.sub(b.mul(b.add(first, turn), each), one)
            own.append(b.and_(b.not_(f.lanes_below(begin)), f.lanes_below(b.add(begin, each))))
        kept = zip(walk.places, values, strict=True)
        tell([b.select(own[place[2]], found[place], before) for place, before in kept])
    totals.update(zip(walk.places, carried, strict=True))
