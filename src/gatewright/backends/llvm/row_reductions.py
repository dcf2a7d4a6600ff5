"""What reads the whole row of a value that an earlier nest has stored.

Reductions give one value a row, or one a head; `expand` puts the values of the heads at all
their units. Where a head's units begin and end within a vector, lanes are chosen by number.
"""

from __future__ import annotations

import math

from llvmlite import ir

from gatewright.backends.llvm.ir import Function
from gatewright.backends.llvm.mathematics import POINTWISE
from gatewright.backends.llvm.rows import Rows, size_of
from gatewright.graph.terms import Term
from gatewright.schedule.slots import Plan

#: What starts a reduction, what it does lane by lane, and in the end across the lanes.
REDUCED: dict[str, tuple[float, str, str]] = {
    "sum": (0.0, "add", "fadd"),
    "largest": (-math.inf, "maximum", "fmax"),
}


def emit_whole(
    f: Function, plan: Plan, table: ir.Value, rows: Rows, term: Term, unit: ir.Value
) -> ir.Value:
    """One block of a reduction's result, or of what is spread, from unit `unit` on."""
    operand = term.operands[0]
    start = rows.address(plan.loads[operand], 0)
    heads = f.index(term.attributes.get("heads", 1))
    length = size_of(f, plan, table, operand.size)
    if term.op == "expand":
        return _spread(f, start, heads, unit, size_of(f, plan, table, term.size))
    if "heads" not in term.attributes:
        return f.broadcast(_across(f, term.op, start, length))
    each = f.b.sdiv(length, heads)
    count = f.least(f.b.sub(heads, unit), f.index(f.numbers.lanes))
    found = [f.splat(0.0)]
    with f.carrying(f.index(0), count, 1, found) as (lane, (values,), tell):
        head = f.address(start, f.b.mul(f.b.add(unit, lane), each))
        tell([f.b.insert_element(values, _across(f, term.op, head, each), lane)])
    return found[0]


def _across(f: Function, op: str, start: ir.Value, length: ir.Value) -> ir.Value:
    """The reduction of `length` numbers, as a scalar."""
    neutral, lanewise, across = REDUCED[op]
    found = [f.splat(neutral)]
    with f.carrying(f.index(0), length, f.numbers.lanes, found) as (unit, (total,), tell):
        tell([POINTWISE[lanewise](f, total, f.load(f.address(start, unit)))])
    # What stands behind the last unit is not read.
    rest = f.load_first(f.address(start, f.reached), f.b.sub(length, f.reached), neutral)
    return f.across(across, POINTWISE[lanewise](f, found[0], rest))


def _spread(
    f: Function, start: ir.Value, heads: ir.Value, unit: ir.Value, length: ir.Value
) -> ir.Value:
    """The values of the heads that a block's units belong to, each in its lanes."""
    each = f.b.sdiv(length, heads)
    first, last = heads_of(f, unit, length, each)
    found = [f.broadcast(f.load_scalar(f.address(start, first)))]
    begin, end = f.b.add(first, f.index(1)), f.b.add(last, f.index(1))
    with f.carrying(begin, end, 1, found) as (head, (values,), tell):
        before = f.lanes_below(f.b.sub(f.b.mul(head, each), unit))
        value = f.broadcast(f.load_scalar(f.address(start, head)))
        tell([f.b.select(before, values, value)])
    return found[0]


def heads_of(
    f: Function, unit: ir.Value, length: ir.Value, each: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """The first and the last head that a block from unit `unit` on has units of."""
    end = f.least(f.b.add(unit, f.index(f.numbers.lanes)), length)
    return f.b.sdiv(unit, each), f.b.sdiv(f.b.sub(end, f.index(1)), each)
