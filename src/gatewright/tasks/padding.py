"""Padded tensors of sequences with different lengths, and the batches of an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewright.errors import SizeError
from gatewright.tasks.task import Batch, evenly


@dataclass(frozen=True, slots=True)
class Padded:
    """B sequences, padded at their ends up to the longest one, with their targets."""

    x: Tensor  # (T, B, I)
    lengths: Tensor  # (B,), int64
    target: Tensor  # (B,) a class for each sequence, or (T, B) a class for each step
    each: bool = False  # whether there is a target at each step
    weights: Tensor | None = None  # (B,), weights of the sequences in the loss

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: Tensor) -> Batch:
        """Return the rows at these positions, padded only up to the longest of them."""
        lengths = self.lengths[rows]
        steps = int(lengths.max())
        target = self.target[:steps, rows] if self.each else self.target[rows]
        items: float = int(lengths.sum()) if self.each else len(rows)
        weights = None if self.weights is None else self.weights[rows]
        if weights is not None:
            items = float(weights.sum())
        return Batch(self.x[:steps, rows], lengths, target, items=items, weights=weights)

    def steps(self, size: int) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self) // size)

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield every row once, in random order, in batches of `size`."""
        return map(self.take, torch.randperm(len(self), generator=generator).split(size))

    def ordered(self, size: int) -> Iterator[Batch]:
        """Yield every row once, in its own order."""
        return map(self.take, torch.arange(len(self)).split(size))

    def excerpt(self, count: int) -> Batch:
        """Return at most `count` rows, evenly spaced over the part, in their own order."""
        return self.take(evenly(len(self), count))


def check_shapes(
    sequences: Sequence[NDArray[np.floating]], channels: int
) -> Sequence[NDArray[np.floating]]:
    """Return the sequences if each is (time, channels) with at least one step.

    Raises:
        SizeError: with the first one that is not.
    """
    for position, sequence in enumerate(sequences):
        if np.ndim(sequence) != 2 or len(sequence) < 1 or np.shape(sequence)[1] != channels:
            raise SizeError(
                f"sequence {position} has shape {np.shape(sequence)}; "
                f"expected (time, {channels}) with at least one step"
            )
    return sequences


def pad(sequences: Sequence[NDArray[np.floating]]) -> tuple[Tensor, Tensor]:
    """Return sequences (T_i, I) as one tensor (T, B, I), zero at the ends, and lengths (B,)."""
    lengths = torch.tensor([len(sequence) for sequence in sequences], dtype=torch.int64)
    x = torch.zeros(int(lengths.max()), len(sequences), sequences[0].shape[1])
    for row, sequence in enumerate(sequences):
        x[: len(sequence), row] = torch.from_numpy(np.array(sequence, dtype=np.float32))
    return x, lengths


def valid_steps(steps: int, lengths: Tensor) -> Tensor:
    """Return a mask (T, B): True at steps of a sequence, False in its padding."""
    return torch.arange(steps, device=lengths.device)[:, None] < lengths
