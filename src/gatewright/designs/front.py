"""A convolutional front end: what a few neighbouring steps look like, before the cell reads on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatewright.designs.masks import valid_steps

#: Steps that each convolution sees. Three of them, as in the FCN of Wang et al. 2017
#: (arXiv:1611.06455), which used 8, 5 and 3; odd ones need no shift.
KERNELS = (7, 5, 3)


class MaskedNorm(nn.BatchNorm1d):
    """Batch normalisation over the valid steps of padded sequences, (T, B, C)."""

    def forward(self, input: Tensor, valid: Tensor | None = None) -> Tensor:
        """Normalise (T, B, C) where `valid` (T, B, 1) is true; the rest is 0."""
        if not self.training:  # a constant scale and shift of each channel
            result = super().forward(input.flatten(0, 1)).view_as(input)
            return result if valid is None else torch.where(valid, result, 0.0)
        if valid is None or bool(valid.all()):
            return super().forward(input.flatten(0, 1)).view_as(input)
        inside = valid[..., 0]
        result = torch.zeros_like(input)
        result[inside] = super().forward(input[inside])
        return result


class ConvolutionalFront(nn.Module):
    """Three convolutions in time, each with batch normalisation and a rectifier.

    >>> front = ConvolutionalFront(2, 16)
    >>> front(torch.zeros(20, 3, 2), torch.tensor([20, 7, 12])).shape
    torch.Size([20, 3, 16])

    Args:
        input_size: Values of each event, I.
        channels: Features of each step, C.
    """

    def __init__(self, input_size: int, channels: int) -> None:
        super().__init__()
        sizes = [input_size, *(channels for _ in KERNELS)]
        pairs = zip(sizes, sizes[1:], KERNELS, strict=False)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(below, above, width, padding=width // 2, bias=False)
            for below, above, width in pairs
        )
        self.norms = nn.ModuleList(MaskedNorm(channels) for _ in KERNELS)
        self.output_size = channels

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, I) and (B,) to features (T, B, C), 0 beyond a sequence's end."""
        valid = valid_steps(x.shape[0], lengths)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            # (T, B, C) to (B, C, T) and back; beyond the end each layer reads zeros, as it
            # does before the first step.
            x = convolution(x.permute(1, 2, 0)).permute(2, 0, 1)
            x = torch.where(valid, torch.relu(norm(x, valid)), 0.0)
        return x
