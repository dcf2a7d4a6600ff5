"""Kernels: from a loop's nests to the text of a function in Triton.

One program takes a tile of batch rows, and its part of the units, through all steps. In a
step it runs the nests one after the other; before one reads what another program may have
written, all programs of the tile wait for each other. What a step reads that was known before
the loop is loaded one step ahead. All sizes stand in the text as numbers.
"""

from __future__ import annotations

import re

from gatewright.backends.triton.nest import print_nest
from gatewright.backends.triton.places import Places, argument
from gatewright.graph.terms import Term
from gatewright.schedule.loop import Nest

#: Registers of a thread that may hold what the next step will read.
AHEAD = 48
#: What a step reads first: which rows run, the packed rows, those of the states.
ROWS = ("live", "n", "nb", "na")
IMPORTS = "import triton\nimport triton.language as tl\n"
WAIT = '''

@triton.jit
def wait(counter, target):
    """Until all programs of a tile are here, and see what the others stored."""
    tl.debug_barrier()
    tl.atomic_add(counter, 1, sem="release", scope="gpu")
    while tl.atomic_add(counter, 0, sem="acquire", scope="gpu") < target:
        pass
    tl.debug_barrier()
'''
NEXT = '''

@triton.jit
def coming(t, steps, {given}):
    """What a step reads that is known before the loop."""
    there = t < steps
    live = b < tl.load(rows + t, mask=there, other=0)
    n = tl.load(offsets + t, mask=there, other=0) + b
    nb = tl.load(before + n, mask=live, other=0)
    na = n + 2 * batch
{loads}
    return {found}
'''
KERNEL = """

@triton.jit(do_not_specialize=["steps", "batch", "first"])
def {name}(steps, batch, first, counters, rows, offsets, before, {arguments}):
    tile = first + tl.program_id(0)
    part = tl.program_id(1)
    b = tile * {rows} + tl.arange(0, {rows}).to(tl.int64)
{fixed}
    turn = 0
    {coming} = coming(0, steps, {given})
    for t in range(steps):
{take}
        {coming} = coming(t + 1, steps, {given})
{body}
"""


def text(name: str, places: Places) -> str:
    """The text of a kernel.

    Its arguments: how many steps and rows there are, the first tile, a counter for each tile;
    of each step its rows and the first packed one; of each packed row that of its states
    before; then the buffers and the matrices.
    """
    known: dict[tuple[Term, int], str] = {}
    fixed = _units(places) + _fixed(places, known)
    ahead = _ahead(places, known)
    body = _step(places, known)
    arguments = [argument(one) for one in places.buffers]
    arguments += [f"weight_{one.index}" for one in places.matrices]
    found = [*ROWS, *ahead]
    loads = [f"{one} = {loaded}" for one, loaded in ahead.items()]
    words = set(re.findall(r"\w+", " ".join(loads)))
    units = [line.split(" = ")[0] for line in fixed if line[0] in "uh"]
    given = ["batch", "b", "rows", "offsets", "before"]
    given += [one for one in (*units, *arguments) if one in words]
    parts = {
        "name": name,
        "arguments": ", ".join(arguments),
        "given": ", ".join(given),
        "rows": places.tiles.rows,
        "found": ", ".join(found),
        "coming": ", ".join(f"next_{one}" for one in found),
        "loads": indented(loads, 1),
        "fixed": indented(fixed, 1),
        "take": indented([f"{one} = next_{one}" for one in found], 2),
        "body": indented(body, 2),
    }
    wait = WAIT if places.tiles.parts > 1 else ""
    made = f'"""Made by gatewright: the {name} of a loop."""\n\n'
    return made + IMPORTS + wait + NEXT.format(**parts) + KERNEL.format(**parts)


def indented(lines: list[str], depth: int) -> str:
    """Lines of text, so far to the right."""
    return "\n".join("    " * depth + line for line in lines)


def _units(places: Places) -> list[str]:
    """The units of this program, for each number of them that a nest has."""
    found = []
    for units in sorted({places.units(nest.size) for nest in places.nests}):
        block = places.block(units)
        found.append(f"u{units} = part * {block} + tl.arange(0, {block})")
        found.append(f"has{units} = u{units} < {units}")
    return found


def _fixed(places: Places, known: dict[tuple[Term, int], str]) -> list[str]:
    """What is the same at each step: numbers, and rows that are the same for all."""
    found = []
    for nest in places.nests:
        units = places.units(nest.size)
        for term in places.beside(nest):
            place = places.plan.loads.get(term)
            if (term, units) in known or (place is not None and place.how != "vector"):
                continue
            if term in places.home:
                continue
            name = known[term, units] = f"v{term.index}_{units}"
            loaded = places.at_units(term, nest) if place else _number(places, term)
            found.append(f"{name} = {loaded}")
    return found


def _number(places: Places, term: Term) -> str:
    """A number of the cell, or one over the number of units."""
    if term.op == "constant":
        value = float(term.attributes["value"])
    else:
        value = term.attributes.get("heads", 1) / places.units(term.attributes["of"])
    shown = repr(value) if abs(value) < float("inf") else f'float("{value}")'
    return f"tl.full((1, 1), {shown}, {places.dtype})"


def _ahead(places: Places, known: dict[tuple[Term, int], str]) -> dict[str, str]:
    """What is loaded one step ahead, as far as there are registers: name and load."""
    found: dict[str, str] = {}
    registers, threads = 0, 32 * places.tiles.warps
    for nest in places.nests:
        units = places.units(nest.size)
        for term in places.beside(nest):
            place = places.plan.loads.get(term)
            if (term, units) in known or place is None or term in places.home:
                continue
            if places.buffer(place) in places.written:
                continue
            wide = places.block(units) if term.size == nest.size else 1
            registers += -(-places.tiles.rows * wide * places.bits // 32 // threads)
            if registers <= AHEAD:
                name = known[term, units] = f"v{term.index}_{units}"
                found[name] = places.at_units(term, nest)
    return found


def _step(places: Places, known: dict[tuple[Term, int], str]) -> list[str]:
    """One step: all nests, and waiting between them."""
    lines: list[str] = []
    changed: set[Term] = set()
    for nest in places.nests:
        if places.from_memory(nest) & changed:
            lines += _wait(places)
            changed = set()
        lines.append(f"# {len(nest.terms)} terms of {_said(places, nest)}")
        print_nest(lines.append, places, nest, known)
        changed |= set(nest.terms)
    return lines + _wait(places)


def _said(places: Places, nest: Nest) -> str:
    units = places.units(nest.size)
    return f"{units} units" if units != 1 else "one unit"


def _wait(places: Places) -> list[str]:
    if places.tiles.parts == 1:
        return ["tl.debug_barrier()"]
    return [f"turn += {places.tiles.parts}", "wait(counters + tile, turn)"]
