"""Kernels: from a loop's nests to the text of a function in Triton.

One program takes a tile of batch rows, and its part of the units, through all steps. In a
step it runs the nests one after the other; before a nest reads values that another program may
have written, all programs of the tile wait for each other. The values of a step that are known
before the loop are loaded one step ahead. All sizes are numbers in the text.
"""

from __future__ import annotations

from dataclasses import dataclass

from gatewright.backends.triton.nest import print_nest
from gatewright.backends.triton.places import KernelPlaces, argument
from gatewright.graph.terms import Term
from gatewright.schedule.loop import Nest

#: Registers of a thread that may hold values of the next step.
AHEAD = 48
#: The indices of a step: the rows that run, the packed rows, the rows of the states.
INDICES = ("live", "n", "nb", "na")
IMPORTS = "import triton\nimport triton.language as tl\n"
WAIT = '''

@triton.jit
def wait(counter, target):
    """Wait until all programs of a tile are here, and see the values that they stored."""
    tl.debug_barrier()
    tl.atomic_add(counter, 1, sem="release", scope="gpu")
    while tl.atomic_add(counter, 0, sem="acquire", scope="gpu") < target:
        pass
    tl.debug_barrier()
'''
NEXT = '''

@triton.jit
def load_step(t, steps, {parameters}):
    """Load the values of a step that are known before the loop."""
    valid = t < steps
    live = b < tl.load(rows + t, mask=valid, other=0)
    n = tl.load(offsets + t, mask=valid, other=0) + b
    nb = tl.load(before + n, mask=live, other=0)
    na = n + 2 * batch
{loads}
    return {values}
'''
KERNEL = """

@triton.jit(do_not_specialize=["steps", "batch", "first"])
def {name}(steps, batch, first, counters, rows, offsets, before, {arguments}):
    tile = first + tl.program_id(0)
    part = tl.program_id(1)
    b = tile * {rows} + tl.arange(0, {rows}).to(tl.int64)
{fixed}
    turn = 0
    {next_values} = load_step(0, steps, {parameters})
    for t in range(steps):
{take}
        {next_values} = load_step(t + 1, steps, {parameters})
{body}
"""


@dataclass(frozen=True)
class Ahead:
    """A value that is loaded one step ahead: its load, and the names that the load reads."""

    load: str
    reads: tuple[str, ...]


def text(name: str, places: KernelPlaces) -> str:
    """Print a kernel.

    Its arguments: the numbers of steps and rows, the first tile, a counter for each tile; for
    each step its rows and the first packed one; for each packed row the row of its states
    before; then the buffers and the matrices.
    """
    known: dict[tuple[Term, int], str] = {}
    units = _units(places)
    fixed = {**units, **_fixed(places, known)}
    ahead = _ahead(places, known)
    body = _step(places, known)
    arguments = [argument(buffer) for buffer in places.buffers]
    arguments += [f"weight_{matrix.index}" for matrix in places.matrices]
    values = [*INDICES, *ahead]
    read = {word for value in ahead.values() for word in value.reads}
    parameters = ["batch", "b", "rows", "offsets", "before"]
    parameters += [word for word in (*units, *arguments) if word in read]
    parts = {
        "name": name,
        "arguments": ", ".join(arguments),
        "parameters": ", ".join(parameters),
        "rows": places.tiles.rows,
        "values": ", ".join(values),
        "next_values": ", ".join(f"next_{value}" for value in values),
        "loads": indented([f"{value} = {ahead[value].load}" for value in ahead], 1),
        "fixed": indented([f"{value} = {formula}" for value, formula in fixed.items()], 1),
        "take": indented([f"{value} = next_{value}" for value in values], 2),
        "body": indented(body, 2),
    }
    wait = WAIT if places.tiles.parts > 1 else ""
    title = f'"""Made by gatewright: the {name} of a loop."""\n\n'
    return title + IMPORTS + wait + NEXT.format(**parts) + KERNEL.format(**parts)


def indented(lines: list[str], depth: int) -> str:
    """Indent lines of text."""
    return "\n".join("    " * depth + line for line in lines)


def _units(places: KernelPlaces) -> dict[str, str]:
    """Print the units of this program, and which of them exist, for each size of a nest."""
    lines = {}
    for units in sorted({places.units(nest.size) for nest in places.nests}):
        block = places.block(units)
        lines[f"u{units}"] = f"part * {block} + tl.arange(0, {block})"
        lines[f"has{units}"] = f"u{units} < {units}"
    return lines


def _fixed(places: KernelPlaces, known: dict[tuple[Term, int], str]) -> dict[str, str]:
    """Print the values that are the same at each step: numbers, and vectors."""
    lines = {}
    for nest in places.nests:
        units = places.units(nest.size)
        for term in places.pointwise_reads(nest):
            access = places.plan.loads.get(term)
            if (term, units) in known or (access is not None and access.how != "vector"):
                continue
            if term in places.home:
                continue
            name = known[term, units] = f"v{term.index}_{units}"
            lines[name] = places.at_units(term, nest) if access else _number(places, term)
    return lines


def _number(places: KernelPlaces, term: Term) -> str:
    """Print a constant of the cell, or one over a number of units."""
    if term.op == "constant":
        value = float(term.attributes["value"])
    else:
        value = term.attributes.get("heads", 1) / places.units(term.attributes["of"])
    literal = repr(value) if abs(value) < float("inf") else f'float("{value}")'
    return f"tl.full((1, 1), {literal}, {places.dtype})"


def _ahead(places: KernelPlaces, known: dict[tuple[Term, int], str]) -> dict[str, Ahead]:
    """Choose the values that are loaded one step ahead, as far as there are registers."""
    values: dict[str, Ahead] = {}
    registers, threads = 0, 32 * places.tiles.warps
    for nest in places.nests:
        units = places.units(nest.size)
        for term in places.pointwise_reads(nest):
            access = places.plan.loads.get(term)
            if (term, units) in known or access is None or term in places.home:
                continue
            if access.buffer in places.written:
                continue
            broadcast = places.is_broadcast(term, nest)
            columns = places.block(units) if term.size == nest.size else 1
            registers += -(-places.tiles.rows * columns * places.bits // 32 // threads)
            if registers <= AHEAD:
                name = known[term, units] = f"v{term.index}_{units}"
                at_units = () if broadcast else (f"u{units}", f"has{units}")
                reads = (argument(access.buffer), *at_units)
                values[name] = Ahead(places.at_units(term, nest), reads)
    return values


def _step(places: KernelPlaces, known: dict[tuple[Term, int], str]) -> list[str]:
    """Print one step: all nests, and the barriers between them."""
    lines: list[str] = []
    changed: set[Term] = set()
    for nest in places.nests:
        if places.from_memory(nest) & changed:
            lines += _wait(places)
            changed = set()
        lines.append(f"# {len(nest.terms)} terms of {_counted(places, nest)}")
        print_nest(lines.append, places, nest, known)
        changed |= set(nest.terms)
    return lines + _wait(places)


def _counted(places: KernelPlaces, nest: Nest) -> str:
    units = places.units(nest.size)
    return f"{units} units" if units != 1 else "one unit"


def _wait(places: KernelPlaces) -> list[str]:
    if places.tiles.parts == 1:
        return ["tl.debug_barrier()"]
    return [f"turn += {places.tiles.parts}", "wait(counters + tile, turn)"]
