"""One progress bar over all runs of a comparison, with the loss and the time left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gatewright.training.job import Run


@contextmanager
def progress_bar(
    runs: Sequence[Run], costs: Mapping[str, float], *, shown: bool, what: str = "trainings"
) -> Iterator[Callable[[Run, int, float], None]]:
    """Yields what is to be told of every epoch: the run, how many it has, and the loss.

    `costs` is how long an epoch of each network takes beside the others, `what` is counted.

    On the error stream, so that standard output is the result alone.
    """
    if not shown:
        yield lambda run, epoch, loss: None
        return
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[ended]} of {task.fields[runs]} " + what),
        TextColumn("loss {task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("left"),
        console=Console(file=sys.stderr),
        expand=True,
    )
    # An epoch of one network takes longer than of another; the time left has to know.
    total = sum(costs[run.network] * run.recipe.epochs for run in runs)
    task = bar.add_task("starting", total=total, runs=len(runs), ended=0, loss="–")
    so_far: dict[int, int] = {}

    def told(run: Run, epoch: int, loss: float) -> None:
        key = id(run)
        # A run that ends early is told of as having had all of its epochs.
        passed, so_far[key] = epoch - so_far.get(key, 0), epoch
        bar.update(
            task,
            advance=costs[run.network] * passed,
            description=f"{run.network}, seed {run.seed}",
            ended=sum(count == run.recipe.epochs for count in so_far.values()),
            loss=f"{loss:.3f}",
        )

    with bar:
        yield told


@contextmanager
def baseline_bar(fits: int, *, shown: bool) -> Iterator[Callable[[str], None]]:
    """Yield the function that is called with a baseline's title before each of its fits."""
    if not shown or not fits:
        yield lambda title: None
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.completed} of {task.total} fits of baselines"),
        TimeElapsedColumn(),
        console=Console(file=sys.stderr),
        expand=True,
    )
    task = bar.add_task("starting", total=fits)
    started = False

    def before_fit(title: str) -> None:
        nonlocal started
        bar.update(task, description=title, advance=int(started))
        started = True

    with bar:
        yield before_fit
        bar.update(task, completed=fits)
