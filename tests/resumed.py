"""Small trainings of each kind, ended after any step and resumed, for the tests of checkpoints."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gatewright.training.checkpoint import JobKeeper, read_outcome
from gatewright.training.job import Outcome, TrainingJob, perform
from gatewright.training.plan import make_plan

#: The files of `tables.write_tables`, and the cell that learns from each. The last two have noise
#: or dropout inside the loop, and all have dropout before the readout.
KINDS = {
    "classes.csv": "gru",
    "hours.csv": "lstm",
    "tags.csv": "zoneout_lstm",
    "fox.txt": "recurrent_dropout_lstm",
}


def small_job(folder: Path, name: str, epochs: int = 3) -> tuple[TrainingJob, Any]:
    """A short training on a file, and its data."""
    plan = make_plan(
        folder / name,
        [KINDS[name]],
        seeds=1,
        hidden_size=5,
        epochs=epochs,
        design="plain",
        say=lambda line: None,
        reading={},
    )
    (job,) = plan.jobs()
    return replace(job, recipe=replace(job.recipe, dropout=0.2, epochs=epochs)), plan.training


def perform_part(
    job: TrainingJob, data: Any, path: Path, *, steps: int | None = None, every: int | None = None
) -> bool:
    """Go on with a job from its file; tells if it came to its end within so many steps."""
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return steps is not None and asked > steps

    keeper = JobKeeper(path, job, every)
    model, history = perform(job, data, stop=stop, keeper=keeper)
    keeper.finish(history, model.state_dict())
    return read_outcome(path, job) is not None


def killed_while_performing(
    job: TrainingJob, data: Any, path: Path, seconds: float, *, every: int | None = None
) -> bool:
    """Perform a job in a process that is killed after some seconds; tells if it had ended before.

    The process is a fork, which is there at once: torch was imported before.
    """
    child = os.fork()
    if child == 0:
        perform_part(job, data, path, every=every)
        os._exit(0)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert status == 0
            return True
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def measured_alike(outcome: Outcome | None, expected: Outcome | None) -> bool:
    """Tell if two outcomes of a job are equal to the bit, but for measured times."""
    assert outcome is not None and expected is not None
    same_names = outcome.weights.keys() == expected.weights.keys()
    same_weights = all(
        torch.equal(tensor, outcome.weights[name]) for name, tensor in expected.weights.items()
    )
    histories = [without_times(own.history.to_json()) for own in (outcome, expected)]
    return same_names and same_weights and histories[0] == histories[1]


def without_times(value: Any) -> Any:
    """A value of JSON without the fields of measured times, whose names contain `seconds`."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if "seconds" not in k}
    if isinstance(value, list):
        return [without_times(item) for item in value]
    return value
