"""The network without a memory, which the recurrent ones have to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from gatewright.designs.masks import masked_mean
from gatewright.layers.saving import saveable
from gatewright.schema import mismatch, typed_fields


@saveable("window")
class WindowNetwork(nn.Module):
    """A feed-forward layer that slides over the sequence.

    Each step sees itself and `reach` steps before and after it, or only before it if
    `causal`, and no other. At the ends of a sequence the window repeats the first or last step.
    Anything outside the window is lost: there the recurrent networks can do better.

    >>> window = WindowNetwork(12, 143)
    >>> window(torch.zeros(20, 2, 12), torch.tensor([20, 7])).shape
    torch.Size([20, 2, 143])
    >>> window.mean(torch.zeros(20, 2, 12), torch.tensor([20, 7])).shape
    torch.Size([2, 143])
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, reach: int = 2, causal: bool = False
    ) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.reach = reach
        self.causal = causal
        self.hidden = nn.Linear(len(self.offsets) * input_size, hidden_size)

    @property
    def output_size(self) -> int:
        """Features of each step."""
        return self.hidden_size

    @property
    def offsets(self) -> range:
        """The steps that each step sees, relative to it."""
        return range(-self.reach, 1 if self.causal else self.reach + 1)

    def forward(self, x: Tensor, lengths: Tensor, first: Tensor | None = None) -> Tensor:
        """The features of each step, (T, B, H), from x (T, B, I) and lengths (B,).

        Args:
            first: The first step that each step's window sees, (T, B); 0 by default.
        """
        windows = x.gather(0, self._reads(x, lengths, first)).view(
            x.shape[0], -1, x.shape[1], x.shape[2]
        )
        return torch.relu(self.hidden(windows.transpose(1, 2).flatten(2)))

    def steps(
        self,
        x: Tensor,
        lengths: Tensor,
        state: tuple[Tensor, Tensor] | None = None,
        starts: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The features of each step, (T, B, H), of sequences that go on, and the state after them.

        Args:
            state: The last `reach` events before these, which a window still sees, (reach, B, I),
                and how many of them are of the same sequence, (B,).
            starts: True at the first step of a sequence, (T, B): no window sees past it.
        """
        if state is None:
            state = x[:0], lengths.new_zeros(x.shape[1])
        earlier, count = state
        before = len(earlier)
        events = torch.cat([earlier, x])
        first = (before - count).expand(len(events), -1)  # the first step of each step's sequence
        if starts is not None:
            places = torch.arange(before, len(events), device=x.device)[:, None]
            begun = torch.where(starts, places, first[before:]).cummax(0).values
            first = torch.cat([first[:before], begun])
        output = self(events, lengths + before, first)[before:]
        count = (len(events) - first[-1]).clamp(max=self.reach)
        return output, (events[len(events) - min(self.reach, len(events)) :], count)

    def mean(self, x: Tensor, lengths: Tensor) -> Tensor:
        """The mean features of each sequence, (B, H), from x (T, B, I) and lengths (B,)."""
        return masked_mean(self(x, lengths), lengths)

    def _reads(self, x: Tensor, lengths: Tensor, first: Tensor | None) -> Tensor:
        """The step that each position of each window reads, (T × window, B, I)."""
        offsets = torch.tensor(self.offsets, device=x.device)
        steps = torch.arange(x.shape[0], device=x.device)[:, None] + offsets  # (T, window)
        last = (lengths - 1).clamp(min=0)
        steps = steps.flatten()[:, None].clamp(min=0).minimum(last)  # (T × window, B)
        if first is not None:
            steps = steps.maximum(first.repeat_interleave(len(self.offsets), 0))
        return steps[..., None].expand(-1, -1, x.shape[2])

    def to_config(self) -> dict[str, Any]:
        """The arguments for `from_config`."""
        return {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "reach": self.reach,
            "causal": self.causal,
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any], path: str = "window") -> Self:
        """The module of a config."""
        hints = {"input_size": int, "hidden_size": int, "reach": int, "causal": bool}
        values = typed_fields(dict(config), hints, path)
        for name, least in (("input_size", 1), ("hidden_size", 1), ("reach", 0)):
            if values[name] < least:
                raise mismatch(f"{path}.{name}", values[name], f"a number from {least}")
        return cls(values.pop("input_size"), values.pop("hidden_size"), **values)
