"""Sums over the steps of padded sequences that never read the padding.

Lengths are read as `x.shape[0]`: `len` would make a number of a size that torch.export keeps open.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gatewright.tasks import padding


def valid_steps(steps: int, lengths: Tensor) -> Tensor:
    """(T, B, 1), true where a step belongs to its sequence and false in the padding."""
    return padding.valid_steps(steps, lengths)[..., None]


def masked_mean(x: Tensor, lengths: Tensor) -> Tensor:
    """The mean over the steps of each sequence, (B, C); 0 where there are none."""
    # Selected, not multiplied by a mask: NaN in the padding would survive a product.
    inside = torch.where(valid_steps(x.shape[0], lengths), x, 0.0)
    return inside.sum(0) / lengths.clamp(min=1)[:, None]


def masked_max(x: Tensor, lengths: Tensor) -> Tensor:
    """The maximum over the steps of each sequence, (B, C); 0 where there are none."""
    inside = torch.where(valid_steps(x.shape[0], lengths), x, float("-inf"))
    return torch.where(lengths[:, None] > 0, inside.amax(0), 0.0)


def last_step(x: Tensor, lengths: Tensor) -> Tensor:
    """The last step of each sequence, (B, C); 0 where there are none."""
    index = (lengths - 1).clamp(min=0)[None, :, None].expand(1, -1, x.shape[2])
    return torch.where(lengths[:, None] > 0, x.gather(0, index)[0], 0.0)
