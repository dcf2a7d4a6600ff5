"""Progress bars: over all trainings of an experiment, and over the fits of its baselines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gatewright.training.job import TrainingJob


@contextmanager
def progress_bar(
    jobs: Sequence[TrainingJob],
    costs: Mapping[str, float],
    *,
    shown: bool,
    what: str = "trainings",
) -> Iterator[Callable[[TrainingJob, int, float], None]]:
    """Yield a function to call after every epoch: with the job, its epochs so far and the loss.

    The bar is on the error stream, so that standard output holds only the result.

    Args:
        costs: The relative time of an epoch of each network.
        what: The word for the jobs that are counted.
    """
    if not shown:
        yield lambda job, epoch, loss: None
        return
    bar = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[ended]} of {task.fields[jobs]} " + what),
        TextColumn("loss {task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=False),
        TextColumn("left"),
        console=Console(file=sys.stderr),
        expand=True,
    )
    # In units of cost, not epochs: the time left depends on which networks are still to come.
    total = sum(costs[job.network] * job.recipe.epochs for job in jobs)
    task = bar.add_task("starting", total=total, jobs=len(jobs), ended=0, loss="–")
    epochs: dict[int, int] = {}  # completed, by id of the job

    def on_epoch(job: TrainingJob, epoch: int, loss: float) -> None:
        # A job that ends early reports its last epoch, so that the advance can be above one.
        advance = epoch - epochs.get(id(job), 0)
        epochs[id(job)] = epoch
        bar.update(
            task,
            advance=costs[job.network] * advance,
            description=f"{job.network}, seed {job.seed}",
            ended=sum(count == job.recipe.epochs for count in epochs.values()),
            loss=f"{loss:.3f}",
        )

    with bar:
        yield on_epoch


@contextmanager
def baseline_bar(fits: int, *, shown: bool) -> Iterator[Callable[[str], None]]:
    """Yield a function to call with a baseline's title before each of its fits."""
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
