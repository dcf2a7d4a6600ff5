"""Temporal order: the order of two rare symbols, long ago."""

from __future__ import annotations

import math

import torch

from gatewright.errors import ArgumentError
from gatewright.memory.tasks.task import Examples, MemoryTask, check_lengths, one_hot, uniform

#: Codes 0 to 3 are noise; X and Y matter; START begins and END ends a sequence.
X, Y, START, END = 4, 5, 6, 7


def temporal_order(steps: int = 100) -> MemoryTask:
    """Distinguish XX, XY, YX and YY: two symbols among noise, with the question at the end.

    The first symbol is at 10 to 20 % of `steps`, the second at 50 to 60 %. The sequence ends
    at 100 to 110 %, where the answer is scored; after that the input is zero.
    Source: Hochreiter and Schmidhuber 1997, section 5.6, task 6a. Chance: 1 / 4.
    """
    check_lengths(steps=steps)
    if steps < 10:
        raise ArgumentError(
            f"steps={steps}; expected at least 10, so that the two symbols have different places"
        )
    longest = steps + steps // 10

    def draw(count: int, generator: torch.Generator) -> Examples:
        sequence = uniform(0, 3, (longest, count), generator)
        sequence[0] = START
        classes = torch.zeros(count, dtype=torch.int64)
        for part in (1, 5):
            place = uniform(part * steps // 10, (part + 1) * steps // 10, (1, count), generator)
            second = uniform(0, 1, (1, count), generator)
            sequence.scatter_(0, place, torch.where(second > 0, Y, X))
            classes = 2 * classes + second[0]
        ends = uniform(steps - 1, longest - 1, (1, count), generator)
        sequence.scatter_(0, ends, END)
        index = torch.arange(longest)[:, None]
        sequence[index > ends] = -1
        return Examples.of(one_hot(sequence, 8), classes.expand(longest, -1), index == ends)

    return MemoryTask(
        name=f"temporal_order(steps={steps})",
        about=f"Tell the order of two symbols within about {steps} steps.",
        source="Hochreiter and Schmidhuber 1997, section 5.6, task 6a",
        kind="class",
        inputs=8,
        outputs=4,
        lag=longest - 1 - steps // 10,
        chance=1 / 4,
        baseline=math.log(4),
        draw=draw,
    )
