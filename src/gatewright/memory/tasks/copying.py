"""Tasks that ask for what was seen: one symbol after a lag, a whole word, or a scattered one."""

from __future__ import annotations

import math

import torch

from gatewright.memory.tasks.task import Examples, Task, check_lengths, one_hot, uniform


def recall(lag: int = 20, symbols: int = 8, distractors: bool = False) -> Task:
    """Delayed recall: a symbol at the first step is asked for `lag` steps later.

    The question is one more channel. Steps in between are blank, or carry random symbols
    beside a channel that says which one is to be kept.
    Source: the latch and two-symbol tasks of Bengio, Simard and Frasconi 1994, "Learning
    long-term dependencies with gradient descent is difficult", section II; with distractors
    as in Hochreiter and Schmidhuber 1997, section 5.2. Chance: 1 / symbols.
    """
    check_lengths(lag=lag, symbols=symbols)

    def draw(count: int, generator: torch.Generator) -> Examples:
        shown = torch.full((lag + 1, count), -1)
        if distractors:
            shown[:lag] = uniform(0, symbols - 1, (lag, count), generator)
        shown[0] = kept = uniform(0, symbols - 1, (count,), generator)
        marks = torch.zeros(lag + 1, count, 2)
        marks[0, :, 0] = marks[lag, :, 1] = 1.0
        scored = torch.zeros(lag + 1, count, dtype=torch.bool)
        scored[lag] = True
        return Examples.of(
            torch.cat([one_hot(shown, symbols), marks], -1), kept.expand(lag + 1, -1), scored
        )

    return Task(
        name=f"recall(lag={lag}, symbols={symbols}{', distractors' if distractors else ''})",
        about=f"Name one of {symbols} symbols that was shown {lag} steps ago.",
        source="Bengio, Simard and Frasconi 1994; Hochreiter and Schmidhuber 1997, section 5.2",
        kind="class",
        inputs=symbols + 2,
        outputs=symbols,
        lag=lag,
        chance=1 / symbols,
        baseline=math.log(symbols),
        draw=draw,
    )


def copy(delay: int = 100, symbols: int = 8, length: int = 10) -> Task:
    """The copying task: repeat `length` symbols after `delay` steps, blanks until then.

    The word, delay - 1 blanks, a delimiter, and `length` blanks: delay + 2 length steps.
    Every step is scored; the blanks are easy, so only the repeated word is judged.
    Source: Hochreiter and Schmidhuber 1997; in this form Arjovsky, Shah and Bengio 2016,
    "Unitary evolution recurrent neural networks", section 4.1. Without memory the loss is
    length log(symbols) / (delay + 2 length), and 1 / symbols of the word is right.
    """
    check_lengths(delay=delay, symbols=symbols, length=length)
    steps, blank, delimiter = delay + 2 * length, symbols, symbols + 1

    def draw(count: int, generator: torch.Generator) -> Examples:
        word = uniform(0, symbols - 1, (length, count), generator)
        shown = torch.full((steps, count), blank)
        shown[:length] = word
        shown[length + delay - 1] = delimiter
        targets = torch.full((steps, count), blank)
        targets[-length:] = word
        judged = torch.zeros(steps, count, dtype=torch.bool)
        judged[-length:] = True
        return Examples.of(
            one_hot(shown, symbols + 2), targets, torch.ones_like(judged), judged=judged
        )

    return Task(
        name=f"copy(delay={delay}, symbols={symbols}, length={length})",
        about=f"Repeat a word of {length} symbols after {delay} steps.",
        source="Arjovsky, Shah and Bengio 2016, section 4.1",
        kind="class",
        inputs=symbols + 2,
        outputs=symbols + 1,
        lag=length + delay,
        chance=1 / symbols,
        baseline=length * math.log(symbols) / steps,
        draw=draw,
    )


def selective_copy(steps: int = 64, symbols: int = 14, length: int = 8) -> Task:
    """Selective copying: `length` symbols scattered among `steps` blanks, repeated in order.

    So when a symbol comes is not known beforehand, and the blanks have to be let by. After
    them come `length` steps with a delimiter, at which the symbols are asked for.
    Source: Gu and Dao 2023, "Mamba: linear-time sequence modeling with selective state
    spaces", section 3.1, after Jing et al. 2019. Chance: 1 / symbols.
    """
    check_lengths(steps=steps, symbols=symbols, length=length)
    check_lengths(**{"steps - length + 1": steps - length + 1})
    blank, delimiter = symbols, symbols + 1

    def draw(count: int, generator: torch.Generator) -> Examples:
        word = uniform(0, symbols - 1, (length, count), generator)
        # The places are those of the smallest of `steps` random numbers, in order.
        places = torch.rand(steps, count, generator=generator).argsort(0)[:length].sort(0).values
        shown = torch.full((steps + length, count), blank)
        shown.scatter_(0, places, word)
        shown[steps:] = delimiter
        targets = torch.zeros(steps + length, count, dtype=torch.int64)
        targets[steps:] = word
        scored = torch.zeros(steps + length, count, dtype=torch.bool)
        scored[steps:] = True
        return Examples.of(one_hot(shown, symbols + 2), targets, scored)

    return Task(
        name=f"selective_copy(steps={steps}, symbols={symbols}, length={length})",
        about=f"Repeat {length} symbols that were scattered over {steps} steps.",
        source="Gu and Dao 2023, section 3.1",
        kind="class",
        inputs=symbols + 2,
        outputs=symbols,
        lag=steps,
        chance=1 / symbols,
        baseline=math.log(symbols),
        draw=draw,
    )
