"""From sequences of different lengths to padded tensors, and the batches of an epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewright.data import Recordings


@dataclass(frozen=True, slots=True)
class Batch:
    """B labelled sequences, padded at their ends up to the longest one."""

    x: Tensor  # (T, B, I)
    lengths: Tensor  # (B,), int64
    labels: Tensor  # (B,), int64

    @classmethod
    def of(cls, recordings: Recordings) -> Batch:
        """All of `recordings` as one batch, in their order."""
        x, lengths = pad(recordings.sequences)
        return cls(x, lengths, torch.from_numpy(recordings.labels.copy()))

    def __len__(self) -> int:
        return len(self.lengths)

    def take(self, rows: Tensor) -> Batch:
        """The rows at these positions, padded no further than their longest one needs."""
        lengths = self.lengths[rows]
        return Batch(self.x[: int(lengths.max()), rows], lengths, self.labels[rows])

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        """One epoch: every row once, in random order, in batches of `size`."""
        for rows in torch.randperm(len(self), generator=generator).split(size):
            yield self.take(rows)


def pad(sequences: Sequence[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """Sequences (T_i, I) as one tensor (T, B, I), zero beyond their ends, and lengths (B,)."""
    lengths = torch.tensor([len(sequence) for sequence in sequences], dtype=torch.int64)
    x = torch.zeros(int(lengths.max()), len(sequences), sequences[0].shape[1])
    for row, sequence in enumerate(sequences):
        x[: len(sequence), row] = torch.from_numpy(np.array(sequence, dtype=np.float32))
    return x, lengths


def valid_steps(steps: int, lengths: Tensor) -> Tensor:
    """(T, B), true where a step belongs to its sequence and false in the padding."""
    return torch.arange(steps, device=lengths.device)[:, None] < lengths
