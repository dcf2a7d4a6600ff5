"""Text in parallel streams: pieces that are read one after the other with the state carried."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewright.data import Text
from gatewright.tasks.chunk_borders import jittered_borders, row_count
from gatewright.tasks.task import Batch, evenly
from gatewright.tasks.text.mixture import REACH

#: Steps per batch, which gradients reach back; the state is carried further.
STEPS = 128
#: Symbols that each stream reads in evaluation before its predictions count.
WARM_UP = 256
#: Streams that a part is cut into for evaluation.
STREAMS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """A text whose symbols from `start` on are to be predicted; earlier ones are history."""

    text: Text
    start: int

    @property
    def name(self) -> str:
        """The name of the data."""
        return self.text.name

    @property
    def about(self) -> str:
        """The description of the data."""
        return self.text.about

    @property
    def licence(self) -> str:
        """The licence of the data."""
        return self.text.licence


def tail(part: Text | Tail) -> Tail:
    """Return a part as a tail; of a plain text, all but the first symbol are predicted."""
    return part if isinstance(part, Tail) else Tail(part, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Streams:
    """The batches of a text: several streams side by side, each with its state carried."""

    codes: NDArray[np.integer]  # (all symbols,), as narrow as they are stored
    start: int  # the first symbol to predict
    chunk: int = STEPS  # steps per batch

    def __len__(self) -> int:
        return len(self.codes) - self.start

    def steps(self, size: int) -> int:
        """Return the number of batches in an epoch."""
        return -(-(len(self) // self._streams(size)) // self.chunk)

    def _streams(self, size: int) -> int:
        return row_count(len(self), size, self.chunk)

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield one epoch in `size` streams, which begin at a random place of the text."""
        size = self._streams(size)
        long = len(self) // size
        slack = len(self) - long * size
        # The text is read as a ring, so that all symbols but the slack (fewer than `size`) are
        # read once per epoch, whatever the shift.
        shift = int(torch.randint(0, long + slack, (), generator=generator))
        streams = np.arange(size) * long + shift
        for begin, end in pairwise(jittered_borders(long, self.chunk, generator)):
            before = self.start - 1 + (np.arange(begin, end)[:, None] + streams) % len(self)
            target = self._symbols(before + 1)
            yield Batch(
                self._symbols(before), None, target, carries=begin > 0, items=target.numel()
            )

    def ordered(self, size: int) -> Iterator[Batch]:
        """Yield every symbol once; the target is -1 in the warm-up, which does not count."""
        count, last = len(self), len(self.codes) - 1
        # Without history in front of the text there is nothing to warm up on.
        warm_up = min(WARM_UP, self.start - 1)
        streams = max(min(STREAMS, count // WARM_UP), 1) if warm_up == WARM_UP else 1
        long = -(-count // streams)
        begin = self.start + np.arange(streams) * long
        for step in range(-warm_up, long, self.chunk):
            # (T, streams), the positions of the targets.
            rows = begin + np.arange(step, min(step + self.chunk, long))[:, None]
            inside = torch.from_numpy((rows >= begin) & (rows <= last))
            target = torch.where(inside, self._symbols(rows.clip(max=last)), -1)
            before = (rows - 1).clip(max=last)
            # The mean loss of a batch is weighted by its items: 0 for one of only warm-up.
            yield Batch(
                self._symbols(before),
                None,
                target,
                further=self._past(before[0]),
                carries=step > -warm_up,
                items=int((target >= 0).sum()),
            )

    def excerpt(self, count: int) -> Batch:
        """Return at most `count` pieces, evenly spaced, each read from an empty state."""
        steps = min(2 * self.chunk, len(self))
        # At most as many pieces as fit without overlap.
        first = evenly(len(self) - steps + 1, min(count, max(len(self) // steps, 1)))
        rows = self.start - 1 + first.numpy() + np.arange(steps)[:, None]
        return Batch(self._symbols(rows), None, self._symbols(rows + 1), items=rows.size)

    def _symbols(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the codes at positions of the text. Only here are they as wide as torch's."""
        taken: NDArray[Any] = self.codes[rows]
        return torch.from_numpy(taken.astype(np.int64))

    def _past(self, rows: NDArray[np.int64]) -> Tensor:
        """Return the symbols before these positions, (REACH, rows); -1 where there are none."""
        earlier = rows + np.arange(-REACH, 0)[:, None]
        return torch.where(torch.from_numpy(earlier >= 0), self._symbols(earlier.clip(min=0)), -1)
