"""`gatewright memory`: how far back a network remembers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatewright.cli.app import app
from gatewright.cli.options import new_run, parted
from gatewright.errors import ArgumentError
from gatewright.escaping import printable


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
    from gatewright.memory.compare import compare_memory
    from gatewright.memory.examine import examine
    from gatewright.training.processes.pool import usable_cores

    out = out or new_run("memory")
    if model is not None and data is not None:
        seen = examine(model, data, out=out)
        if as_json:
            print(seen.to_json())
            return
        from rich.console import Console

        Console().print(*seen.tables())
        for line in (seen.verdict(), *(f"- {one}" for one in seen.advice)):
            print(printable(line))
        print(f"the pictures are in {out / 'memory.html'}")
        return
    found = compare_memory(
        out=out,
        networks=None if networks is None else parted(networks),
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
