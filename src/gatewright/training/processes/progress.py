"""Progress bars: over all trainings of an experiment, and over the fits of its baselines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from gatewright.training.history import Epoch, History
from gatewright.training.job import TrainingJob
from gatewright.training.processes.chart import (
    MARGIN,
    MIN_WIDTH,
    WIDTH,
    Point,
    can_draw,
    loss_chart,
)

#: The styles of the losses on the part that is learned from, and on the validation part.
TRAINING, VALIDATION = "cyan", "yellow"


def bar_columns(*counts: str, has_end: bool = True) -> list[ProgressColumn]:
    """The columns of a progress bar: a description, the bar, counts and times.

    Args:
        counts: Templates of rich, such as "{task.completed} of {task.total} trials".
        has_end: Whether the time that is left is estimated.
    """
    columns = [
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        *map(TextColumn, counts),
        TimeElapsedColumn(),
    ]
    left = [TimeRemainingColumn(elapsed_when_finished=False), TextColumn("left")]
    return [*columns, *(left if has_end else [])]


class _LiveProgress(Progress):
    """A progress bar with a chart above it, if there is one."""

    chart: RenderableType | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        if self.chart is not None:
            yield self.chart
        yield from super().get_renderables()


class TrainingBar:
    """The bar over all trainings, and the curves of the last one; it may be shown nowhere.

    Args:
        costs: The relative time of an epoch of each network.
    """

    def __init__(
        self,
        jobs: Sequence[TrainingJob],
        costs: Mapping[str, float],
        bar: _LiveProgress | None,
    ) -> None:
        self.costs = costs
        self.bar = bar
        self.epochs: dict[str, int] = {}  # completed, by key of the job
        self.ended: set[str] = set()
        self.losses: dict[str, tuple[list[Point], list[Point]]] = {}  # training, validation
        if bar is not None:
            # In units of cost, not epochs: the time left depends on which networks are to come.
            total = sum(costs[job.network] * job.recipe.epochs for job in jobs)
            self.task = bar.add_task("starting", total=total, jobs=len(jobs), ended=0, loss="–")

    def on_epoch(self, job: TrainingJob, epoch: Epoch) -> None:
        """Advance by the epochs that a job has completed, and show the loss of the last one."""
        self._advance(job, epoch.number)
        self._show(job, epoch.train_loss)
        training, validation = self.losses.setdefault(job.key, ([], []))
        training.append((epoch.number, epoch.train_loss))
        validation.append((epoch.number, epoch.validation_loss))
        if self.bar is not None and can_draw(self.bar.console):
            width = max(min(WIDTH, self.bar.console.width - MARGIN), MIN_WIDTH)
            curves = [(TRAINING, training), (VALIDATION, validation)]
            # Rescaled when it is full: with thousands of epochs a curve is to be seen too.
            span = min(job.recipe.epochs, 1 << epoch.number.bit_length())
            chart = loss_chart(curves, span, width)
            title = Text(f"loss of {job.network}, seed {job.seed}: ", style="dim")
            title.append("training", style=TRAINING).append(", ")
            title.append("validation", style=VALIDATION)
            self.bar.chart = Group(title, chart)

    def on_end(self, job: TrainingJob, history: History) -> None:
        """Count a job that has ended, perhaps early, or in an earlier run."""
        self.ended.add(job.key)
        self._advance(job, job.recipe.epochs)
        if history.train_loss:
            self._show(job, history.train_loss[-1])

    def _advance(self, job: TrainingJob, epochs: int) -> None:
        advance = epochs - self.epochs.get(job.key, 0)
        self.epochs[job.key] = epochs
        if self.bar is not None:
            self.bar.update(self.task, advance=self.costs[job.network] * advance)

    def _show(self, job: TrainingJob, loss: float) -> None:
        if self.bar is not None:
            self.bar.update(
                self.task,
                description=f"{job.network}, seed {job.seed}",
                ended=len(self.ended),
                loss=f"{loss:.3g}",
            )


@contextmanager
def progress_bar(
    jobs: Sequence[TrainingJob],
    costs: Mapping[str, float],
    *,
    shown: bool,
    what: str = "trainings",
) -> Iterator[TrainingBar]:
    """Yield the bar over all trainings, with the curves of the losses on terminals that can.

    It is on the error stream, so that standard output holds only the result.
    """
    if not shown:
        yield TrainingBar(jobs, costs, None)
        return
    counts = "{task.fields[ended]} of {task.fields[jobs]} " + what, "loss {task.fields[loss]}"
    bar = _LiveProgress(*bar_columns(*counts), console=Console(file=sys.stderr), expand=True)
    with bar:
        yield TrainingBar(jobs, costs, bar)


@contextmanager
def baseline_bar(fits: int, *, shown: bool) -> Iterator[Callable[[str], None]]:
    """Yield a function to call with a baseline's title before each of its fits."""
    if not shown or not fits:
        yield lambda title: None
        return
    columns = bar_columns("{task.completed} of {task.total} fits of baselines", has_end=False)
    bar = Progress(*columns, console=Console(file=sys.stderr), expand=True)
    task = bar.add_task("starting", total=fits)
    started = False

    def before_fit(title: str) -> None:
        nonlocal started
        bar.update(task, description=title, advance=int(started))
        started = True

    with bar:
        yield before_fit
        bar.update(task, completed=fits)
