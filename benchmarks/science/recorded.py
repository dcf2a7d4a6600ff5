"""Tasks of recorded data: three parts that never meet, where other tasks draw fresh examples."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from gatewright.memory import Examples, MemoryTask
from gatewright.memory.learning import CHOOSE, TEST


@dataclass(frozen=True, slots=True)
class Recorded(MemoryTask):
    """A task whose examples are there, and no more of them.

    Attributes:
        chosen_on, tested_on: All examples of these parts; `draw` takes from the training part.
    """

    chosen_on: Examples
    tested_on: Examples

    def examples(self, count: int, seed: int) -> Examples:
        """The whole part that `learn` asks for, however many it asks for."""
        return {CHOOSE: self.chosen_on, TEST: self.tested_on}[seed % 3]

    def without_test(self) -> Recorded:
        """The same with its test part left unopened: for what is chosen on validation."""
        return replace(self, tested_on=self.chosen_on)


def rows(examples: Examples, chosen: torch.Tensor) -> Examples:
    """Some of the sequences."""
    return Examples(
        examples.inputs[:, chosen],
        examples.targets[:, chosen],
        examples.scored[:, chosen],
        examples.judged[:, chosen],
    )


def drawing(examples: Examples) -> Callable[[int, torch.Generator], Examples]:
    """Draws from the training part, with replacement."""

    def draw(count: int, generator: torch.Generator) -> Examples:
        return rows(examples, torch.randint(len(examples), (count,), generator=generator))

    return draw


def choosing(parser: argparse.ArgumentParser) -> None:
    """The option to compare settings before the test."""
    parser.add_argument(
        "--choose", action="store_true", help="compare settings on validation; the test stays shut"
    )
