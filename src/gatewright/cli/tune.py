"""`gatewright tune`: search for the settings of a training."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from gatewright.cli import options
from gatewright.cli.app import command
from gatewright.cli.options import COMPUTING, READING, new_run, takes
from gatewright.cli.wording import on_screen
from gatewright.errors import ArgumentError
from gatewright.escaping import printable
from gatewright.names import comma_separated


@command
@takes(COMPUTING, READING)
def tune(
    data: options.Data,
    trials: Annotated[
        int, typer.Option(min=1, help="Trials in total, those before a resumption included.")
    ] = 50,
    out: options.Out = None,
    config: options.Config = None,
    cells: Annotated[str | None, options.cells_option("gru")] = None,
    search: Annotated[
        str | None,
        typer.Option(
            help="What is searched, comma-separated: learning_rate, hidden_size, window, ...",
            show_default="what the task has",
        ),
    ] = None,
    folds: Annotated[
        int, typer.Option(min=1, help="Trainings of each trial, whose losses are averaged.")
    ] = 1,
    epochs: options.Epochs = None,
    pruner: Annotated[
        str, typer.Option(help="Which trials end early: median, hyperband or none.")
    ] = "median",
    workers: Annotated[int, typer.Option(min=1, help="Processes that search.")] = 1,
    time_limit: Annotated[
        str | None, typer.Option(help="Stop after so long: 90s, 30m, 2h.", show_default="none")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the study in --out, or join it as a worker."),
    ] = False,
    seed: Annotated[int, typer.Option(help="Random seed.")] = 0,
    progress: options.Progress = True,
    as_json: options.AsJson = False,
    **settings: Any,
) -> None:
    """Search for the settings that do best on validation; train --config takes them.

    Ctrl-C keeps the study. It needs Optuna, which comes with the extra "tune".
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ArgumentError("tune is not for torchrun; several processes search with --workers")
    from gatewright.data.reading import check_exists

    check_exists(data)
    from gatewright.training.tuning.study import BEST
    from gatewright.training.tuning.tune import tune as run

    def report(line: str) -> None:
        print(on_screen(line), file=sys.stderr)

    directory = out or new_run(data)
    tuned = run(
        data,
        trials=trials,
        out=directory,
        config=config,
        cells=None if cells is None else comma_separated(cells),
        search=None if search is None else comma_separated(search),
        folds=folds,
        epochs=epochs,
        pruner=pruner,
        workers=workers,
        time_limit=time_limit,
        resume=resume,
        seed=seed,
        progress=progress and not as_json,
        say=report,
        **options.arguments(settings),
    )
    if as_json:
        print(tuned.to_json())
        return
    from rich.console import Console

    Console().print(tuned.table())
    print(on_screen(tuned.sentence()))
    for remark in tuned.remarks:
        print(on_screen(remark))
    command = f"gatewright train {shlex.quote(data)} --config {_quoted(directory / BEST)}"
    print(printable(f"open {directory / 'report.html'}; train with: {command}"))


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
