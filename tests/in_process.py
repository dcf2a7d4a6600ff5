"""Train inside the test's own process: the same results, without starting a torch for each.

`test_compare.py` holds that worker processes work and that their number does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from gatewright.tasks.text import presentation
from gatewright.training import experiment
from gatewright.training import plan as plan_module
from gatewright.training.job import TrainingJob, perform
from gatewright.training.loop import LoopState
from gatewright.training.processes.pool import Outcome


def perform_here(
    jobs: Sequence[TrainingJob],
    data: Any,
    *,
    on_epoch: Callable[[TrainingJob, int, float], None] = lambda job, epoch, loss: None,
    keep: bool = False,
    processes: int | None = None,
) -> list[Outcome]:
    """Do what `pool.perform_all` does, one job after the other in this process."""

    def performed(job: TrainingJob) -> Outcome:
        def report(state: LoopState) -> None:
            on_epoch(job, state.epoch, state.history.train_loss[-1])

        model, history = perform(job, data, report)
        return Outcome(job, history, model.state_dict())

    return [performed(job) for job in jobs]


@contextmanager
def training_here() -> Iterator[None]:
    """Make every training inside the block run in this process, and write short samples of texts:
    those of 400 symbols took twice as long as a short training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "perform_all", perform_here)
        patch.setattr(presentation, "SAMPLE", 40)
        yield


@contextmanager
def without_baselines() -> Iterator[None]:
    """Compare networks with no baselines: their fits take most of the time of short trainings."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("baselines_for", "missing_baselines"):
            patch.setattr(plan_module, name, lambda task: [])
        yield
