"""The adding problem: add two marked numbers of a long sequence."""

from __future__ import annotations

import torch

from gatewright.errors import ArgumentError
from gatewright.memory.tasks.task import Examples, MemoryTask, check_lengths, uniform


def adding(steps: int = 100) -> MemoryTask:
    """Add the two marked numbers of `steps` numbers between 0 and 1.

    One mark is in the first half and one in the second; the answer is due at the last step.
    Source: Hochreiter and Schmidhuber 1997, section 5.4; in this form Le, Jaitly and Hinton
    2015, "A simple way to initialize recurrent networks of rectified linear units",
    section 4.1. The constant answer 1 has a squared error of 1/6 = 0.167.
    """
    check_lengths(steps=steps)
    if steps < 2:
        raise ArgumentError("steps=1; the task adds two numbers, so give at least 2")
    half = steps // 2

    def draw(count: int, generator: torch.Generator) -> Examples:
        numbers = torch.rand(steps, count, generator=generator)
        places = torch.stack(
            [
                uniform(0, half - 1, (count,), generator),
                uniform(half, steps - 1, (count,), generator),
            ]
        )
        marks = torch.zeros(steps, count).scatter_(0, places, 1.0)
        sums = (numbers * marks).sum(0)
        scored = torch.zeros(steps, count, dtype=torch.bool)
        scored[-1] = True
        return Examples.of(
            torch.stack([numbers, marks], -1), sums[None, :, None].expand(steps, -1, 1), scored
        )

    return MemoryTask(
        name=f"adding(steps={steps})",
        about=f"Add the two marked numbers of {steps}.",
        source="Hochreiter and Schmidhuber 1997, section 5.4; Le, Jaitly and Hinton 2015",
        kind="value",
        inputs=2,
        outputs=1,
        lag=steps - 1,
        chance=1 / 6,
        baseline=1 / 6,
        draw=draw,
    )
