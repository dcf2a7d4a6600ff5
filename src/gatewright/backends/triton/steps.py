"""The order of the steps on a GPU, and the rows where each packed row finds its states."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from gatewright.backends.order import order, within


@dataclass(frozen=True, eq=False)
class DeviceOrder:
    """The order of `backends/order.py` on a device.

    Attributes:
        turned: Rows and offsets from the last step to the first.
        row: The row of the batch that each packed row belongs to.
        first: The row from which on the states before all packed rows are adjacent, if they
            are; else None.
    """

    rows: Tensor
    offsets: Tensor
    turned: tuple[Tensor, Tensor]
    before: Tensor
    last: Tensor
    row: Tensor
    first: int | None

    def restarted(self, marks: Tensor | None) -> DeviceOrder:
        """Return the same order, but marked packed rows read the fresh states of their rows."""
        if marks is None:
            return self
        before = torch.where(marks, self.row, self.before)
        return DeviceOrder(self.rows, self.offsets, self.turned, before, self.last, self.row, None)

    def states_before(self, states: Tensor) -> Tensor:
        """Select the state before each packed row from a state's buffer."""
        if self.first is not None:
            return states.narrow(0, self.first, len(self.before))
        return states.index_select(0, self.before)


@lru_cache(maxsize=128)
def device_order(
    rows: tuple[int, ...], batch: int, reverse: bool, device: torch.device
) -> DeviceOrder:
    """Return the order of a run on a device, without restarts."""
    steps = order(rows, batch, reverse)
    turned = tuple(array.contiguous().to(device) for array in steps.turned)
    # Forwards, with rows of equal length: the states before a step are those after the last one.
    straight = not reverse and rows[-1] == batch
    return DeviceOrder(
        steps.rows.to(device),
        steps.offsets.to(device),
        (turned[0], turned[1]),
        steps.before.to(device),
        steps.last.to(device),
        within(rows).to(device),
        batch if straight else None,
    )
