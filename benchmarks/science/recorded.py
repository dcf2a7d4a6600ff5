"""Tasks on recorded data, with fixed training, validation and test parts.

The other memory tasks draw fresh examples instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from gatewright.memory import Examples, MemoryTask
from gatewright.memory.learning import CHOOSE, TEST


@dataclass(frozen=True, slots=True)
class Recorded(MemoryTask):
    """A task with a limited number of examples, in three separate parts.

    Attributes:
        validation: All examples of the validation part.
        test: All examples of the test part. `draw` takes examples from the training part.
    """

    validation: Examples
    test: Examples

    def examples(self, count: int, seed: int) -> Examples:
        """Return the whole part that `learn` asks for by its seed; `count` plays no role."""
        return {CHOOSE: self.validation, TEST: self.test}[seed % 3]

    def without_test(self) -> Recorded:
        """Replace the test part by the validation part, for comparing settings on validation."""
        return replace(self, test=self.validation)


def select(examples: Examples, indices: torch.Tensor) -> Examples:
    """Select sequences by their indices in the batch."""
    return Examples(
        examples.inputs[:, indices],
        examples.targets[:, indices],
        examples.scored[:, indices],
        examples.judged[:, indices],
    )


def draw_from(examples: Examples) -> Callable[[int, torch.Generator], Examples]:
    """Return a function that draws sequences with replacement."""

    def draw(count: int, generator: torch.Generator) -> Examples:
        indices = torch.randint(len(examples), (count,), generator=generator)
        return select(examples, indices)

    return draw


def add_choose_option(parser: argparse.ArgumentParser) -> None:
    """Add `--choose`, which compares settings without the test part."""
    parser.add_argument(
        "--choose",
        action="store_true",
        help="compare settings on the validation part and leave the test part unused",
    )
