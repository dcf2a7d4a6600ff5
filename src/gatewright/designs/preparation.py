"""The preparation of sequences: their own scale taken out, their changes added, steps joined."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gatewright.designs.masks import masked_mean, valid_steps

#: The smallest spread that a sequence is divided by: a constant channel stays finite.
SMALLEST_SPREAD = 1e-3


def scaled_by_itself(x: Tensor, lengths: Tensor) -> Tensor:
    """Each channel of each sequence with mean 0 and spread 1 over its own steps, (T, B, I)."""
    valid = valid_steps(x.shape[0], lengths)
    centred = torch.where(valid, x - masked_mean(x, lengths), 0.0)
    spread = masked_mean(centred.square(), lengths).sqrt()
    return centred / spread.clamp(min=SMALLEST_SPREAD)


def with_differences(x: Tensor, lengths: Tensor) -> Tensor:
    """The values joined by their change since the step before, (T, B, 2 I); the first is 0."""
    changes = torch.cat([torch.zeros_like(x[:1]), x[1:] - x[:-1]])
    changes = torch.where(valid_steps(x.shape[0], lengths), changes, 0.0)
    return torch.cat([x, changes], -1)


def in_segments(x: Tensor, lengths: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Events of `steps` steps each, (⌈T / steps⌉, B, steps × I), and how many there are.

    The last segment of a sequence ends at its last step, so that what is newest is whole;
    zeros go before the first step of a sequence that does not divide.
    """
    # Rounded up without negative numbers, whose quotient ONNX rounds to the other side.
    counts = (lengths + steps - 1) // steps
    longest = (x.shape[0] + steps - 1) // steps
    first = lengths - counts * steps  # (B,), 0 or below
    positions = torch.arange(longest * steps, device=x.device)[:, None] + first
    inside = (positions >= 0) & (positions < lengths)
    index = positions.clamp(0, x.shape[0] - 1)[..., None].expand(-1, -1, x.shape[2])
    taken = torch.where(inside[..., None], x.gather(0, index), 0.0)
    segments = taken.view(longest, steps, x.shape[1], x.shape[2]).transpose(1, 2)
    return segments.flatten(2), counts


class Preparation(nn.Module):
    """From events (T, B, I) to what the network reads, by a design's first fields.

    Padding is read nowhere; beyond a sequence's end the result is 0.
    """

    def __init__(
        self, input_size: int, *, scaling: str = "none", differences: bool = False, segment: int = 1
    ) -> None:
        super().__init__()
        self.scaling = scaling
        self.differences = differences
        self.segment = segment
        self.output_size = input_size * (2 if differences else 1) * segment

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(T, B, I) and (B,) to the prepared events and how many each sequence has."""
        x = torch.where(valid_steps(x.shape[0], lengths), x, 0.0)
        if self.scaling == "sequence":
            x = scaled_by_itself(x, lengths)
        if self.differences:
            x = with_differences(x, lengths)
        if self.segment > 1:
            return in_segments(x, lengths, self.segment)
        return x, lengths

    def extra_repr(self) -> str:
        """The settings, for printing."""
        return f"scaling={self.scaling}, differences={self.differences}, segment={self.segment}"
