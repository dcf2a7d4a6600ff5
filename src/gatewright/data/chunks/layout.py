"""The layout of sequences in the rows of a batch: which row reads which steps, and when."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class RowPlan:
    """The spans that one row of a batch reads, one after the other."""

    sequences: NDArray[np.int64]  # (spans,), which sequence a span is of
    firsts: NDArray[np.int64]  # (spans,), its first step in that sequence
    stops: NDArray[np.int64]  # (spans,), the position in the row after its last step

    def __len__(self) -> int:
        """Return the number of steps of the row."""
        return int(self.stops[-1]) if len(self.stops) else 0

    def parts(self, first: int, stop: int) -> Iterator[tuple[int, int, int, int, bool]]:
        """Yield the parts of spans at the positions from `first` up to `stop` of the row.

        Each is (position in the row, sequence, its first step there, the step after its last,
        whether the span begins with it).
        """
        span = int(np.searchsorted(self.stops, first, "right"))
        position = first
        while position < min(stop, len(self)):
            begin = int(self.stops[span - 1]) if span else 0
            end = min(int(self.stops[span]), stop)
            step = int(self.firsts[span]) + position - begin
            yield (
                position,
                int(self.sequences[span]),
                step,
                step + end - position,
                position == begin,
            )
            position, span = end, span + 1


def whole_rows(lengths: NDArray[np.int64], batch: int, order: NDArray[np.int64]) -> list[RowPlan]:
    """Give every sequence to a row as a whole.

    The next sequence of `order` goes to the row that is free first: so the rows end at nearly the
    same time, and the sequences are begun in their order.

    >>> rows = whole_rows(np.array([3, 2, 2, 4]), 2, np.arange(4))
    >>> [row.sequences.tolist() for row in rows]
    [[0, 3], [1, 2]]
    """
    rows: list[list[int]] = [[] for _ in range(batch)]
    free = [(0, row) for row in range(batch)]
    for sequence in order.tolist():
        length = int(lengths[sequence])
        if length:
            steps, row = heapq.heappop(free)
            rows[row].append(sequence)
            heapq.heappush(free, (steps + length, row))
    return [
        RowPlan(own, np.zeros_like(own), np.cumsum(lengths[own]))
        for own in (np.array(row, np.int64) for row in rows)
    ]


def cut_rows(
    lengths: NDArray[np.int64], batch: int, order: NDArray[np.int64], shift: int = 0
) -> list[RowPlan]:
    """Put the sequences one after the other, and cut that line into rows of equal length.

    The line is read as a ring that begins at the position `shift`. Rows differ by at most one
    step, and at most `batch` sequences are cut.

    >>> rows = cut_rows(np.array([5, 2, 2, 4]), 2, np.arange(4))
    >>> [(row.sequences.tolist(), row.firsts.tolist()) for row in rows]
    [([0, 1], [0, 0]), ([1, 2, 3], [1, 0, 0])]
    """
    order = order[lengths[order] > 0]
    stops = np.cumsum(lengths[order])
    total = int(stops[-1])
    rows = []
    for row in range(batch):
        first, stop = (shift + total * edge // batch for edge in (row, row + 1))
        # Behind the end of the line the ring begins again.
        pieces = [(first, min(stop, total)), (max(first - total, 0), stop - total)]
        spans = [span for piece in pieces for span in _spans(order, lengths, stops, *piece)]
        sequences, firsts, counts = np.array(spans, np.int64).T
        rows.append(RowPlan(sequences, firsts, np.cumsum(counts)))
    return rows


def _spans(
    order: NDArray[np.int64],
    lengths: NDArray[np.int64],
    stops: NDArray[np.int64],
    first: int,
    stop: int,
) -> Iterator[tuple[int, int, int]]:
    """Yield (sequence, first step, steps) of the line of sequences from `first` up to `stop`."""
    place = int(np.searchsorted(stops, first, "right"))
    while first < stop:
        sequence, end = int(order[place]), int(stops[place])
        count = min(end, stop) - first
        yield sequence, first - end + int(lengths[sequence]), count
        first, place = first + count, place + 1
