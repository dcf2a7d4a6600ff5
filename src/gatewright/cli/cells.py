"""`gatewright cells`: the cells that ship, with their equations, diagrams and kernels."""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatewright.cli import options
from gatewright.cli.app import command
from gatewright.errors import ArgumentError
from gatewright.names import did_you_mean

if TYPE_CHECKING:
    from gatewright.language.cell import Cell

KERNELS = ("llvm", "asm", "triton")
#: The hidden and the input size of a printed kernel for GPUs, where none is given.
SIZE = 64


@command
def cells(
    name: Annotated[
        str | None,
        typer.Argument(help="Only this cell, or your own: my.py:MyCell.", show_default=False),
    ] = None,
    names: Annotated[
        str | None,
        typer.Option(
            help='"lesson" writes event, STM and LTM instead of x, h and c.', show_default=False
        ),
    ] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Print LaTeX.")] = False,
    svg: Annotated[
        Path | None,
        typer.Option(help="Write a diagram of each cell into this new directory."),
    ] = None,
    theme: Annotated[
        str | None,
        typer.Option(
            help="Colours of the diagrams: light, dark or auto (follows the browser).",
            show_default="auto",
        ),
    ] = None,
    kernel: Annotated[
        str | None,
        typer.Option(
            help="Print the cell's kernel: llvm or asm for this processor (GATEWRIGHT_CPU names "
            "another), triton for GPUs.",
            show_default=False,
        ),
    ] = None,
    backward: Annotated[
        bool, typer.Option("--backward", help="Print the kernel of the backward pass.")
    ] = False,
    hidden: Annotated[
        int | None,
        typer.Option(
            min=1, help="Units that a kernel for GPUs is printed for.", show_default=str(SIZE)
        ),
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """List the cells that ship, family by family, or show one in full."""
    forms = {
        "--latex": latex,
        "--svg": svg is not None,
        "--kernel": kernel is not None,
        "--json": as_json,
    }
    chosen_forms = [form for form, chosen in forms.items() if chosen]
    if len(chosen_forms) > 1:
        raise ArgumentError(f"{' and '.join(chosen_forms)} exclude each other: give one of them")
    if names not in (None, "lesson"):
        raise ArgumentError(f"--names is {names!r}; expected lesson")
    if names is not None and chosen_forms:
        raise ArgumentError("--names goes with the printed equations; leave out the other form")
    if theme is not None and svg is None:
        raise ArgumentError("--theme goes with the diagrams of --svg; give both")
    if kernel is not None:
        print(_kernel(name, kernel, backward, hidden), end="")
        return
    if backward or hidden is not None:
        option = "--backward" if backward else "--hidden"
        raise ArgumentError(f"{option} goes with --kernel; give both")
    chosen = _chosen_cells(name)
    if svg is not None:
        _write_diagrams(chosen, svg, theme or "auto")
    elif as_json:
        print(json.dumps([_description(key, cell) for key, cell in chosen.items()], indent=2))
    elif name is None and names is None and not latex:
        _print_families([_description(key, cell) for key, cell in chosen.items()])
    else:
        for position, cell in enumerate(chosen.values()):
            if position:
                print()
            if latex:
                print(cell.latex())
            elif names is not None:
                cell.show(names=names)
            else:
                print(cell)
                print(inspect.cleandoc(type(cell).__doc__ or "").partition("\n")[2])


def _chosen_cells(name: str | None) -> dict[str, Cell]:
    from gatewright.cells import CELLS, cell_class
    from gatewright.training.cell_file import cell_from_file, names_a_file

    if name is not None and names_a_file(name):
        cell = cell_from_file(name)
        return {cell.equations.name: cell}
    return {key: cell_class(key)() for key in (CELLS if name is None else [name])}


def _description(name: str, cell: Cell) -> dict[str, str]:
    """A cell for the list; its family is the first line of the file that defines it."""
    kind = type(cell)
    words = " ".join((kind.__doc__ or "").split())
    # Only who and when, and the title; the rest is for readers of the file.
    source = re.search(r'Source: (.*? \d{4}(, ".*?")?|[^.;]*)', words)
    module = sys.modules.get(kind.__module__)
    return {
        "name": name,
        "class": kind.__name__,
        "family": ((module and module.__doc__) or "").partition("\n")[0],
        "about": cell.equations.about,
        "source": source[1] if source else "",
        "equations": str(cell),
        "latex": cell.latex(),
    }


def _print_families(descriptions: list[dict[str, str]]) -> None:
    width = max(len(cell["name"]) for cell in descriptions)
    for family in dict.fromkeys(cell["family"] for cell in descriptions):
        print(f"{family}\n")
        for cell in descriptions:
            if cell["family"] == family:
                print(f"  {cell['name']:<{width}}  {cell['about']}")
                print(f"  {'':<{width}}  {cell['source']}")
        print()
    print("gatewright cells NAME shows one with its equations; layers take the same names.")


def _write_diagrams(chosen: dict[str, Cell], directory: Path, theme: str) -> None:
    from gatewright.files import write_directory

    drawn = {name: cell.svg(ground=True, theme=theme) for name, cell in chosen.items()}
    write_directory(directory, {f"{name}.svg": svg.encode() for name, svg in drawn.items()})
    print(f"{len(chosen)} diagrams in {directory}")


def _kernel(name: str | None, form: str, backward: bool, hidden: int | None) -> str:
    """The kernel of one cell, as text."""
    if form not in KERNELS:
        nearest = did_you_mean(form, KERNELS)
        raise ArgumentError(f"--kernel is {form!r}; {nearest}expected one of {', '.join(KERNELS)}")
    if name is None:
        raise ArgumentError(f"name the cell: gatewright cells lstm --kernel {form}")
    graph = next(iter(_chosen_cells(name).values())).graph
    if form == "triton":
        from gatewright.backends.triton.listing import kernel_text as triton_text

        size = hidden or SIZE
        return triton_text(graph, {"input": size, "hidden": size}, backward=backward)
    if hidden is not None:
        raise ArgumentError(
            "--hidden goes with --kernel triton: the kernels for the CPU read their sizes when "
            "they run, so they are the same for all"
        )
    from gatewright.backends.llvm.listing import kernel_text

    return kernel_text(graph, form, backward=backward)
