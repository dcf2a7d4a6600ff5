"""Training without processes of its own: what comes of it is the same, a torch less is started.

That the processes work, and that their number does not matter, `test_compare.py` holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from gatewright.training import experiment
from gatewright.training.job import Run, perform
from gatewright.training.loop import History
from gatewright.training.processes.pool import Outcome


def perform_here(
    runs: list[Run],
    *given: Any,
    on_epoch: Callable[[Run, int, float], None] = lambda run, epoch, loss: None,
    keep: bool = False,
    processes: int | None = None,
) -> list[Outcome]:
    """As `workers.perform_all`, one run after the other in this process."""

    def performed(run: Run) -> Outcome:
        def told(history: History) -> None:
            on_epoch(run, len(history.train_loss), history.train_loss[-1])

        model, history = perform(run, *given, told)
        return Outcome(run, history, model.state_dict())

    return [performed(run) for run in runs]


@contextmanager
def training_here() -> Iterator[None]:
    """What is trained meanwhile is trained in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "perform_all", perform_here)
        yield
