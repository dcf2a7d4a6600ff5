"""Tasks of timing: measure delays between spikes, generate spikes, generate rhythms.

Source of all three: Gers, Schraudolph and Schmidhuber 2002, "Learning precise timing with
LSTM recurrent networks", JMLR 3, sections 4 to 6. They train online on
an endless stream; here each example is a part of it, with a beginning.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from gatewright.errors import ArgumentError
from gatewright.memory.tasks.task import Examples, MemoryTask, check_lengths, uniform

SOURCE = "Gers, Schraudolph and Schmidhuber 2002"


def intervals(
    shortest: int, longest: int, spikes: int, count: int, draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The delays before each spike, `(spikes, B)`, and the step of each spike."""
    waits = uniform(shortest, longest, (spikes, count), draw)
    return waits, waits.cumsum(0)


def measure_spikes(shortest: int = 10, longest: int = 20, spikes: int = 5) -> MemoryTask:
    """Measure spike delays: at each spike, the time since the previous spike.

    The first spike is at the first step. The answer is the delay as a share of the range,
    0 to 1, so the squared error of the constant mean is the variance of a uniform distribution.
    """
    _check_range(shortest, longest, spikes)
    steps, spread = spikes * longest + 1, longest - shortest

    def draw(count: int, generator: torch.Generator) -> Examples:
        waits, places = intervals(shortest, longest, spikes, count, generator)
        train = torch.zeros(steps, count).scatter_(0, places, 1.0)
        targets = torch.zeros(steps, count).scatter_(0, places, (waits - shortest) / spread)
        scored = train > 0
        train[0] = 1.0
        return Examples.of(train[..., None], targets[..., None], scored)

    return MemoryTask(
        name=f"measure_spikes({shortest}..{longest}, spikes={spikes})",
        about=f"Tell how many steps passed between two spikes, {shortest} to {longest}.",
        source=SOURCE,
        kind="value",
        inputs=1,
        outputs=1,
        lag=longest,
        chance=(spread + 2) / (12 * spread),  # the variance of 0, 1/w, ..., 1
        baseline=(spread + 2) / (12 * spread),
        draw=draw,
    )


def generate_spikes(shortest: int = 10, longest: int = 20, spikes: int = 5) -> MemoryTask:
    """Generate timed spikes: wait for as long as the input says, then spike, repeatedly.

    The input is the current delay as a share of the range, 0 to 1, during the whole wait; the
    answer is 1 at its last step and 0 before. Spikes are not fed back. A row counts as right
    if all its steps are, which a network without memory cannot reach.
    """
    _check_range(shortest, longest, spikes)
    steps, spread = spikes * longest, longest - shortest

    def draw(count: int, generator: torch.Generator) -> Examples:
        waits, places = intervals(shortest, longest, spikes, count, generator)
        step = torch.arange(steps)[:, None]
        current = (step[:, None] >= places).sum(1)  # the index of the wait of each step
        delays = waits.gather(0, current.clamp(max=spikes - 1))
        targets = torch.zeros(steps, count).scatter_(0, places - 1, 1.0)
        scored = step < places[-1]
        inputs = torch.where(scored, (delays - shortest) / spread, 0.0)
        return Examples.of(inputs[..., None], targets[..., None], scored)

    return MemoryTask(
        name=f"generate_spikes({shortest}..{longest}, spikes={spikes})",
        about=f"Spike every {shortest} to {longest} steps, as the input says.",
        source=SOURCE,
        kind="set",
        inputs=1,
        outputs=1,
        lag=longest,
        chance=0.0,
        baseline=None,
        draw=draw,
    )


def periodic(
    shape: Literal["cosine", "triangle", "rectangle"] = "cosine",
    period: int = 20,
    periods: int = 5,
) -> MemoryTask:
    """Generate a periodic function between 0 and 1, from a start signal only.

    All examples are the same. Chance: the variance of the function over its period.
    """
    check_lengths(period=period, periods=periods)
    if shape not in SHAPES:
        raise ArgumentError(f"shape={shape!r}; give one of {', '.join(SHAPES)}")
    if period < 2:
        raise ArgumentError("period=1; a function with this period is constant, so give 2 or more")
    phase = torch.arange(period, dtype=torch.float64) / period
    wave = SHAPES[shape](phase)
    steps, chance = period * periods, wave.var(correction=0).item()

    def draw(count: int, generator: torch.Generator) -> Examples:
        inputs = torch.zeros(steps, count, 1)
        inputs[0] = 1.0
        targets = wave.float().repeat(periods)[:, None, None].expand(-1, count, -1)
        return Examples.of(inputs, targets, torch.ones(steps, count, dtype=torch.bool))

    return MemoryTask(
        name=f"periodic({shape}, period={period}, periods={periods})",
        about=f"Generate a {shape} with a period of {period} steps from a start signal.",
        source=SOURCE,
        kind="value",
        inputs=1,
        outputs=1,
        lag=steps - 1,
        chance=chance,
        baseline=chance,
        draw=draw,
    )


#: A function's values between 0 and 1 from its phase, which runs from 0 to 1.
SHAPES = {
    "cosine": lambda phase: 0.5 * (1 - torch.cos(2 * math.pi * phase)),
    "triangle": lambda phase: 1 - (2 * phase - 1).abs(),
    "rectangle": lambda phase: (phase >= 0.5).double(),
}


def _check_range(shortest: int, longest: int, spikes: int) -> None:
    check_lengths(shortest=shortest, longest=longest, spikes=spikes)
    if shortest >= longest:
        raise ArgumentError(f"shortest={shortest} and longest={longest}; longest must be larger")
