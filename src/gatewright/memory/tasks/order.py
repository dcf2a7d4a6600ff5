"""Temporal order: which of two rare symbols came first, long ago."""

from __future__ import annotations

import math

import torch

from gatewright.errors import ArgumentError
from gatewright.memory.tasks.task import Examples, Task, check_lengths, one_hot, uniform

#: a, b, c, d carry nothing; X and Y count; E starts and B ends a sequence.
X, Y, START, END = 4, 5, 6, 7


def temporal_order(steps: int = 100) -> Task:
    """Tell XX, XY, YX and YY apart: two symbols among noise, and an end that asks.

    The first stands at 10 to 20 % of `steps`, the second at 50 to 60 %, and the sequence
    ends at 100 to 110 %, where the answer is scored; behind it the input is zero.
    Source: Hochreiter and Schmidhuber 1997, section 5.6, task 6a. Chance: 1 / 4.
    """
    check_lengths(steps=steps)
    if steps < 10:
        raise ArgumentError(f"steps={steps}; expected at least 10, so that the places differ")
    longest = steps + steps // 10

    def draw(count: int, generator: torch.Generator) -> Examples:
        shown = uniform(0, 3, (longest, count), generator)
        shown[0] = START
        classes = torch.zeros(count, dtype=torch.int64)
        for part in (1, 5):
            place = uniform(part * steps // 10, (part + 1) * steps // 10, (1, count), generator)
            which = uniform(0, 1, (1, count), generator)
            shown.scatter_(0, place, torch.where(which > 0, Y, X))
            classes = 2 * classes + which[0]
        ends = uniform(steps - 1, longest - 1, (1, count), generator)
        shown.scatter_(0, ends, END)
        at = torch.arange(longest)[:, None]
        shown[at > ends] = -1
        return Examples.of(one_hot(shown, 8), classes.expand(longest, -1), at == ends)

    return Task(
        name=f"temporal_order(steps={steps})",
        about=f"Say in which order two symbols came, within about {steps} steps.",
        source="Hochreiter and Schmidhuber 1997, section 5.6, task 6a",
        kind="class",
        inputs=8,
        outputs=4,
        lag=longest - 1 - steps // 10,
        chance=1 / 4,
        baseline=math.log(4),
        draw=draw,
    )
