"""The command line: each command parses, then calls one function of the library.

`gatewright --help` must answer at once, so this module imports nothing heavy: what a
command needs (torch above all) it imports inside.

Exit codes: 0 done; 2 the request cannot be met, with `error: ...` on stderr and nothing
changed; 130 stopped by Ctrl-C. Anything else is a bug and shows its traceback.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatewright.errors import ArgumentError, GatewrightError

if TYPE_CHECKING:
    from gatewright.language.cell import Cell

app = typer.Typer(
    name="gatewright",
    help="Recurrent cells, written as their gates: look at them, train them, compare them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line; the one place where an error becomes a message."""
    try:
        app()
    except GatewrightError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"gatewright {version('gatewright')}")
        raise typer.Exit()


@app.callback()
def _options(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Say the version."),
    ] = False,
) -> None:
    """Options that stand before the command."""


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
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """List the cells that are shipped, family by family, or show one in full."""
    if sum((latex, svg is not None, as_json)) > 1:
        raise ArgumentError("--latex, --svg and --json exclude each other: ask for one of them")
    if names not in (None, "lesson"):
        raise ArgumentError(f"--names is {names!r}; expected lesson")
    if names is not None and (latex or svg is not None or as_json):
        raise ArgumentError("--names goes with the printed equations; leave out the other form")
    chosen = _chosen_cells(name)
    if svg is not None:
        _write_diagrams(chosen, svg)
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


@app.command()
def compare(
    data: Annotated[str, typer.Argument(help="A bundled data set: vowels.")],
    out: Annotated[
        Path | None,
        typer.Option(
            help="A new directory for the best model and report.html.",
            show_default="runs/DATA-DATE-TIME",
        ),
    ] = None,
    cells: Annotated[
        str | None,
        typer.Option(
            help="Only these, parted by commas: rnn,lstm,my.py:MyCell.", show_default="the lesson's"
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Train each network this many times.")] = 5,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Passes over the data.", show_default="the data set's"),
    ] = None,
    budget: Annotated[
        int | None,
        typer.Option(
            min=1, help="Parameters that each network may have.", show_default="the data set's"
        ),
    ] = None,
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Train the networks side by side, with equal budgets, and print one table."""
    from gatewright.training.compare import compare as run

    out = out or Path("runs") / f"{data}-{datetime.now():%Y%m%d-%H%M%S}"
    comparison = run(
        data,
        out=out,
        cells=None if cells is None else _parted(cells),
        seeds=seeds,
        epochs=epochs,
        budget=budget,
        progress=progress and not as_json,
    )
    if as_json:
        print(comparison.to_json())
        return
    from rich.console import Console

    Console().print(comparison.table())
    print(f"the best model is in {out}; open {out / 'report.html'}")


@app.command()
def memory(
    model: Annotated[
        Path | None,
        typer.Argument(help="The directory of a trained model.", show_default=False),
    ] = None,
    data: Annotated[
        str | None,
        typer.Argument(help="Data like those that it was trained on.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A new directory for memory.html and memory.json.",
            show_default="runs/memory-DATE-TIME",
        ),
    ] = None,
    networks: Annotated[
        str | None,
        typer.Option(help="Only these, parted by commas: rnn,lstm.", show_default="all"),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Train each network this many times.")] = 3,
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """How far back does a network remember? The lesson's networks, or MODEL on DATA."""
    if model is not None and data is None:
        raise ArgumentError("give DATA too: memory MODEL DATA, a file or a bundled data set")
    if model is not None and networks is not None:
        raise ArgumentError("--networks goes with the lesson's comparison: leave out MODEL")
    from gatewright.memory.comparison import compare_memory
    from gatewright.memory.examination import examine
    from gatewright.training.workers import usable_cores

    out = out or Path("runs") / f"memory-{datetime.now():%Y%m%d-%H%M%S}"
    if model is not None and data is not None:
        seen = examine(model, data, out=out)
        if as_json:
            print(seen.to_json())
            return
        from rich.console import Console

        Console().print(*seen.tables())
        print(seen.verdict(), *(f"- {one}" for one in seen.advice), sep="\n")
        print(f"the pictures are in {out / 'memory.html'}")
        return
    found = compare_memory(
        out=out,
        networks=None if networks is None else _parted(networks),
        seeds=seeds,
        processes=usable_cores(),
        progress=progress and not as_json,
    )
    if as_json:
        print(found.to_json())
        return
    from rich.console import Console

    Console().print(found.table())
    print(f"{found.verdict()}\nthe pictures are in {out / 'memory.html'}")


@app.command()
def bench(
    what: Annotated[
        str, typer.Option(help="What to measure: layers, build, memory, curves or stream.")
    ] = "layers",
    cells: Annotated[
        str | None, typer.Option(help="Parted by commas: lstm,my.py:MyCell.", show_default="four")
    ] = None,
    peers: Annotated[
        str | None,
        typer.Option(help="torch,loop,plain,torchrecurrent,onnxruntime,jax", show_default="all"),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option(help="Batch, time, input, hidden: 32x100x64x64.", show_default="the grid"),
    ] = None,
    threads: Annotated[
        str | None, typer.Option(help="Numbers of threads: 1,2.", show_default="1,2")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.0, help="Time for each pair.", show_default="2")
    ] = None,
    backend: Annotated[str | None, typer.Option(help="Ours, by name.", show_default="auto")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The smallest sizes alone.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="A directory for the raw figures, as a new file.")
    ] = None,
    progress: Annotated[bool, typer.Option(help="Show a progress bar.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Time cells beside their peers, each verified first; or builds, memory, growth."""
    from gatewright.bench.run import bench as run
    from gatewright.bench.run import finish

    found = run(
        what,
        progress=progress and not as_json,
        cells=cells,
        peers=peers,
        sizes=sizes,
        threads=threads,
        seconds=seconds,
        backend=backend,
        quick=quick,
    )
    finish(found, out=out, as_json=as_json)


def _parted(names: str) -> list[str]:
    return [name for part in names.split(",") if (name := part.strip())]


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


def _write_diagrams(chosen: dict[str, Cell], directory: Path) -> None:
    from gatewright.files import write_directory

    write_directory(
        directory, {f"{name}.svg": cell.svg().encode() for name, cell in chosen.items()}
    )
    print(f"{len(chosen)} diagrams in {directory}")


if __name__ == "__main__":
    main()
