"""Reber grammars: predict the symbols that may come next, with a long lag."""

from __future__ import annotations

import torch

from gatewright.memory.tasks.task import Examples, MemoryTask, check_lengths, one_hot, uniform

SYMBOLS = "BTPSXVE"

#: Reber's grammar: for each state, the symbols that may come and the states they lead to.
REBER: tuple[dict[str, int], ...] = (
    {"B": 1},
    {"T": 2, "P": 3},
    {"S": 2, "X": 4},
    {"T": 3, "V": 5},
    {"X": 3, "S": 6},
    {"P": 4, "V": 6},
    {"E": 7},
    {},
)


def reber_string(generator: torch.Generator) -> tuple[str, list[str]]:
    """A string of Reber's grammar, and for each of its symbols those that may come next."""
    state, string, nexts = 0, "", []
    while REBER[state]:
        choices = list(REBER[state])
        symbol = choices[int(uniform(0, len(choices) - 1, (), generator))]
        string += symbol
        state = REBER[state][symbol]
        nexts.append("".join(REBER[state]))
    return string, nexts


def embedded_string(generator: torch.Generator) -> tuple[str, list[str]]:
    """A string of the embedded grammar, whose second symbol comes again before its last."""
    inner, nexts = reber_string(generator)
    branch = "TP"[int(uniform(0, 1, (), generator))]
    # After the inner string comes the branch that was chosen before it.
    return f"B{branch}{inner}{branch}E", ["TP", "B", *nexts[:-1], branch, "E", ""]


def embedded_reber() -> MemoryTask:
    """The embedded Reber grammar: predict at each step which symbols may come next.

    Nearly all answers depend on the last few symbols; the answer before the end depends on
    the second symbol of the string, at least 5 steps back.
    Source: Smith and Zipser 1989; Hochreiter and Schmidhuber 1997, section 5.1. A string
    counts as right if every step is; guessing that symbol is right for 1 / 2.
    """
    return MemoryTask(
        name="embedded_reber",
        about="Predict which symbols may come next in the embedded Reber grammar.",
        source="Smith and Zipser 1989; Hochreiter and Schmidhuber 1997, section 5.1",
        kind="set",
        inputs=len(SYMBOLS),
        outputs=len(SYMBOLS),
        lag=5,
        chance=1 / 2,
        baseline=None,
        draw=lambda count, generator: padded(
            [embedded_string(generator) for _ in range(count)], SYMBOLS
        ),
    )


def continual_reber(strings: int = 10) -> MemoryTask:
    """Embedded Reber strings in one stream, without a mark where a string begins.

    The network has to empty its memory by itself: the forget gate was invented for this task.
    Source: Gers, Schmidhuber and Cummins 2000, "Learning to forget", section 4.1.
    A stream counts as right if every step is; guessing gets 1 / 2 of each string.
    """
    check_lengths(strings=strings)

    def stream(generator: torch.Generator) -> tuple[str, list[str]]:
        parts = [embedded_string(generator) for _ in range(strings)]
        # After each E the next string begins.
        string = "".join(part for part, _ in parts)
        return string, [symbols or "B" for _, nexts in parts for symbols in nexts]

    return MemoryTask(
        name=f"continual_reber(strings={strings})",
        about=f"Predict which symbols may come next, through {strings} strings without a break.",
        source="Gers, Schmidhuber and Cummins 2000, section 4.1",
        kind="set",
        inputs=len(SYMBOLS),
        outputs=len(SYMBOLS),
        lag=5,
        chance=0.5**strings,
        baseline=None,
        draw=lambda count, generator: padded([stream(generator) for _ in range(count)], SYMBOLS),
    )


def padded(strings: list[tuple[str, list[str]]], symbols: str) -> Examples:
    """Strings, with the symbols that may come next, as examples of equal length.

    A step is scored if some symbol may come next; after the end of a string the input is zero.
    """
    steps = max(len(string) for string, _ in strings)
    sequences = torch.full((steps, len(strings)), -1)
    targets = torch.zeros(steps, len(strings), len(symbols))
    for row, (string, nexts) in enumerate(strings):
        sequences[: len(string), row] = torch.tensor([symbols.index(s) for s in string])
        for step, possible in enumerate(nexts):
            for symbol in possible:
                targets[step, row, symbols.index(symbol)] = 1.0
    return Examples.of(one_hot(sequences, len(symbols)), targets, targets.any(-1))
