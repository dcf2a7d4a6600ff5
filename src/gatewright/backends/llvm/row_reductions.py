"""Terms that read the whole row of a value, which an earlier nest has stored.

A reduction gives one value a row, or one a head; `expand` repeats the value of each head at all
of its units. A head may begin and end within a vector, so lanes are chosen by number.
"""

from __future__ import annotations

import math

from llvmlite import ir

from gatewright.backends.llvm.index import Index
from gatewright.backends.llvm.ir import Function
from gatewright.backends.llvm.mathematics import POINTWISE
from gatewright.backends.llvm.rows import TileRows, size_of
from gatewright.graph.terms import Term
from gatewright.schedule.slots import Plan

#: The neutral number of each reduction, its operation on vectors, and that across the lanes.
REDUCED: dict[str, tuple[float, str, str]] = {
    "sum": (0.0, "add", "fadd"),
    "largest": (-math.inf, "maximum", "fmax"),
}


def emit_row_reduction(
    f: Function, plan: Plan, table: ir.Value, rows: TileRows, r: int, term: Term, unit: Index
) -> ir.Value:
    """Emit one block of a row's reduction or `expand`, from unit `unit` on."""
    operand = term.operands[0]
    start = rows.address(plan.loads[operand], r)
    heads = f.index(term.attributes.get("heads", 1))
    length = size_of(f, plan, table, operand.size)
    if term.op == "expand":
        return _expanded(f, start, heads, unit, size_of(f, plan, table, term.size))
    if "heads" not in term.attributes:
        return f.broadcast(_reduced(f, term.op, start, length))
    # The units of the result are the heads: each lane is the reduction of one of them.
    head_units = length // heads
    count = f.minimum(heads - unit, f.numbers.lanes)
    with f.loop(0, count, 1, [f.splat(0.0)]) as lane:
        head = f.address(start, (unit + lane) * head_units)
        reduced = _reduced(f, term.op, head, head_units)
        lane.update([f.b.insert_element(lane.values[0], reduced, lane)])
    return lane.results[0]


def _reduced(f: Function, op: str, start: ir.Value, length: Index) -> ir.Value:
    """The reduction of `length` numbers, as a scalar."""
    neutral, lanewise, across = REDUCED[op]
    combine = POINTWISE[lanewise]
    with f.loop(0, length, f.numbers.lanes, [f.splat(neutral)]) as unit:
        unit.update([combine(f, unit.values[0], f.load(f.address(start, unit)))])
    # The lanes after the last unit are padding, which may hold anything.
    rest = f.load_first(f.address(start, unit.end), length - unit.end, neutral)
    return f.across(across, combine(f, unit.results[0], rest))


def _expanded(f: Function, start: ir.Value, heads: Index, unit: Index, length: Index) -> ir.Value:
    """The values of the heads that a block's units belong to, each in the lanes of its units."""
    head_units = length // heads
    first, last = heads_of(f, unit, length, head_units)
    value = f.broadcast(f.load_scalar(f.address(start, first)))
    with f.loop(first + 1, last + 1, 1, [value]) as head:
        earlier = f.lanes_below(head * head_units - unit)
        value = f.broadcast(f.load_scalar(f.address(start, head)))
        head.update([f.b.select(earlier, head.values[0], value)])
    return head.results[0]


def heads_of(f: Function, unit: Index, length: Index, head_units: Index) -> tuple[Index, Index]:
    """The first and the last head that have units in the block from unit `unit` on."""
    end = f.minimum(unit + f.numbers.lanes, length)
    return unit // head_units, (end - 1) // head_units
