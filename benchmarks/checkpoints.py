"""The share of a training's time that its checkpoints take.

    python benchmarks/checkpoints.py [--data vowels] [--cell gru] [--seeds 3]

Each training of `gatewright train` is performed in this process, on one thread, once with its
checkpoints and once without, in turns. Printed are the processor time inside the checkpoints as a
share of the training's, and the ratio of both trainings' times with its spread.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from gatewright.training.checkpoint import JobKeeper
from gatewright.training.job import TrainingJob, perform
from gatewright.training.plan import make_plan


class TimedKeeper(JobKeeper):
    """Adds up the processor time of its checkpoints."""

    seconds = 0.0
    count = 0

    def _write(self, content: dict[str, Any]) -> None:
        began = time.process_time()
        super()._write(content)
        self.seconds += time.process_time() - began
        self.count += 1


def trained(job: TrainingJob, data: Any, keeper: JobKeeper | None) -> float:
    """The processor seconds of one training."""
    began = time.process_time()
    model, history = perform(job, data, keeper=keeper)
    if keeper is not None:
        keeper.finish(history, model.state_dict())
    return time.process_time() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="vowels")
    parser.add_argument("--cell", default="gru")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args()
    torch.set_num_threads(1)
    plan = make_plan(
        options.data,
        [options.cell],
        seeds=options.seeds,
        epochs=options.epochs,
        budget="quick",
        say=lambda line: None,
        reading={},
    )
    ratios = []
    trained(plan.jobs()[0], plan.training, None)  # builds the kernels
    for job in plan.jobs():
        with tempfile.TemporaryDirectory() as folder:
            keeper = TimedKeeper(Path(folder) / "job.safetensors", job)
            with_them = trained(job, plan.training, keeper)
        plain = trained(job, plan.training, None)
        ratios.append(with_them / plain)
        share = 100 * keeper.seconds / with_them
        print(
            f"{job.network}, seed {job.seed}: {with_them:.2f} s with {keeper.count} checkpoints, "
            f"which take {share:.2f} %; {plain:.2f} s without"
        )
    print(
        f"with / without: median {statistics.median(ratios):.3f}, "
        f"from {min(ratios):.3f} to {max(ratios):.3f}"
    )


if __name__ == "__main__":
    main()
