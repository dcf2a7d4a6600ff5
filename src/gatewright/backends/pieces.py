"""Sequences cut into pieces at their restarts: a batch without restarts of its own.

A function that knows no restarts runs the pieces of all sequences side by side, each from the
states that it begins with. Pieces are packed as sequences are: sorted, the longest first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from gatewright.backends.run import Run


@dataclass(frozen=True, eq=False)
class Ends:
    """The states between sequences and pieces, for pieces that run in one direction.

    Attributes:
        first: For each piece the row of its first states: of `[states, fresh]`, one below the
            other, or of `states` where nothing restarts. None if piece k begins with row k.
        last: For each sequence the row of its last states in `[states after the pieces, states]`.
            None if sequence k ends with piece k.
    """

    first: Tensor | None = None
    last: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Pieces:
    """The pieces of a batch of sequences.

    Attributes:
        counts: The number of pieces that run at each step, on the CPU; it never grows.
        pieces: Pieces in all.
        even: Whether all pieces have the same number of steps.
        order: The packed row of the sequences at each packed row of the pieces; None if it is
            the same one. `inverse` leads back.
        ends: In the order in which the steps of a piece are packed; `opposite` for a second
            network that reads each piece from its end.
    """

    counts: Tensor
    pieces: int
    even: bool
    ends: Ends
    opposite: Ends
    order: Tensor | None = None
    inverse: Tensor | None = None

    @property
    def steps(self) -> int:
        return len(self.counts)


def pieces_of(run: Run) -> Pieces:
    """The pieces of a run, whose steps are packed in the order in which they run."""
    batch = len(next(iter(run.states.values())))
    rows, like = tuple(run.rows), next(iter(run.states.values()))
    if run.restart is None:
        return _unmarked(rows, batch, run.reverse, like.device)
    # The pieces depend on the marks, so they have to be known here: a GPU is waited for.
    return _cut(rows, batch, run.reverse, run.restart.cpu().numpy(), like.device)


@lru_cache(maxsize=128)
def _unmarked(rows: tuple[int, ...], batch: int, reverse: bool, device: torch.device) -> Pieces:
    if reverse:
        return _cut(rows, batch, True, np.zeros(sum(rows), np.bool_), device)
    counts = torch.tensor(rows, dtype=torch.int64, device="cpu")
    ends = Ends()
    if rows[0] < batch:  # a sequence without steps ends with the states that it started from
        every = torch.arange(batch, device=device)
        ends = Ends(every[: rows[0]], torch.where(every < rows[0], every, rows[0] + every))
    return Pieces(counts, rows[0], rows[0] == rows[-1], ends, ends)


def _cut(
    rows: tuple[int, ...], batch: int, reverse: bool, marks: np.ndarray, device: torch.device
) -> Pieces:
    """Cut sequences where they are marked.

    Args:
        marks: `(N,)`, true where the states are fresh before the step.
    """
    counts = np.array(rows, np.int64)
    offsets = np.cumsum(counts) - counts
    lengths = (counts[:, None] > np.arange(rows[0])).sum(0)  # of the sequences that have steps
    # Every step, sequence after sequence, in the order in which it runs.
    sequence = np.repeat(np.arange(len(lengths)), lengths)
    position = np.arange(len(marks)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    step = lengths[sequence] - 1 - position if reverse else position
    packed = offsets[step] + sequence
    begins = (position == 0) | marks[packed]
    piece = np.cumsum(begins) - 1
    start = np.flatnonzero(begins)
    size = np.diff(np.append(start, len(marks)))
    within = np.arange(len(marks)) - start[piece]
    # The longest piece first.
    by_rank = np.argsort(-size, kind="stable")
    rank = np.empty_like(by_rank)
    rank[by_rank] = np.arange(len(by_rank))
    order = packed[np.lexsort((rank[piece], within))]
    inverse = np.empty_like(order)
    inverse[order] = np.arange(len(order))
    running = np.bincount(within)

    owner, is_first, is_fresh = sequence[start], position[start] == 0, marks[packed[start]]
    is_last = np.append(is_first[1:], True)
    every = np.arange(batch)
    # A sequence without steps ends with the states that it started from.
    head, tail = len(start) + every, len(start) + every
    head[owner[is_first]] = rank[is_first]
    tail[owner[is_last]] = rank[is_last]

    def on_device(array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device)

    forward = np.where(is_first & ~is_fresh, owner, batch + owner)
    # Read from its end, a sequence begins in its last piece, and never with a mark there.
    backward = np.where(is_last, owner, batch + owner)
    return Pieces(
        counts=torch.from_numpy(running),
        pieces=len(start),
        even=bool(running[0] == running[-1]),
        ends=Ends(on_device(forward[by_rank]), on_device(tail)),
        opposite=Ends(on_device(backward[by_rank]), on_device(head)),
        order=on_device(order),
        inverse=on_device(inverse),
    )
