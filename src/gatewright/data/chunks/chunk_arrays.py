"""The chunks of an epoch as arrays: the next steps of every row of a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.chunks.layout import RowPlan
from gatewright.data.chunks.step_source import (
    StoredSequence,
    are_symbols,
    check_finite_steps,
    check_symbols,
)


@dataclass(frozen=True, slots=True, eq=False)
class ChunkArrays:
    """The next T steps of B rows; a row that ends before is padded with zeros."""

    values: tuple[NDArray[Any], ...]  # of each field, (T, B, I) numbers or (T, B) symbols
    starts: NDArray[np.bool_]  # (T, B), the first step of a sequence, or of a piece of it
    ends: NDArray[np.bool_]  # (T, B), the last step of a sequence
    lengths: NDArray[np.int64]  # (B,), steps that are no padding
    sequence: NDArray[np.int64]  # (T, B), the sequence that a step is of; -1 in padding
    position: NDArray[np.int64]  # (T, B), the step's position in its sequence; -1 in padding


@dataclass(frozen=True, slots=True, eq=False)
class ChunkField:
    """A field of a chunk, the events or the targets: its values in every sequence."""

    name: str
    sequences: Sequence[StoredSequence]
    dtype: np.dtype[Any]  # of numbers; symbols are int64

    @property
    def step_shape(self) -> tuple[int, ...]:
        """The shape of a step in a chunk: () for a symbol, (I,) for numbers."""
        source = self.sequences[0].source
        if are_symbols(source.step_shape, source.dtype):
            return ()
        # A single number has a channel too, so that no loss broadcasts (T, B) to (T, B, B).
        return source.step_shape or (1,)

    def empty(self, steps: int, batch: int) -> NDArray[Any]:
        """Return zeros for a chunk."""
        dtype = self.dtype if self.step_shape else np.dtype(np.int64)
        return np.zeros((steps, batch, *self.step_shape), dtype)

    def fill(self, place: NDArray[Any], sequence: int, first: int, stop: int) -> None:
        """Read steps of a sequence into a place of a chunk, (stop - first, ...)."""
        values = self.sequences[sequence].read(first, stop)
        if not self.step_shape:
            check_symbols(values, self.name, sequence)
        place[...] = values.reshape(place.shape)


def chunk_count(rows: Sequence[RowPlan], steps: int) -> int:
    """Return the number of chunks in which the longest row is read."""
    return -(-max(map(len, rows)) // steps)


def read_chunks(
    fields: Sequence[ChunkField], rows: Sequence[RowPlan], borders: Sequence[int], begin: int = 0
) -> Iterator[ChunkArrays]:
    """Yield the chunks between borders, positions in the rows, from the chunk `begin` on.

    Raises:
        DataError: if a value is not finite, or a file has changed.
    """
    for number in range(begin, len(borders) - 1):
        yield _read_chunk(fields, rows, borders[number], borders[number + 1])


def _read_chunk(
    fields: Sequence[ChunkField], rows: Sequence[RowPlan], first: int, stop: int
) -> ChunkArrays:
    steps, batch = stop - first, len(rows)
    values = tuple(field.empty(steps, batch) for field in fields)
    starts, ends = np.zeros((2, steps, batch), bool)
    sequence, position = np.full((2, steps, batch), -1, np.int64)
    lengths = np.array([min(max(len(row) - first, 0), steps) for row in rows])
    all_steps = fields[0].sequences
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused
        for number, row in enumerate(rows):
            for place, own, begin, end, is_start in row.parts(first, stop):
                part = slice(place - first, place - first + end - begin)
                for field, array in zip(fields, values, strict=True):
                    field.fill(array[part, number], own, begin, end)
                starts[part.start, number] = is_start
                ends[part.stop - 1, number] = end == all_steps[own].length
                sequence[part, number] = own
                position[part, number] = np.arange(begin, end)
    for field, array in zip(fields, values, strict=True):
        check_finite_steps(array, field.name, sequence, position)
    return ChunkArrays(values, starts, ends, lengths, sequence, position)
