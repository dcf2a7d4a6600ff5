"""The text of a nest: its products, the pointwise terms on their sums, and the stores."""

from __future__ import annotations

from collections.abc import Callable

from gatewright.backends.triton.mathematics import POINTWISE
from gatewright.backends.triton.places import KernelPlaces, inside
from gatewright.backends.triton.tiles import CHUNK, LEAST, power
from gatewright.graph.terms import REDUCTIONS, Term
from gatewright.schedule.loop import Nest, reads_whole
from gatewright.schedule.slots import Group

#: Takes one line of text.
Out = Callable[[str], None]
#: The numbers beyond the end of a row, which leave the reduction unchanged.
NEUTRAL = {"sum": "0.0", "largest": 'float("-inf")'}


def print_nest(
    out: Out, places: KernelPlaces, nest: Nest, known: dict[tuple[Term, int], str]
) -> None:
    """Print a nest; `known` has the names of values, by term and number of units."""
    units, plan = places.units(nest.size), places.plan
    # The loads come first, so that the products are summed while they are under way.
    for term in places.pointwise_reads(nest):
        if (term, units) not in known and term not in nest.terms:
            known[term, units] = f"v{term.index}_{units}"
            out(f"v{term.index}_{units} = {places.at_units(term, nest)}")
    for term in nest.terms:
        for access in plan.stores.get(term, ()):
            if access.add:
                old = places.load(access, f"u{units}[None, :]", inside(units))
                out(f"old{term.index} = {old}")
    for group in plan.groups[nest]:
        shape = f"({places.tiles.rows}, {places.block(units)})"
        for product in group.products:
            out(f"p{product.index} = tl.zeros({shape}, {places.dtype})")
        (_by_head if group.heads > 1 else _products)(out, places, group, units)
    for term in nest.terms:
        name = known[term, units] = f"t{term.index}"
        if term in nest.sums:
            summed = [f"p{product.index}" for product in nest.sums[term].products]
            summed += [known[other, units] for other in nest.sums[term].others]
            out(f"{name} = {' + '.join(summed)}")
        elif reads_whole(term):
            out(f"{name} = {_of_row(out, places, term, units)}")
        else:
            values = [known[operand, units] for operand in term.operands]
            out(f"{name} = {POINTWISE[term.op].format(*values)}")
        _store(out, places, term, units)


def _store(out: Out, places: KernelPlaces, term: Term, units: int) -> None:
    """Print the stores of a term."""
    for access in places.plan.stores.get(term, ()):
        if places.is_stored(term, access):
            value = f"tl.where(t{term.index}, 1.0, 0.0)" if term.boolean else f"t{term.index}"
            value = f"old{term.index} + {value}" if access.add else value
            # One number a row, or one row for all, is broadcast over the block.
            value = f"tl.broadcast_to({value}, ({places.tiles.rows}, {places.block(units)}))"
            address = f"{places.row(access)} + u{units}[None, :]"
            out(f"tl.store({address}, {value}, mask={inside(units)})")


def _of_row(out: Out, places: KernelPlaces, term: Term, units: int) -> str:
    """Print a term that reads whole rows: a reduction, by head or not, or a head's value."""
    operand, heads = term.operands[0], term.attributes.get("heads", 1)
    access = places.plan.loads[operand]
    if term.op not in REDUCTIONS:
        return places.load(access, f"(u{units} // {units // heads})[None, :]", inside(units))
    each = places.units(operand.size) // heads
    lanes = f"tl.arange(0, {power(each)})[None, None, :]"
    start = f"{places.row(access, '[:, None, None]')} + u{units}[None, :, None] * {each} + {lanes}"
    mask = f"live[:, None, None] & has{units}[None, :, None] & ({lanes} < {each})"
    name = f"row{term.index}"
    out(f"{name} = {places.read(access, start, mask, NEUTRAL[term.op])}")
    if term.op == "sum":
        return f"tl.sum({name}, axis=2)"
    # Triton's maximum ignores NaN; here the largest number of a row with NaN is NaN.
    odd = f"tl.sum(tl.where({name} != {name}, {name}, 0.0), axis=2)"
    return f"tl.max({name}, axis=2) + {odd}"


def _products(out: Out, places: KernelPlaces, group: Group, units: int) -> None:
    """Print the products of one source: each chunk of its rows is loaded once for all of them."""
    length, access = places.units(group.source.size), places.plan.loads[group.source]
    chunk = min(max(power(length), LEAST), CHUNK)
    out(f"for start in range(0, {length}, {chunk}):")
    out(f"    k = start + tl.arange(0, {chunk})")
    out(f"    has = k < {length}")
    rows = places.load(access, "k[None, :]", "live[:, None] & has[None, :]")
    # A product of two low-precision numbers is exact in the type of the sum.
    out(f"    a = {rows}{f'.to({places.low})' if places.low else ''}")
    for product in group.products:
        unit, number = (1, units) if product.op == "transposed" else (length, 1)
        address = f"weight_{product.operands[1].index} + "
        address += f"u{units}[None, :] * {unit} + k[:, None] * {number}"
        out(f"    w = tl.load({address}, mask=has{units}[None, :] & has[:, None], other=0.0)")
        total = f"p{product.index}"
        out(f'    {total} = tl.dot(a, w, {total}, input_precision="ieee")')


def _by_head(out: Out, places: KernelPlaces, group: Group, units: int) -> None:
    """Print products by head: each unit reads the numbers of its own head, one after another."""
    length = places.units(group.source.size) // group.heads
    access, each = places.plan.loads[group.source], units // group.heads
    out(f"for k in range({length}):")
    column = f"(u{units} // {each} * {length} + k)[None, :]"
    out(f"    a = {places.load(access, column, inside(units))}")
    for product in group.products:
        element = f"(u{units} * {length} + k)"
        if product.op == "transposed":  # (heads, of the source, of the result)
            element = f"(u{units} // {each} * {length * each} + k * {each} + u{units} % {each})"
        address = f"weight_{product.operands[1].index} + {element}"
        weight = f"tl.load({address}, mask=has{units}, other=0.0)"
        out(f"    p{product.index} += a * {weight}[None, :].to({places.dtype})")
