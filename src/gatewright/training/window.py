"""The network without a memory: what the recurrent ones are measured against."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatewright.training.batches import valid_steps


class Window(nn.Module):
    """A feed-forward layer that slides over the sequence, and the mean of what it saw.

    Each step sees itself and `reach` steps on either side, and knows nothing of any other.
    Beyond the ends of a sequence the window repeats its first or last step. The order of
    the steps beyond the window is lost, which is what the recurrent networks can improve on.

    >>> Window(12, 143)(torch.zeros(20, 2, 12), torch.tensor([20, 7])).shape
    torch.Size([2, 143])
    """

    def __init__(self, input_size: int, hidden_size: int, *, reach: int = 2) -> None:
        super().__init__()
        self.reach = reach
        self.hidden = nn.Linear((2 * reach + 1) * input_size, hidden_size)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, I) and (B,) to the mean features of each sequence, (B, H)."""
        windows = x.gather(0, self._reads(x, lengths)).view(len(x), -1, x.shape[1], x.shape[2])
        seen = torch.relu(self.hidden(windows.transpose(1, 2).flatten(2)))  # (T, B, H)
        # Selected, not multiplied by a mask: NaN in the padding would survive a product.
        inside = valid_steps(len(x), lengths)[..., None]
        return torch.where(inside, seen, 0.0).sum(0) / lengths.clamp(min=1)[:, None]

    def _reads(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T × window, B, I): at which step each part of each window reads."""
        offsets = torch.arange(-self.reach, self.reach + 1, device=x.device)
        steps = torch.arange(len(x), device=x.device)[:, None] + offsets  # (T, window)
        last = (lengths - 1).clamp(min=0)
        steps = steps.flatten()[:, None].clamp(min=0).minimum(last)  # (T × window, B)
        return steps[..., None].expand(-1, -1, x.shape[2])
