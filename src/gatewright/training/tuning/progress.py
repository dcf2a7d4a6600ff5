"""The progress bar of a search: its trials, and the training at work."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import Progress

from gatewright.training.processes.progress import bar_columns
from gatewright.training.tuning.study import best_trial, count_trials


class SearchBar:
    """Shows nothing; the bar that is shown derives from it."""

    def on_trial(self) -> None:
        """Count the study's trials again."""

    def on_epoch(self, trial: int, epoch: int, loss: float) -> None:
        """Show the training of this process."""


class _ShownBar(SearchBar):
    def __init__(self, progress: Progress, study: Any, trials: int) -> None:
        self.progress, self.study = progress, study
        self.task = progress.add_task("starting", total=trials, best="–")
        self.on_trial()

    def on_trial(self) -> None:
        best = best_trial(self.study)
        self.progress.update(
            self.task,
            completed=count_trials(self.study),
            best="–" if best is None else f"{best.value:.4g}",
        )

    def on_epoch(self, trial: int, epoch: int, loss: float) -> None:
        words = f"trial {trial}, epoch {epoch}, loss {loss:.3f}"
        self.progress.update(self.task, description=words)


@contextmanager
def search_bar(study: Any, trials: int, *, shown: bool) -> Iterator[SearchBar]:
    """Yield the bar of a search, on the error stream."""
    if not shown:
        yield SearchBar()
        return
    columns = bar_columns("{task.completed} of {task.total} trials", "best {task.fields[best]}")
    progress = Progress(*columns, console=Console(file=sys.stderr), expand=True)
    with progress:
        yield _ShownBar(progress, study, trials)
