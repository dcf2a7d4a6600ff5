"""How far back a model's losses depend on its inputs, whatever the model is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gatewright.errors import ArgumentError
from gatewright.probes.lags import steps_until


@dataclass(frozen=True, slots=True)
class InputHorizon:
    """The norm of dloss_t / dx_{t-k} over lags.

    Attributes:
        channels: The mean over rows of the gradient's size in each channel, `(K + 1, I)`.
        rows: How many rows have a step at each lag, `(K + 1,)`.
    """

    channels: Tensor
    rows: Tensor

    @property
    def inputs(self) -> Tensor:
        """The norm over channels, `(K + 1,)`."""
        return self.channels.square().sum(-1).sqrt()

    @property
    def half_life(self) -> float:
        """Steps back until half of the greatest gradient is left."""
        return steps_until(self.inputs.tolist(), 0.5)

    @property
    def horizon(self) -> float:
        """Steps back until 1 % of the greatest gradient is left: how far back is read at all."""
        return steps_until(self.inputs.tolist(), 0.01)


@torch.enable_grad()  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def input_horizon(
    losses: Callable[[Tensor], Tensor], x: Tensor, ends: Tensor, *, lags: int | None = None
) -> InputHorizon:
    """The size of dloss_t / dx_{t-k}, as a root mean square over rows.

    >>> import torch, gatewright as gw
    >>> layer = gw.RNN(3, 8)
    >>> x = torch.randn(30, 2, 3)
    >>> found = input_horizon(lambda x: layer(x)[0][-1].square().sum(-1), x, torch.tensor([29, 29]))
    >>> found.inputs.shape
    torch.Size([30])

    Args:
        losses: From inputs `(T, B, I)` to one loss a row, `(B,)`, each a function of its own
            row alone.
        x: The inputs, `(T, B, I)`.
        ends: `(B,)`, the step t of each row's loss, to which lags are counted back.
        lags: The longest lag K; as far as the longest row goes unless given.
    """
    if x.dim() != 3 or ends.shape != x.shape[1:2]:
        raise ArgumentError(
            f"x has shape {tuple(x.shape)} and ends {tuple(ends.shape)}; "
            "expected (time, batch, channels) and (batch,)"
        )
    if not bool(((ends >= 0) & (ends < len(x))).all()):
        raise ArgumentError(
            f"ends must be steps from 0 to {len(x) - 1}; given were {ends.tolist()}"
        )
    leaf = x.detach().clone().requires_grad_()
    found = losses(leaf)
    if found.shape != ends.shape:
        raise ArgumentError(
            f"losses gave shape {tuple(found.shape)}; expected {tuple(ends.shape)}, one a row"
        )
    (gradient,) = torch.autograd.grad(found.sum(), leaf)
    lags = int(ends.max()) if lags is None else min(lags, int(ends.max()))
    at = ends - torch.arange(lags + 1, device=x.device)[:, None]  # (K + 1, B)
    index = at.clamp(min=0)[..., None].expand(-1, -1, x.shape[2])
    squares = gradient.gather(0, index).square()
    inside = at >= 0
    count = inside.sum(1)
    channels = (torch.where(inside[..., None], squares, 0.0).sum(1) / count[:, None]).sqrt()
    return InputHorizon(channels, count)
