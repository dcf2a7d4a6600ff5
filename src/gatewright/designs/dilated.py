"""A front end of dilated convolutions: short patterns at several scales, next to the events."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gatewright.designs.masks import valid_steps

#: Steps that each convolution sees, and how far apart they are, by convolution. MiniRocket uses 9
#: taps too (Dempster et al. 2021, arXiv:2012.08791).
WIDTH = 9
DILATIONS = (1, 2, 4, 8, 16)
#: Smallest spread of a pattern's values, as a share of the largest that they could be.
ROUNDING = 1e-5


class DilatedFront(nn.Module):
    """Convolutions in time side by side, each dilated by another factor, and the events themselves.

    They are linear: what follows decides which of their values matter.

    >>> front = DilatedFront(2, 16)
    >>> front(torch.zeros(20, 3, 2), torch.tensor([20, 7, 12])).shape
    torch.Size([20, 3, 18])

    Args:
        input_size: Values of each event, I.
        channels: Values of all convolutions together, C.
    """

    def __init__(self, input_size: int, channels: int) -> None:
        super().__init__()
        counts = [len(range(k, channels, len(DILATIONS))) for k in range(len(DILATIONS))]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(input_size, count, WIDTH, padding=dilation * (WIDTH // 2), dilation=dilation)
            for count, dilation in zip(counts, DILATIONS, strict=True)
            if count
        )
        self.patterns = channels
        self.output_size = channels + input_size

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, I) and (B,) to (T, B, C + I), 0 beyond a sequence's end."""
        # (T, B, I) to (B, I, T) and back; the convolutions read zeros before the first step and,
        # as `Preparation` leaves them there, beyond the end.
        channels = x.permute(1, 2, 0)
        patterns = [convolution(channels).permute(2, 0, 1) for convolution in self.convolutions]
        return torch.where(valid_steps(len(x), lengths), torch.cat([*patterns, x], -1), 0.0)


@torch.no_grad()
def draw_dilated_(front: DilatedFront, x: Tensor, lengths: Tensor) -> None:
    """Draw random patterns, in place, whose values have mean 0 and spread 1 over the sequences.

    Each reads a random number of the channels, few as likely as many, and its weights sum to 0 in
    each: it sees shapes, and no levels.

    Args:
        x: Prepared sequences, (T, B, I).
        lengths: Steps of each sequence, (B,).
    """
    valid = valid_steps(len(x), lengths)[..., 0]
    units = x[valid].std(0, correction=0) if valid.any() else torch.ones(x.shape[2])
    units = torch.where(units > 0.0, units, 1.0)
    layers: Any = front.convolutions
    for layer in layers:
        weight = torch.randn_like(layer.weight)
        weight = weight - weight.mean(-1, keepdim=True)
        read = _random_subsets(*weight.shape[:2]) / units  # channels may be in different units
        layer.weight.copy_(weight * read[..., None])
        layer.bias.zero_()
        values = layer(x.permute(1, 2, 0)).permute(2, 0, 1)[valid]  # (steps, channels)
        if not len(values):
            continue
        spread = values.std(0, correction=0)
        # A pattern without a spread is all rounding errors; divided by it, these would count.
        largest = layer.weight.abs().sum(2) @ x[valid].abs().amax(0)
        scale = torch.where(spread > ROUNDING * largest, 1.0 / spread, 0.0)
        layer.weight.mul_(scale[:, None, None])
        layer.bias.copy_(-values.mean(0) * scale)


def _random_subsets(rows: int, size: int) -> Tensor:
    """(rows, size) of 0 and 1: in each row a subset, its number of ones uniform in its logarithm.

    At most `WIDTH` channels are read at once, as in MiniRocket.
    """
    most = min(size, WIDTH)
    counts = ((most + 1.0) ** torch.rand(rows, 1)).long().clamp(max=most)
    ranks = torch.rand(rows, size).argsort(-1).argsort(-1)
    return (ranks < counts).float()
