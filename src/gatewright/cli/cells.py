"""`gatewright cells`: what ships, with its equations."""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatewright.cli.app import app
from gatewright.errors import ArgumentError

if TYPE_CHECKING:
    from gatewright.language.cell import Cell


@app.command()
def cells(
    name: Annotated[str | None, typer.Argument(help="Only this cell.", show_default=False)] = None,
    names: Annotated[
        str | None,
        typer.Option(
            help='"lesson" writes event, STM and LTM instead of x, h and c.', show_default=False
        ),
    ] = None,
    latex: Annotated[bool, typer.Option("--latex", help="As LaTeX.")] = False,
    svg: Annotated[
        Path | None,
        typer.Option(help="Write a diagram of each cell into this new directory."),
    ] = None,
    theme: Annotated[
        str | None,
        typer.Option(
            help="Colours of the diagrams: light, dark or auto (as the reader's browser).",
            show_default="auto",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """List the cells that are shipped, family by family, or show one in full."""
    if sum((latex, svg is not None, as_json)) > 1:
        raise ArgumentError("--latex, --svg and --json exclude each other: ask for one of them")
    if names not in (None, "lesson"):
        raise ArgumentError(f"--names is {names!r}; expected lesson")
    if names is not None and (latex or svg is not None or as_json):
        raise ArgumentError("--names goes with the printed equations; leave out the other form")
    if theme is not None and svg is None:
        raise ArgumentError("--theme goes with the diagrams of --svg; give both")
    chosen = _chosen_cells(name)
    if svg is not None:
        _write_diagrams(chosen, svg, theme or "auto")
    elif as_json:
        print(json.dumps([_described(key, cell) for key, cell in chosen.items()], indent=2))
    elif name is None and names is None and not latex:
        _print_families([_described(key, cell) for key, cell in chosen.items()])
    else:
        for at, cell in enumerate(chosen.values()):
            if at:
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

    return {key: cell_class(key)() for key in (CELLS if name is None else [name])}


def _described(name: str, cell: Cell) -> dict[str, str]:
    """What is said of a cell; its family is the file that it stands in, by its first line."""
    kind = type(cell)
    words = " ".join((kind.__doc__ or "").split())
    # Who and when, and the title; what follows is for the reader of the file.
    source = re.search(r'Source: (.*? \d{4}(, ".*?")?|[^.;]*)', words)
    return {
        "name": name,
        "class": kind.__name__,
        "family": (sys.modules[kind.__module__].__doc__ or "").partition("\n")[0],
        "about": cell.equations.about,
        "source": source[1] if source else "",
        "equations": str(cell),
        "latex": cell.latex(),
    }


def _print_families(described: list[dict[str, str]]) -> None:
    width = max(len(one["name"]) for one in described)
    for family in dict.fromkeys(one["family"] for one in described):
        print(f"{family}\n")
        for one in described:
            if one["family"] == family:
                print(f"  {one['name']:<{width}}  {one['about']}")
                print(f"  {'':<{width}}  {one['source']}")
        print()
    print("gatewright cells NAME shows one with its equations; NAME is also what a layer takes.")


def _write_diagrams(chosen: dict[str, Cell], directory: Path, theme: str) -> None:
    from gatewright.files import write_directory

    drawn = {name: cell.svg(ground=True, theme=theme) for name, cell in chosen.items()}
    write_directory(directory, {f"{name}.svg": svg.encode() for name, svg in drawn.items()})
    print(f"{len(chosen)} diagrams in {directory}")
