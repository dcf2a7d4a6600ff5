"""Reber grammars: which symbols may come next, where the answer lies far back."""

from __future__ import annotations

import torch

from gatewright.memory.tasks.task import Examples, Task, check_lengths, one_hot, uniform

SYMBOLS = "BTPSXVE"

#: Reber's grammar: from each state the symbols that may come, and where they lead.
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
    """A string of Reber's grammar, and behind each of its symbols those that may come next."""
    state, string, nexts = 0, "", []
    while REBER[state]:
        choices = list(REBER[state])
        chosen = choices[int(uniform(0, len(choices) - 1, (), generator))]
        string += chosen
        state = REBER[state][chosen]
        nexts.append("".join(REBER[state]))
    return string, nexts


def embedded_string(generator: torch.Generator) -> tuple[str, list[str]]:
    """A string of the embedded grammar: its second symbol comes again before the last one."""
    inner, nexts = reber_string(generator)
    which = "TP"[int(uniform(0, 1, (), generator))]
    # What is behind the inner string's end is what was chosen before it.
    return f"B{which}{inner}{which}E", ["TP", "B", *nexts[:-1], which, "E", ""]


def embedded_reber() -> Task:
    """The embedded Reber grammar: say at each step which symbols may come next.

    All but one of the answers need the last few symbols; the one before the end needs the
    second symbol of the string, at least 5 steps back.
    Source: Smith and Zipser 1989; Hochreiter and Schmidhuber 1997, section 5.1. A string
    counts as right if every step is; whoever guesses that one symbol gets 1 / 2.
    """
    return Task(
        name="embedded_reber",
        about="Say which symbols may come next in the embedded Reber grammar.",
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


def continual_reber(strings: int = 10) -> Task:
    """Embedded Reber strings one after the other, with nothing that says where one begins.

    So the memory must be emptied by the network itself: the task that the forget gate was
    made for. Source: Gers, Schmidhuber and Cummins 2000, "Learning to forget", section 4.1.
    A stream counts as right if every step is; guessing gets 1 / 2 of each string.
    """
    check_lengths(strings=strings)

    def stream(generator: torch.Generator) -> tuple[str, list[str]]:
        parts = [embedded_string(generator) for _ in range(strings)]
        # Behind each E the next string begins.
        return "".join(one for one, _ in parts), [one or "B" for _, nexts in parts for one in nexts]

    return Task(
        name=f"continual_reber(strings={strings})",
        about=f"Say which symbols may come next, through {strings} strings without a break.",
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
    """Strings, and behind each symbol those that may come next, as examples.

    A step is scored where something may come next; behind a string's end the input is zero.
    """
    steps = max(len(string) for string, _ in strings)
    shown = torch.full((steps, len(strings)), -1)
    targets = torch.zeros(steps, len(strings), len(symbols))
    for row, (string, nexts) in enumerate(strings):
        shown[: len(string), row] = torch.tensor([symbols.index(one) for one in string])
        for step, possible in enumerate(nexts):
            for one in possible:
                targets[step, row, symbols.index(one)] = 1.0
    return Examples.of(one_hot(shown, len(symbols)), targets, targets.any(-1))
