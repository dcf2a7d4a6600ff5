"""The order of the steps on a GPU, and where each packed row finds its states."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from gatewright.backends.order import order, within


@dataclass(frozen=True, eq=False)
class Steps:
    """`llvm/order.py`'s order on a device: the steps as they run, and the rows of the states.

    Attributes:
        turned: Rows and offsets from the last step to the first.
        first, count: The states before all packed rows lie side by side from the row `first`
            on, where it is not None.
    """

    rows: Tensor
    offsets: Tensor
    turned: tuple[Tensor, Tensor]
    before: Tensor
    last: Tensor
    row: Tensor
    first: int | None

    def restarted(self, marks: Tensor | None) -> Steps:
        """The same, but that marked packed rows read the fresh states of their rows."""
        if marks is None:
            return self
        before = torch.where(marks, self.row, self.before)
        return Steps(self.rows, self.offsets, self.turned, before, self.last, self.row, None)

    def states_before(self, states: Tensor) -> Tensor:
        """The state before each packed row, of a state's buffer."""
        if self.first is not None:
            return states.narrow(0, self.first, len(self.before))
        return states.index_select(0, self.before)


@lru_cache(maxsize=128)
def steps(rows: tuple[int, ...], batch: int, reverse: bool, device: torch.device) -> Steps:
    """The order of a run on a device, without restarts."""
    found = order(rows, batch, reverse)
    turned = tuple(one.contiguous().to(device) for one in found.turned)
    # Forwards, and all of one length: each step's states lie where those of the step before end.
    straight = not reverse and rows[-1] == batch
    return Steps(
        found.rows.to(device),
        found.offsets.to(device),
        (turned[0], turned[1]),
        found.before.to(device),
        found.last.to(device),
        within(rows).to(device),
        batch if straight else None,
    )
