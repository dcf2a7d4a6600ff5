"""In which order the steps run, and where each packed row finds its states."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from gatewright.backends.reference import Run


@dataclass(frozen=True, eq=False)
class Order:
    """The steps in the order in which they run, and where each packed row's states are.

    A state's buffer has the fresh states `(B)`, those before the first step `(B)`, and those
    after each packed row.

    Attributes:
        rows, offsets: How many rows run at each step, and the first packed one.
        before, after: The row of each packed row's state before and after the step.
        last: The row of each sequence's last state.
        batch, total: B, and how many packed rows there are.
        turned: Rows and offsets from the last step to the first.
        arrays: All arrays that programs know, in the order of `program.ORDER`; the last one has
            the numbers 0, 1 ..., as many as packed rows or rows of the states.
        addresses: Where each of them begins.
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
        # Made at once: where two threads made them late, one would keep the other's addresses.
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
        """The same, but that marked packed rows read the fresh states of their rows."""
        if marks is None:
            return self
        counts = self.rows.tolist()
        first_step_last = len(counts) > 1 and int(self.offsets[0]) > 0
        rows = within(tuple(reversed(counts) if first_step_last else counts))
        return replace(self, before=torch.where(marks, rows, self.before))


class _Numbers:
    """The numbers 0, 1 ... in one array, which all orders share: nobody writes to it."""

    array = torch.arange(1 << 12, device="cpu")


def numbers(first: int, end: int) -> Tensor:
    """The whole numbers from the first one to the one before the end."""
    array = _Numbers.array
    if len(array) < end:
        array = _Numbers.array = torch.arange(max(end, 2 * len(array)), device="cpu")
    return array[first:end]


@lru_cache(maxsize=32)
def even(steps: int, batch: int, reverse: bool) -> Order:
    """The order of a run whose rows all have the same length."""
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
    """The order of a run. At no step do more rows run than at the one before."""
    # By numpy: torch may share even short arrays among threads, which a forked process lacks.
    counts = np.array(rows, dtype=np.int64)
    offsets = np.cumsum(counts) - counts
    total = sum(rows)
    step = np.repeat(np.arange(len(rows)), counts)
    row = np.arange(total) - offsets[step]
    every, first, after = np.arange(batch), batch, 2 * batch
    if reverse:
        begins = row >= np.append(counts[1:], 0)[step]
        next_ = offsets[np.minimum(step + 1, len(rows) - 1)]
        before = np.where(begins, first + row, after + next_ + row)
        last = np.where(every < rows[0], after + every, first + every)
        counts, offsets = counts[::-1], offsets[::-1]
    else:
        before = np.where(step == 0, first + row, after + offsets[np.maximum(step - 1, 0)] + row)
        lengths = (counts[:, None] > every).sum(0)
        ends = after + offsets[np.maximum(lengths - 1, 0)] + every
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
    """The row of the batch that each packed row belongs to."""
    return torch.cat([torch.arange(running, device="cpu") for running in rows])


def ordered(task: Run, batch: int) -> Order:
    """The order of a run."""
    rows = task.rows
    if len(rows) and rows[0] == rows[-1] == batch:  # it never grows
        steps = even(len(rows), batch, task.reverse)
    else:
        steps = order(tuple(rows), batch, task.reverse)
    return steps.restarted(task.restart)
