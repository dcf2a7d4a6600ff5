"""One progress bar over all runs of a comparison, with the loss and the time left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gatewright.training.networks import NETWORKS
from gatewright.training.run import Run


@contextmanager
def progress_bar(
    runs: Sequence[Run], *, shown: bool
) -> Iterator[Callable[[Run, int, float], None]]:
    """Yields what is to be told of every epoch: the run, how many it has, and the loss.

    On the error stream, so that standard output is the result alone.
    """
    if not shown:
        yield lambda run, epoch, loss: None
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[ended]} of {task.fields[runs]} trainings"),
        TextColumn("loss {task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("left"),
        console=Console(file=sys.stderr),
        expand=True,
    )
    # An epoch of one network takes longer than of another; the time left has to know.
    total = sum(NETWORKS[run.network].cost * run.recipe.epochs for run in runs)
    task = bar.add_task("starting", total=total, runs=len(runs), ended=0, loss="–")
    ended = 0

    def told(run: Run, epoch: int, loss: float) -> None:
        nonlocal ended
        ended += epoch == run.recipe.epochs
        bar.update(
            task,
            advance=NETWORKS[run.network].cost,
            description=f"{run.network}, seed {run.seed}",
            ended=ended,
            loss=f"{loss:.3f}",
        )

    with bar:
        yield told
