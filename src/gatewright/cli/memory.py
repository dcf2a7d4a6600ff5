"""`gatewright memory`: how many steps back a network remembers."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from gatewright.cli import options
from gatewright.cli.app import command
from gatewright.deprecated import deprecation
from gatewright.errors import ArgumentError
from gatewright.escaping import printable
from gatewright.names import comma_separated


@command
def memory(
    model: Annotated[
        Path | None,
        typer.Argument(help="The directory of a trained model.", show_default=False),
    ] = None,
    data: Annotated[
        str | None,
        typer.Argument(
            help="Data like the data that the model was trained on.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="A new directory for memory.html and memory.json.",
            show_default="runs/memory-DATE-TIME",
        ),
    ] = None,
    cells: Annotated[
        str | None,
        typer.Option(
            "--cells",
            "--cell",
            help="Networks to compare, comma-separated: rnn,lstm,chrono_lstm.",
            show_default="all",
        ),
    ] = None,
    networks: Annotated[
        str | None, typer.Option(hidden=True, help="The earlier name of --cells.")
    ] = None,
    seeds: options.Seeds = 3,
    progress: options.Progress = True,
    as_json: options.AsJson = False,
) -> None:
    """Measure how many steps back the lesson's networks, or MODEL on DATA, remember."""
    if networks is not None:
        text = deprecation("--networks", replacement="--cells", removal="0.4")
        print(f"warning: {text}", file=sys.stderr)
        cells = cells or networks
    if model is not None and data is None:
        raise ArgumentError("give DATA too: memory MODEL DATA, a file or a bundled data set")
    if model is not None and cells is not None:
        raise ArgumentError("--cells goes with the lesson's comparison: leave out MODEL")
    from gatewright.memory.compare import compare_memory
    from gatewright.memory.examine import examine
    from gatewright.training.processes.cores import usable_cores

    out = out or options.new_run("memory")
    if model is not None and data is not None:
        examination = examine(model, data, out=out)
        if as_json:
            print(examination.to_json())
            return
        from rich.console import Console

        Console().print(*examination.tables())
        advice = [f"- {sentence}" for sentence in examination.advice]
        for line in (examination.verdict(), *advice):
            print(printable(line))
        print(f"the pictures are in {out / 'memory.html'}")
        return
    comparison = compare_memory(
        out=out,
        networks=None if cells is None else comma_separated(cells),
        seeds=seeds,
        processes=usable_cores(),
        progress=progress and not as_json,
    )
    if as_json:
        print(comparison.to_json())
        return
    from rich.console import Console

    Console().print(comparison.table())
    print(f"{comparison.verdict()}\nthe pictures are in {out / 'memory.html'}")
