"""Dropout with one mask for all steps of a sequence."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LockedDropout(nn.Module):
    """Drop the same features at every step of a sequence (Gal and Ghahramani 2016).

    A mask that changes from step to step is noise that a memory averages out; a locked one is not.

    Args:
        probability: That a feature of a sequence is dropped, while training.
    """

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, C) with the features that are left scaled up, so that their mean stays."""
        if not self.training or not self.probability:
            return x
        mask = torch.ones_like(x[:1])
        return x * nn.functional.dropout(mask, self.probability)

    def extra_repr(self) -> str:
        """The probability, for printing."""
        return f"{self.probability}"
