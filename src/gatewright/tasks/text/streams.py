"""A text in pieces: what is told of it, and how it is read, each piece carrying its state along."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gatewright.data import Text
from gatewright.tasks.task import Batch, evenly

#: Steps that gradients reach back, and how far the state is carried before a symbol counts.
STEPS = 128
WARM_UP = 256
#: Streams that a part is cut into for measuring.
STREAMS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Tail:
    """A text of which the symbols from `start` on are to be told; the rest is history."""

    text: Text
    start: int

    @property
    def name(self) -> str:
        """Of the data."""
        return self.text.name

    @property
    def about(self) -> str:
        """Of the data."""
        return self.text.about

    @property
    def licence(self) -> str:
        """Of the data."""
        return self.text.licence


def tail(part: Text | Tail) -> Tail:
    """A part of the task; of a text alone all but the first symbol are to be told."""
    return part if isinstance(part, Tail) else Tail(part, 1)


@dataclass(frozen=True, slots=True, eq=False)
class Streams:
    """A text in pieces that are read side by side, each carrying its state along."""

    codes: Tensor  # (all symbols,), int64
    start: int  # the first symbol that is to be told

    def __len__(self) -> int:
        return len(self.codes) - self.start

    def steps(self, size: int) -> int:
        """How many batches an epoch has."""
        return -(-(len(self) // self._streams(size)) // STEPS)

    def _streams(self, size: int) -> int:
        """As many as are at least a few steps of the gradient long."""
        return max(min(size, len(self) // (8 * STEPS)), 1)

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        """One epoch in `size` streams, which begin somewhere else in the text in each epoch."""
        told = self.codes[self.start - 1 :]
        size = self._streams(size)
        long = len(self) // size
        slack = len(self) - long * size
        # The text as a ring: every symbol but a few is read once an epoch, wherever it begins.
        shift = int(torch.randint(0, long + slack, (), generator=generator))
        x = told[:-1].roll(-shift)[: long * size].view(size, long).T
        y = told[1:].roll(-shift)[: long * size].view(size, long).T
        for begin in range(0, long, STEPS):
            piece = slice(begin, begin + STEPS)
            target = y[piece]
            yield Batch(x[piece], None, target, carries=begin > 0, items=target.numel())

    def ordered(self, size: int) -> Iterator[Batch]:
        """Every symbol once, after a warm-up that is not counted (its target is -1)."""
        count = len(self)
        # Where nothing comes before the text there is nothing to warm up on.
        warm_up = min(WARM_UP, self.start - 1)
        streams = max(min(STREAMS, count // WARM_UP), 1) if warm_up == WARM_UP else 1
        long = -(-count // streams)
        first = self.start + torch.arange(streams) * long - warm_up
        rows = first[:, None] + torch.arange(warm_up + long)  # of each target
        begin = self.start + torch.arange(streams)[:, None] * long
        inside = (rows >= begin) & (rows < len(self.codes))
        target = torch.where(inside, self.codes[rows.clamp(max=len(self.codes) - 1)], -1).T
        x = self.codes[(rows - 1).clamp(max=len(self.codes) - 1)].T
        for at in range(0, len(x), STEPS):
            piece = target[at : at + STEPS]
            # Items decide a mean's weight; a piece of warm-up alone has none.
            counted = int((piece >= 0).sum())
            yield Batch(x[at : at + STEPS], None, piece, carries=at > 0, items=counted)

    def spread(self, count: int) -> Batch:
        """At most `count` pieces from all over what is told, each from an empty memory."""
        told = self.codes[self.start - 1 :]
        steps = min(2 * STEPS, len(self))
        # Apart, as far as there is text for it: no symbol is in two of them for nothing.
        first = evenly(len(self) - steps + 1, min(count, max(len(self) // steps, 1)))
        at = first + torch.arange(steps)[:, None]
        return Batch(told[at], None, told[at + 1], items=at.numel())
