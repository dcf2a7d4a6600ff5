"""The read-out of a sequence: its steps summed up in one vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn

from gatewright.designs.masks import last_step, masked_max, masked_mean, valid_steps

#: Summaries that have nothing to learn, from (T, B, C) and lengths (B,) to (B, C).
FIXED: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = MappingProxyType(
    {"mean": masked_mean, "max": masked_max}
)


class Attention(nn.Module):
    """A mean over the steps of each sequence, weighted by how much each step matters.

    The weights are a softmax of `v · tanh(W h_t + b)` over the steps (Bahdanau et al. 2015,
    arXiv:1409.0473, with a query that is learned).
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.score = nn.Sequential(
            nn.Linear(features, features), nn.Tanh(), nn.Linear(features, 1, bias=False)
        )

    def weights(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The weight of each step, (T, B, 1): 1 in all where a sequence has steps."""
        scores = self.score(x).masked_fill(~valid_steps(x.shape[0], lengths), float("-inf"))
        # A sequence without steps has only -inf, whose softmax is NaN.
        return torch.where(lengths[:, None] > 0, scores, 0.0).softmax(0)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, C) and (B,) to (B, C); 0 where a sequence has no steps."""
        inside = torch.where(valid_steps(x.shape[0], lengths), x, 0.0)
        return (self.weights(x, lengths) * inside).sum(0)


class Readout(nn.Module):
    """The summaries of a sequence, joined: (T, B, C) to (B, summaries × C).

    >>> readout = Readout(("mean", "max"), 8)
    >>> readout(torch.zeros(5, 2, 8), torch.tensor([5, 3])).shape
    torch.Size([2, 16])

    Args:
        summaries: Some of last, mean, max, share and attention.
        features: Values of each step, C.
        directions: 2 where the second half of the features was read from the end: its last
            step is the sequence's first.

    A share is that of the steps at which a feature exceeds its threshold, as in MiniRocket
    (Dempster et al. 2021, arXiv:2012.08791). The thresholds are 0 until `start_untrained_`.
    """

    thresholds: Tensor  # (C,)

    def __init__(self, summaries: Sequence[str], features: int, directions: int = 1) -> None:
        super().__init__()
        self.summaries = tuple(summaries)
        self.directions = directions
        self.output_size = len(self.summaries) * features
        if "attention" in self.summaries:
            self.attention = Attention(features)
        if "share" in self.summaries:
            self.register_buffer("thresholds", torch.zeros(features))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, C) and (B,) to (B, summaries × C)."""
        return torch.cat([self._summary(name, x, lengths) for name in self.summaries], -1)

    def _summary(self, name: str, x: Tensor, lengths: Tensor) -> Tensor:
        if name == "attention":
            return self.attention(x, lengths)  # type: ignore[no-any-return]
        if name == "share":
            return masked_mean((x > self.thresholds).to(x), lengths)
        if name in FIXED:
            return FIXED[name](x, lengths)
        if self.directions == 1:
            return last_step(x, lengths)
        ahead, back = x.chunk(2, -1)
        return torch.cat([last_step(ahead, lengths), back[0]], -1)

    def extra_repr(self) -> str:
        """The summaries, for printing."""
        return " + ".join(self.summaries)
