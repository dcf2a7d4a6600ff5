"""Tasks that need a counter: one bit for parity, a number for a^n b^n."""

from __future__ import annotations

import math
from itertools import pairwise

import torch

from gatewright.errors import ArgumentError
from gatewright.memory.tasks.reber import padded
from gatewright.memory.tasks.task import Examples, MemoryTask, check_lengths, uniform


def parity(steps: int = 50) -> MemoryTask:
    """Tell at each step if the number of ones so far is odd.

    The network has to keep one bit that every one changes, so it may forget no part of the
    past. Source: Minsky and Papert 1969, "Perceptrons"; for recurrent networks
    Hochreiter and Schmidhuber 1997, section 1. Chance: 1 / 2.
    """
    check_lengths(steps=steps)

    def draw(count: int, generator: torch.Generator) -> Examples:
        bits = uniform(0, 1, (steps, count), generator)
        return Examples.of(
            bits[..., None].float(), bits.cumsum(0) % 2, torch.ones(steps, count).bool()
        )

    return MemoryTask(
        name=f"parity(steps={steps})",
        about=f"Tell at each of {steps} steps if the number of ones is odd.",
        source="Minsky and Papert 1969; Hochreiter and Schmidhuber 1997, section 1",
        kind="class",
        inputs=1,
        outputs=2,
        lag=steps - 1,
        chance=1 / 2,
        baseline=math.log(2),
        draw=draw,
    )


def anbn(longest: int = 10, shortest: int = 1) -> MemoryTask:
    """The language a^n b^n, with n from `shortest` to `longest`: see `counting_task`."""
    return counting_task("ab", shortest, longest)


def anbncn(longest: int = 10, shortest: int = 1) -> MemoryTask:
    """The language a^n b^n c^n, with n from `shortest` to `longest`: see `counting_task`."""
    return counting_task("abc", shortest, longest)


def counting_task(letters: str, shortest: int, longest: int) -> MemoryTask:
    """Predict at each step which symbols may come next in S a^n b^n (c^n) T.

    After the first letter, it or the second letter may follow; after that a network that has
    counted knows every symbol. Each n is equally likely. A string is accepted if every step
    is right. A network that cannot count can assume the shortest n, so chance is its share.
    Source: Gers and Schmidhuber 2001, "LSTM recurrent networks learn simple context-free
    and context-sensitive languages", section III.
    """
    check_lengths(shortest=shortest, longest=longest)
    if shortest > longest:
        raise ArgumentError(f"shortest={shortest} is more than longest={longest}")
    symbols = f"S{letters}T"

    def string(n: int) -> tuple[str, list[str]]:
        blocks = [letter * n for letter in letters]
        nexts = [letters[0], *[letters[:2]] * n]
        # Within a later block the same letter follows, at its end the next letter.
        for letter, after in pairwise(symbols[2:]):
            nexts += [letter] * (n - 1) + [after]
        return f"S{''.join(blocks)}T", [*nexts, ""]

    def draw(count: int, generator: torch.Generator) -> Examples:
        numbers = uniform(shortest, longest, (count,), generator).tolist()
        return padded([string(n) for n in numbers], symbols)

    language = " ".join(f"{letter}^n" for letter in letters)
    return MemoryTask(
        name=f"{''.join(f'{letter}n' for letter in letters)}(n={shortest}..{longest})",
        about=f"Predict which symbols may come next in {language}, n from {shortest} to {longest}.",
        source="Gers and Schmidhuber 2001, section III",
        kind="set",
        inputs=len(symbols),
        outputs=len(symbols),
        lag=2 * longest - 1,
        chance=1 / (longest - shortest + 1),
        baseline=None,
        draw=draw,
    )
