"""The borders of chunks while a network learns: how many rows there are, and where each is cut."""

from __future__ import annotations

import torch

#: In training a chunk is up to this share longer or shorter at either end, so that gradients are
#: cut off elsewhere in each epoch (Merity et al. 2018, section 4.1).
JITTER = 0.25
#: In training a row is at least this many chunks long; few data get fewer rows.
MIN_CHUNKS = 8


def row_count(total: int, size: int, steps: int) -> int:
    """Return the rows that `total` steps are read in: `size`, or fewer where they are short.

    >>> row_count(100_000, 16, 128), row_count(5_000, 16, 128)
    (16, 4)
    """
    return max(min(size, total // (MIN_CHUNKS * steps)), 1)


def jittered_borders(length: int, steps: int, generator: torch.Generator) -> list[int]:
    """Return where the chunks of a row of this length begin, and where the last one ends."""
    count = -(-length // steps)
    even = torch.arange(1, count) * (length / count)
    shift = JITTER * (length / count) * (2.0 * torch.rand(count - 1, generator=generator) - 1.0)
    return [0, *(even + shift).long().tolist(), length]
