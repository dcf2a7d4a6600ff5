"""Text in parallel streams: pieces that are read one after the other with the state carried."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from gatewright.data import Text
from gatewright.tasks.task import Batch, evenly
from gatewright.tasks.text.mixture import REACH
from gatewright.tasks.text.ngram import histories

#: Steps per batch, which gradients reach back; the state is carried further.
STEPS = 128
#: In training a batch is up to this share longer or shorter at either end, so that gradients are
#: cut off elsewhere in each epoch (Merity et al. 2018, section 4.1).
JITTER = 0.25
#: Symbols that each stream reads in evaluation before its predictions count.
WARM_UP = 256
#: Streams that a part is cut into for evaluation.
STREAMS = 16
#: In training a stream is at least this many batches long; short texts get fewer streams.
MIN_BATCHES = 8


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

    codes: Tensor  # (all symbols,), int64
    start: int  # the first symbol to predict

    def __len__(self) -> int:
        return len(self.codes) - self.start

    def steps(self, size: int) -> int:
        """Return the number of batches in an epoch."""
        return -(-(len(self) // self._streams(size)) // STEPS)

    def _streams(self, size: int) -> int:
        return max(min(size, len(self) // (MIN_BATCHES * STEPS)), 1)

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield one epoch in `size` streams, which begin at a random place of the text."""
        codes = self.codes[self.start - 1 :]
        size = self._streams(size)
        long = len(self) // size
        slack = len(self) - long * size
        # The text is read as a ring, so that all symbols but the slack (fewer than `size`) are
        # read once per epoch, whatever the shift.
        shift = int(torch.randint(0, long + slack, (), generator=generator))
        x = codes[:-1].roll(-shift)[: long * size].view(size, long).T
        y = codes[1:].roll(-shift)[: long * size].view(size, long).T
        for begin, end in pairwise(_borders(long, generator)):
            target = y[begin:end]
            yield Batch(x[begin:end], None, target, carries=begin > 0, items=target.numel())

    def ordered(self, size: int) -> Iterator[Batch]:
        """Yield every symbol once; the target is -1 in the warm-up, which does not count."""
        count = len(self)
        # Without history in front of the text there is nothing to warm up on.
        warm_up = min(WARM_UP, self.start - 1)
        streams = max(min(STREAMS, count // WARM_UP), 1) if warm_up == WARM_UP else 1
        long = -(-count // streams)
        first = self.start + torch.arange(streams) * long - warm_up
        rows = first[:, None] + torch.arange(warm_up + long)  # (streams, T), of the targets
        begin = self.start + torch.arange(streams)[:, None] * long
        inside = (rows >= begin) & (rows < len(self.codes))
        target = torch.where(inside, self.codes[rows.clamp(max=len(self.codes) - 1)], -1).T
        x = self.codes[(rows - 1).clamp(max=len(self.codes) - 1)].T
        past = histories(self.codes[None], REACH)[0]  # (all symbols, REACH)
        for step in range(0, len(x), STEPS):
            earlier = past[(rows[:, step] - 1).clamp(min=0, max=len(past) - 1)].T
            piece = target[step : step + STEPS]
            # The mean loss of a batch is weighted by its items: 0 for one of only warm-up.
            counted = int((piece >= 0).sum())
            yield Batch(
                x[step : step + STEPS],
                None,
                piece,
                further=earlier,
                carries=step > 0,
                items=counted,
            )

    def excerpt(self, count: int) -> Batch:
        """Return at most `count` pieces, evenly spaced, each read from an empty state."""
        codes = self.codes[self.start - 1 :]
        steps = min(2 * STEPS, len(self))
        # At most as many pieces as fit without overlap.
        first = evenly(len(self) - steps + 1, min(count, max(len(self) // steps, 1)))
        rows = first + torch.arange(steps)[:, None]
        return Batch(codes[rows], None, codes[rows + 1], items=rows.numel())


def _borders(steps: int, generator: torch.Generator) -> list[int]:
    """Return where the batches of a stream of so many steps begin, and where the last one ends."""
    count = -(-steps // STEPS)
    even = torch.arange(1, count) * (steps / count)
    shift = JITTER * (steps / count) * (2.0 * torch.rand(count - 1, generator=generator) - 1.0)
    return [0, *(even + shift).long().tolist(), steps]
