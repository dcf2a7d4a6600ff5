"""Counting in a^n b^n c^n: networks are trained with n up to 10 and tested with longer strings.

    python benchmarks/science/counting.py --seeds 5

The result is the longest n up to which every string is accepted, with each step right.
"""

from __future__ import annotations

from functools import partial

import torch
from common import Entry, options, perform
from networks import network

from gatewright.memory import TASKS, Budget, LearningResult
from gatewright.memory.tasks.task import MemoryTask

#: The longest n that is tested.
MAX_LENGTH = 500
BUDGET = Budget(steps=10_000, batch=16, rate=1e-2, check=200, enough=1.1)


@torch.no_grad()
def reach(learnt: LearningResult, name: str) -> dict[str, float]:
    """Find the longest n up to which every string is accepted."""
    for n in range(1, MAX_LENGTH + 1):
        task: MemoryTask = TASKS[name](longest=n, shortest=n)
        examples = task.examples(1, seed=0)
        if task.score(learnt.model(examples.inputs), examples) < 1.0:
            return {"accepted to": float(n - 1)}
    return {"accepted to": float(MAX_LENGTH)}


def main() -> None:
    """Train the networks and print the table."""
    arguments = options(__doc__).parse_args()
    published = {
        "peephole LSTM, 3 units": "18 to 29 (a 2026 NumPy reproduction)",
        "peephole LSTM, 2 units": "",
    }
    entries = []
    for name, units in (("anbncn", 3), ("anbn", 2)):
        for title, cell in (
            ("peephole LSTM", "peephole_lstm"),
            ("LSTM", "lstm"),
            ("GRU", "gru"),
            ("RNN", "elman_rnn"),
        ):
            label = f"{title}, {units} units"
            entries.append(
                Entry(
                    label,
                    TASKS[name](longest=10),
                    network(cell, units),
                    BUDGET,
                    published.get(label, ""),
                    partial(reach, name=name),
                )
            )
    perform("counting", entries, arguments)


if __name__ == "__main__":
    main()
