"""Tasks that repeat earlier symbols: one symbol, a whole word, or scattered symbols."""

from __future__ import annotations

import math

import torch

from gatewright.memory.tasks.task import Examples, MemoryTask, check_lengths, one_hot, uniform


def recall(lag: int = 20, symbols: int = 8, distractors: bool = False) -> MemoryTask:
    """Delayed recall: name the symbol of the first step `lag` steps later.

    A channel marks the first step, another the question. The steps in between are blank, or
    have random symbols as distractors.
    Source: the latch and two-symbol tasks of Bengio, Simard and Frasconi 1994, "Learning
    long-term dependencies with gradient descent is difficult", section II; with distractors
    as in Hochreiter and Schmidhuber 1997, section 5.2. Chance: 1 / symbols.
    """
    check_lengths(lag=lag, symbols=symbols)

    def draw(count: int, generator: torch.Generator) -> Examples:
        sequence = torch.full((lag + 1, count), -1)
        if distractors:
            sequence[:lag] = uniform(0, symbols - 1, (lag, count), generator)
        sequence[0] = symbol = uniform(0, symbols - 1, (count,), generator)
        marks = torch.zeros(lag + 1, count, 2)
        marks[0, :, 0] = marks[lag, :, 1] = 1.0
        scored = torch.zeros(lag + 1, count, dtype=torch.bool)
        scored[lag] = True
        return Examples.of(
            torch.cat([one_hot(sequence, symbols), marks], -1), symbol.expand(lag + 1, -1), scored
        )

    return MemoryTask(
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


def copy(delay: int = 100, symbols: int = 8, length: int = 10) -> MemoryTask:
    """The copying task: repeat `length` symbols after `delay` steps.

    The input is the word, delay - 1 blanks, a delimiter, and `length` blanks: delay + 2 length
    steps. Every step is scored, but only the repeated word is judged, since blanks are easy.
    Source: Hochreiter and Schmidhuber 1997; in this form Arjovsky, Shah and Bengio 2016,
    "Unitary evolution recurrent neural networks", section 4.1. Without memory the loss is
    length log(symbols) / (delay + 2 length), and 1 / symbols of the word is right.
    """
    check_lengths(delay=delay, symbols=symbols, length=length)
    steps, blank, delimiter = delay + 2 * length, symbols, symbols + 1

    def draw(count: int, generator: torch.Generator) -> Examples:
        word = uniform(0, symbols - 1, (length, count), generator)
        sequence = torch.full((steps, count), blank)
        sequence[:length] = word
        sequence[length + delay - 1] = delimiter
        targets = torch.full((steps, count), blank)
        targets[-length:] = word
        judged = torch.zeros(steps, count, dtype=torch.bool)
        judged[-length:] = True
        return Examples.of(
            one_hot(sequence, symbols + 2), targets, torch.ones_like(judged), judged=judged
        )

    return MemoryTask(
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


def selective_copy(steps: int = 64, symbols: int = 14, length: int = 8) -> MemoryTask:
    """Selective copying: repeat in order `length` symbols that are scattered among blanks.

    The places of the symbols within the `steps` steps are random, so the network has to ignore
    the blanks. Then come `length` steps with a delimiter, at which the answers are due.
    Source: Gu and Dao 2023, "Mamba: linear-time sequence modeling with selective state
    spaces", section 3.1, after Jing et al. 2019. Chance: 1 / symbols.
    """
    check_lengths(steps=steps, symbols=symbols, length=length)
    check_lengths(**{"steps - length + 1": steps - length + 1})
    blank, delimiter = symbols, symbols + 1

    def draw(count: int, generator: torch.Generator) -> Examples:
        word = uniform(0, symbols - 1, (length, count), generator)
        # Random places without repetition: those of the smallest of `steps` random numbers.
        places = torch.rand(steps, count, generator=generator).argsort(0)[:length].sort(0).values
        sequence = torch.full((steps + length, count), blank)
        sequence.scatter_(0, places, word)
        sequence[steps:] = delimiter
        targets = torch.zeros(steps + length, count, dtype=torch.int64)
        targets[steps:] = word
        scored = torch.zeros(steps + length, count, dtype=torch.bool)
        scored[steps:] = True
        return Examples.of(one_hot(sequence, symbols + 2), targets, scored)

    return MemoryTask(
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
