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
from gatewright.training.checkpoint import JobKeeper, read_outcome
from gatewright.training.history import Epoch, History
from gatewright.training.job import Outcome, TrainingJob, perform
from gatewright.training.processes.pool import WorkerPool
from gatewright.training.run import OpenRun


def perform_here(
    jobs: Sequence[TrainingJob],
    data: Any,
    *,
    on_epoch: Callable[[TrainingJob, Epoch], None] = lambda job, epoch: None,
    on_end: Callable[[TrainingJob, History], None] = lambda job, history: None,
    keep: bool = False,
    processes: int | None = None,
    run: OpenRun | None = None,
    deadline: float | None = None,
    pool: WorkerPool | None = None,
) -> list[Outcome]:
    """Do what `pool.perform_all` does, one job after the other in this process."""

    def performed(job: TrainingJob) -> Outcome:
        outcome = None if run is None else read_outcome(run.file_of(job), job)
        if outcome is None:
            keeper = None if run is None else JobKeeper(run.file_of(job), job, run.every)
            model, history = perform(
                job, data, lambda state: on_epoch(job, state.latest()), keeper=keeper
            )
            outcome = Outcome(job, history, model.state_dict())
            if keeper is not None:
                keeper.finish(history, outcome.weights)
        on_end(job, outcome.history)
        return outcome

    return [performed(job) for job in jobs]


@contextmanager
def training_here() -> Iterator[None]:
    """Make every training inside the block run in this process, and write short samples of texts:
    those of 400 symbols took twice as long as a short training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "perform_all", perform_here)
        patch.setattr(presentation, "SAMPLE", 40)
        yield
        # A patch made inside that ends later would bring this one back for all later tests.
        assert experiment.perform_all is perform_here, "patch it in a context inside this one"


@contextmanager
def few_baselines(count: int) -> Iterator[None]:
    """Compare networks with the simplest baselines only.

    The fits of the others take most of the time of short trainings.
    """
    every = plan_module.baselines_for
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_module, "baselines_for", lambda task: every(task)[:count])
        patch.setattr(plan_module, "missing_baselines", lambda task: [])
        yield


@contextmanager
def without_baselines() -> Iterator[None]:
    """Compare networks with no baselines."""
    with few_baselines(0):
        yield
