"""The sums of products of a tile: a K-loop along each source, with all sums in registers."""

from __future__ import annotations

from collections.abc import Sequence

from llvmlite import ir

from gatewright.backends.llvm.index import Index
from gatewright.backends.llvm.ir import Function
from gatewright.backends.llvm.pairs import PairPlan, add_products, count_words
from gatewright.backends.llvm.row_reductions import heads_of
from gatewright.backends.llvm.rows import TileRows, size_of
from gatewright.graph.terms import Term
from gatewright.schedule.loop import Nest
from gatewright.schedule.slots import Plan
from gatewright.schedule.tiling import K_LOOP_PRODUCTS, Tile, Tiling

#: The sums of a tile, by term, row and block.
Totals = dict[tuple[Term, int, int], ir.Value]


def emit_products(
    f: Function,
    plan: Plan,
    nest: Nest,
    rows: TileRows,
    tile: Tile,
    table: ir.Value,
    block: Index,
    tiling: Tiling,
    rounded: PairPlan | None,
) -> Totals:
    """Emit the sums of products of the tile that begins at a block.

    With `rounded` sources the factors are words of two numbers.
    """
    blocks = range(tile.blocks)
    totals = {(t, r, j): f.splat(0.0) for t in nest.sums for r in range(tile.rows) for j in blocks}
    gates = {product: term for term, total in nest.sums.items() for product in total.products}
    # One source after the other, so that a K-loop needs the addresses of one source's rows only:
    # x86-64 has 15 registers for addresses.
    for group in plan.groups[nest]:
        packed, panel = f.load_pointer(table, group.slot), f.load_index(table, group.slot + 1)
        length = size_of(f, plan, table, group.source.size) // group.heads
        panels = [f.address(packed, (block + j) * panel) for j in blocks]
        if rounded is None:
            starts = [rows.address(plan.loads[group.source], r) for r in range(tile.rows)]
        else:
            source, length = rounded.of_group[group], count_words(length)
            starts = [source.row(f, table, row) for row in rows.within]
        targets, lanes = [gates[product] for product in group.products], f.numbers.lanes
        per_pass = tiling.gates_per_pass(len(targets))
        for first in range(0, len(targets), per_pass):
            columns = [f.address(address, first * lanes) for address in panels]
            k_loop = _KLoop(
                f, targets[first : first + per_pass], starts, columns, len(targets) * lanes
            )
            if group.heads == 1:
                k_loop.emit(length, totals)
            else:
                units = size_of(f, plan, table, nest.size)
                _emit_by_head(k_loop, group.heads, length, units, block * lanes, totals)
    return totals


class _KLoop:
    """The K-loop of a tile: the numbers of some rows times the panels of some blocks.

    Args:
        targets: The gate that each product of a panel is added to.
        rows: The address of each row of the source.
        panels: The address of each block's packed matrices: (K, product, lane).
        step: The numbers from one k to the next in a panel.
        begins: The first number of the source for each block; all begin with the first one if
            there are none.
    """

    def __init__(
        self,
        f: Function,
        targets: Sequence[Term],
        rows: Sequence[ir.Value],
        panels: Sequence[ir.Value],
        step: int,
        begins: Sequence[Index] = (),
    ) -> None:
        self.f, self.targets, self.rows, self.panels = f, targets, rows, panels
        self.step, self.begins = step, begins
        #: The sums that it adds to: gate, row and block.
        self.sums = [
            (term, r, j)
            for term in dict.fromkeys(targets)
            for r in range(len(rows))
            for j in range(len(panels))
        ]

    def emit(self, length: Index, totals: Totals) -> None:
        """Add the products with `length` numbers of the source to the totals."""
        f = self.f
        begin, carried = f.index(0), [totals[key] for key in self.sums]
        products = len(self.targets) * len(self.rows) * len(self.panels)
        unrolled = -(-K_LOOP_PRODUCTS // products)
        for count in (unrolled, 1) if unrolled > 1 else (1,):
            with f.loop(begin, length, count, carried) as k:
                k.update(self.iteration(k, k.values, count))
            begin, carried = k.end, k.results
        totals.update(zip(self.sums, carried, strict=True))

    def iteration(self, k: Index, values: Sequence[ir.Value], count: int) -> list[ir.Value]:
        """Multiply `count` numbers of the source, from the k-th on, with the matrices."""
        f, lanes = self.f, self.f.numbers.lanes
        multiply = add_products if f.numbers.pairs else _add_product
        sums = dict(zip(self.sums, values, strict=True))
        for ahead in range(count):
            position = k + ahead
            # From there on the vectors lie at constant distances, which cost no instruction.
            distance = position * self.step
            starts = [f.address(panel, distance) for panel in self.panels]
            matrix = {
                (p, j): f.load(f.address(start, p * lanes))
                for p in range(len(self.targets))
                for j, start in enumerate(starts)
            }
            positions = [position + begin for begin in self.begins] or [position]
            # The matrices' vectors are loaded first, and each row is broadcast just before its use:
            # with all rows broadcast first, they spill out of the registers. This order took a
            # backward loop from 238 to 108 ms in the prototype (2 cores, AVX2).
            for r, row in enumerate(self.rows):
                numbers = [f.broadcast(f.load_scalar(f.address(row, p))) for p in positions]
                for p, j in matrix:
                    key = (self.targets[p], r, j)
                    number = numbers[j] if self.begins else numbers[0]
                    sums[key] = multiply(f, sums[key], number, matrix[p, j])
        return [sums[key] for key in self.sums]


def _add_product(f: Function, total: ir.Value, left: ir.Value, right: ir.Value) -> ir.Value:
    return f.fma(left, right, total)


def _emit_by_head(
    k_loop: _KLoop, heads: int, head_length: Index, units: Index, unit: Index, totals: Totals
) -> None:
    """Emit the K-loops of a tile from unit `unit` on, each block along its own heads.

    Args:
        head_length: The numbers of the source, or the words, that belong to a head.

    All heads have equally many units, so the blocks of a tile share their K-loops: in the first
    one each is at its first head, and in the next one, if it has units of several, at its
    second. A head's products go into the lanes of its own units only. Zeros in the other lanes
    of the matrix would not do: 0 times infinity is NaN.
    """
    f, b, lanes = k_loop.f, k_loop.f.b, k_loop.f.numbers.lanes
    head_units = units // heads
    blocks = [unit + j * lanes for j in range(len(k_loop.panels))]
    spans = [heads_of(f, block, units, head_units) for block in blocks]
    rounds = f.index(0)
    for first, last in spans:
        rounds = f.maximum(rounds, last + 1 - first)
    with f.loop(0, rounds, 1, [totals[key] for key in k_loop.sums]) as turn:
        sums = dict(zip(k_loop.sums, turn.values, strict=True))
        start = turn * head_length * k_loop.step
        _KLoop(
            f,
            k_loop.targets,
            k_loop.rows,
            [f.address(panel, start) for panel in k_loop.panels],
            k_loop.step,
            # A block that has no head left in this round reads its last one, and keeps nothing.
            [f.minimum(first + turn, last) * head_length for first, last in spans],
        ).emit(head_length, sums)
        masks = []
        for block, (first, _) in zip(blocks, spans, strict=True):
            begin = (first + turn) * head_units - block
            masks.append(f.lanes_between(begin, begin + head_units))
        turn.update(
            [
                b.select(masks[key[2]], sums[key], before)
                for key, before in zip(k_loop.sums, turn.values, strict=True)
            ]
        )
    totals.update(zip(k_loop.sums, turn.results, strict=True))
