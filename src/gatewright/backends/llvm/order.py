"""In which order the steps run, and where each packed row finds its states."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from gatewright.backends.reference import Run


@dataclass(frozen=True, eq=False)
class Order:
    """The steps in the order in which they run, and where each packed row's states are.

    A state's buffer has the fresh states `(B)`, those before the first step `(B)`, and those
    after each packed row.
    """

    rows: Tensor
    offsets: Tensor
    before: Tensor
    after: Tensor
    last: Tensor
    plain: bool
    batch: int
    total: int

    def tensors(self, *, back: bool = False) -> tuple[Tensor, ...]:
        """What a kernel's table names; `back` turns the steps round."""
        steps = (self.rows.flip(0), self.offsets.flip(0)) if back else (self.rows, self.offsets)
        return (*steps, self.before, self.after)


@lru_cache(maxsize=32)
def order(rows: tuple[int, ...], batch: int, reverse: bool) -> Order:
    """The order of a run without restarts."""
    counts = torch.tensor(rows, dtype=torch.int64, device="cpu")
    offsets = torch.cumsum(counts, 0) - counts
    total = sum(rows)
    after = 2 * batch + torch.arange(total, device="cpu")
    state = batch + torch.arange(batch, device="cpu")
    before = torch.empty(total, dtype=torch.int64, device="cpu")
    for t in reversed(range(len(rows))) if reverse else range(len(rows)):
        part = slice(int(offsets[t]), int(offsets[t]) + rows[t])
        before[part] = state[: rows[t]]
        state[: rows[t]] = after[part]
    if reverse:
        counts, offsets = counts.flip(0).contiguous(), offsets.flip(0).contiguous()
    plain = not reverse and all(running == batch for running in rows)
    return Order(counts, offsets, before, after, state, plain, batch, total)


@lru_cache(maxsize=32)
def within(rows: tuple[int, ...]) -> Tensor:
    """The row of the batch that each packed row belongs to."""
    return torch.cat([torch.arange(running, device="cpu") for running in rows])


@lru_cache(maxsize=32)
def flat(total: int) -> tuple[Tensor, ...]:
    """All packed rows as one step."""
    nothing = torch.zeros(1, dtype=torch.int64, device="cpu")
    return torch.tensor([total], device="cpu"), nothing, nothing, nothing


def ordered(task: Run, batch: int) -> Order:
    """The order of a run; a step after a restart reads the fresh state of its row."""
    steps = order(tuple(task.rows), batch, task.reverse)
    if task.restart is None:
        return steps
    before = torch.where(task.restart, within(tuple(task.rows)), steps.before)
    return replace(steps, before=before, plain=False)
