"""The order in which the steps run, and the rows where each packed row finds its states."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from gatewright.backends.run import Run

#: The arrays of an order as kernels know them, in the order of `Order.arrays`.
ARRAYS = ("rows", "offsets", "turned rows", "turned offsets", "before", "after", "last", "every")


@dataclass(frozen=True, eq=False)
class Order:
    """The steps in the order in which they run, and the rows of each packed row's states.

    The buffer of a state has 2 B + N rows: the fresh states `(B)`, those before the first step
    `(B)`, and those after each packed row `(N)`.

    Attributes:
        rows, offsets: For each step, the number of rows that run and the first packed row.
        before, after: The row of each packed row's state before and after the step.
        last: The row of each sequence's last state.
        batch, total: B, and the number N of packed rows.
        turned: Rows and offsets from the last step to the first.
        arrays: All arrays, named by `ARRAYS`; the last one has the numbers 0, 1, ..., as many
            as there are packed rows or rows of the batch, and one more.
        addresses: The address of each array.
    """

    rows: Tensor
    offsets: Tensor
    before: Tensor
    after: Tensor
    last: Tensor
    batch: int
    total: int
    turned: tuple[Tensor, Tensor] = field(init=False)
    arrays: tuple[Tensor, ...] = field(init=False)
    addresses: list[int] = field(init=False)

    def __post_init__(self) -> None:
        # Computed now: of two threads that did so later, one would keep the addresses of
        # arrays that the other's have replaced.
        object.__setattr__(self, "turned", (self.rows.flip(0), self.offsets.flip(0)))
        every = numbers(0, max(self.total, self.batch) + 1)
        arrays = (
            self.rows,
            self.offsets,
            *self.turned,
            self.before,
            self.after,
            self.last,
            every,
        )
        object.__setattr__(self, "arrays", arrays)
        object.__setattr__(self, "addresses", [array.data_ptr() for array in arrays])

    def restarted(self, marks: Tensor | None) -> Order:
        """Return the same order, but marked packed rows read the fresh states of their rows."""
        if marks is None:
            return self
        counts = self.rows.tolist()
        first_step_last = len(counts) > 1 and int(self.offsets[0]) > 0
        rows = within(tuple(reversed(counts) if first_step_last else counts))
        return replace(self, before=torch.where(marks, rows, self.before))


class _Numbers:
    """The numbers 0, 1, ... in one array that all orders share and that is never written."""

    array = torch.arange(1 << 12, device="cpu")


def numbers(first: int, end: int) -> Tensor:
    """Return the whole numbers from `first` to `end - 1`."""
    array = _Numbers.array
    if len(array) < end:
        array = _Numbers.array = torch.arange(max(end, 2 * len(array)), device="cpu")
    return array[first:end]


@lru_cache(maxsize=32)
def even(steps: int, batch: int, reverse: bool) -> Order:
    """Return the order of a run whose rows all have the same length."""
    total = steps * batch
    after = numbers(2 * batch, 2 * batch + total)
    counts = torch.full((steps,), batch, dtype=torch.int64, device="cpu")
    offsets = torch.arange(0, total, batch, device="cpu")
    if reverse:
        before = torch.cat([after[batch:], numbers(batch, 2 * batch)])
        last, offsets = after[:batch], offsets.flip(0)
    else:
        before = numbers(batch, batch + total)
        last = after[-batch:]
    return Order(counts, offsets, before, after, last, batch, total)


@lru_cache(maxsize=128)
def order(rows: tuple[int, ...], batch: int, reverse: bool) -> Order:
    """Return the order of a run in which the number of rows never grows from step to step."""
    # By numpy: torch may share even short arrays among threads, which a forked process lacks.
    counts = np.array(rows, dtype=np.int64)
    offsets = np.cumsum(counts) - counts
    total = sum(rows)
    step = np.repeat(np.arange(len(rows)), counts)
    row = np.arange(total) - offsets[step]
    every, first, after = np.arange(batch), batch, 2 * batch
    if reverse:
        # A row begins at its own last step: the first one, counted back, at which it runs.
        begins = row >= np.append(counts[1:], 0)[step]
        next_ = offsets[np.minimum(step + 1, len(rows) - 1)]
        before = np.where(begins, first + row, after + next_ + row)
        last = np.where(every < rows[0], after + every, first + every)
        counts, offsets = counts[::-1], offsets[::-1]
    else:
        before = np.where(step == 0, first + row, after + offsets[np.maximum(step - 1, 0)] + row)
        lengths = (counts[:, None] > every).sum(0)
        ends = after + offsets[np.maximum(lengths - 1, 0)] + every
        # A sequence of length 0 ends in the state that it started from.
        last = np.where(lengths > 0, ends, first + every)
    return Order(
        rows=torch.from_numpy(counts.copy()),
        offsets=torch.from_numpy(offsets.copy()),
        before=torch.from_numpy(before),
        after=numbers(after, after + total),
        last=torch.from_numpy(last),
        batch=batch,
        total=total,
    )


@lru_cache(maxsize=128)
def within(rows: tuple[int, ...]) -> Tensor:
    """Return the row of the batch that each packed row belongs to."""
    return torch.cat([torch.arange(running, device="cpu") for running in rows])


def ordered(run: Run, batch: int) -> Order:
    """Return the order of a run's steps."""
    rows = run.rows
    if len(rows) and rows[0] == rows[-1] == batch:  # the number never grows, so all are equal
        steps = even(len(rows), batch, run.reverse)
    else:
        steps = order(tuple(rows), batch, run.reverse)
    return steps.restarted(run.restart)
