"""The network without a memory: what the recurrent ones are measured against."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from gatewright.layers.saving import saveable
from gatewright.schema import mismatch, typed_fields
from gatewright.tasks.padding import valid_steps


@saveable("window")
class Window(nn.Module):
    """A feed-forward layer that slides over the sequence.

    Each step sees itself and `reach` steps before and after it, or only before it if
    `causal`, and knows nothing of any other. Beyond the ends of a sequence the window
    repeats its first or last step. What lies beyond the window is lost, which is what the
    recurrent networks can improve on.

    >>> window = Window(12, 143)
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
        """Which steps are seen, counted from the one that sees them."""
        return range(-self.reach, 1 if self.causal else self.reach + 1)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, I) and (B,) to the features of each step, (T, B, H)."""
        windows = x.gather(0, self._reads(x, lengths)).view(len(x), -1, x.shape[1], x.shape[2])
        return torch.relu(self.hidden(windows.transpose(1, 2).flatten(2)))

    def mean(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, I) and (B,) to the mean features of each sequence, (B, H)."""
        # Selected, not multiplied by a mask: NaN in the padding would survive a product.
        inside = valid_steps(len(x), lengths)[..., None]
        seen = torch.where(inside, self(x, lengths), 0.0)
        return seen.sum(0) / lengths.clamp(min=1)[:, None]

    def _reads(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T × window, B, I): at which step each part of each window reads."""
        offsets = torch.tensor(self.offsets, device=x.device)
        steps = torch.arange(len(x), device=x.device)[:, None] + offsets  # (T, window)
        last = (lengths - 1).clamp(min=0)
        steps = steps.flatten()[:, None].clamp(min=0).minimum(last)  # (T × window, B)
        return steps[..., None].expand(-1, -1, x.shape[2])

    def to_config(self) -> dict[str, Any]:
        """What `from_config` needs."""
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
        given = typed_fields(dict(config), hints, path)
        for name, least in (("input_size", 1), ("hidden_size", 1), ("reach", 0)):
            if given[name] < least:
                raise mismatch(f"{path}.{name}", given[name], f"a number from {least}")
        return cls(given.pop("input_size"), given.pop("hidden_size"), **given)
