"""Tagged sequences in chunks: the batches of recordings that are too long to be read as a whole."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewright.data.chunks.array_steps import ArraySteps
from gatewright.data.chunks.chunk_arrays import ChunkArrays, ChunkField, read_chunks
from gatewright.data.chunks.layout import RowPlan, cut_rows
from gatewright.data.chunks.step_source import StoredSequence
from gatewright.tasks.chunk_borders import jittered_borders, row_count
from gatewright.tasks.task import Batch, evenly


@dataclass(frozen=True, eq=False)
class TagChunks:
    """The batches of tagged sequences, each a chunk of some steps, with the states carried."""

    sequences: Sequence[NDArray[np.floating]]  # N arrays, each (T_i, I)
    labels: Sequence[NDArray[np.int64]]  # N arrays (T_i,)
    chunk: int  # steps that gradients reach back
    dtype: torch.dtype = torch.float32

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """The steps of each sequence, (N,)."""
        return np.array([len(sequence) for sequence in self.sequences], np.int64)

    @cached_property
    def fields(self) -> list[ChunkField]:
        """The events and the labels."""
        arrays = {"x": self.sequences, "labels": self.labels}
        return [
            ChunkField(
                name,
                [StoredSequence(ArraySteps(own, name), 0, len(own)) for own in values],
                np.dtype(np.float32),
            )
            for name, values in arrays.items()
        ]

    def __len__(self) -> int:
        return int(self.lengths.sum())

    def steps(self, size: int) -> int:
        """Return the number of batches in an epoch."""
        rows = row_count(len(self), size, self.chunk)
        return math.ceil(math.ceil(len(self) / rows) / self.chunk)

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield one epoch in rows of equal length.

        The sequences come in random order; rows begin at other steps in each epoch.
        """
        order = torch.randperm(len(self.lengths), generator=generator).numpy()
        shift = int(torch.randint(0, len(self), (), generator=generator))
        rows = cut_rows(self.lengths, row_count(len(self), size, self.chunk), order, shift)
        borders = jittered_borders(max(map(len, rows)), self.chunk, generator)
        for number, arrays in enumerate(read_chunks(self.fields, rows, borders)):
            yield self._batch(arrays, carries=number > 0, has_starts=True)

    def ordered(self, size: int) -> Iterator[Batch]:
        """Yield every sequence once, `size` of them side by side, from its own beginning."""
        for first in range(0, len(self.lengths), size):
            group = range(first, min(first + size, len(self.lengths)))
            rows = [_whole_row(number, int(self.lengths[number])) for number in group]
            longest = max(map(len, rows))
            borders = [*range(0, longest, self.chunk), longest]
            for number, arrays in enumerate(read_chunks(self.fields, rows, borders)):
                yield self._batch(arrays, carries=number > 0, has_starts=False)

    def excerpt(self, count: int) -> Batch:
        """Return pieces of at most two chunks, at most `count` of them, evenly spaced."""
        pieces = [
            (number, first)
            for number, length in enumerate(self.lengths.tolist())
            for first in range(0, length, 2 * self.chunk)
        ]
        rows = [
            RowPlan(
                np.array([number]),
                np.array([first]),
                np.array([min(int(self.lengths[number]) - first, 2 * self.chunk)]),
            )
            for number, first in (pieces[k] for k in evenly(len(pieces), count).tolist())
        ]
        (arrays,) = read_chunks(self.fields, rows, [0, max(map(len, rows))])
        return self._batch(arrays, carries=False, has_starts=False)

    def _batch(self, arrays: ChunkArrays, *, carries: bool, has_starts: bool) -> Batch:
        x, target = map(torch.from_numpy, arrays.values)
        starts: Tensor | None = torch.from_numpy(arrays.starts) if has_starts else None
        return Batch(
            x.to(self.dtype),
            torch.from_numpy(arrays.lengths),
            target,
            carries=carries,
            items=int(arrays.lengths.sum()),
            starts=starts,
        )


def _whole_row(sequence: int, length: int) -> RowPlan:
    return RowPlan(np.array([sequence]), np.zeros(1, np.int64), np.array([length]))
