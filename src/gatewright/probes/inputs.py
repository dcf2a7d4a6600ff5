"""The input horizon: how far back the losses of any model depend on its inputs."""

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
        channels: The norm of the gradient in each channel, over rows, `(K + 1, I)`.
        rows: The number of rows with a step at each lag, `(K + 1,)`.
    """

    channels: Tensor
    rows: Tensor

    @property
    def inputs(self) -> Tensor:
        """The norm over channels, `(K + 1,)`."""
        return self.channels.square().sum(-1).sqrt()

    @property
    def half_life(self) -> float:
        """Steps back until half of the largest gradient is left."""
        return steps_until(self.inputs.tolist(), 0.5)

    @property
    def horizon(self) -> float:
        """Steps back until 1 % of the largest gradient is left."""
        return steps_until(self.inputs.tolist(), 0.01)


@torch.enable_grad()  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def input_horizon(
    losses: Callable[[Tensor], Tensor], x: Tensor, ends: Tensor, *, lags: int | None = None
) -> InputHorizon:
    """Measure the size of dloss_t / dx_{t-k}, as a root mean square over rows.

    >>> import torch, gatewright as gw
    >>> layer = gw.RNN(3, 8)
    >>> x = torch.randn(30, 2, 3)
    >>> horizon = input_horizon(lambda x: layer(x)[0][-1].sum(-1), x, torch.tensor([29, 29]))
    >>> horizon.inputs.shape
    torch.Size([30])

    Args:
        losses: Computes one loss for each row, `(B,)`, from inputs `(T, B, I)`; each loss
            depends only on its own row.
        x: The inputs, `(T, B, I)`.
        ends: `(B,)`, the step t of each row's loss, from which lags are counted back.
        lags: The longest lag K; by default that of the longest row.
    """
    if x.dim() != 3 or ends.shape != x.shape[1:2]:
        raise ArgumentError(
            f"x has shape {tuple(x.shape)} and ends {tuple(ends.shape)}; "
            "expected (time, batch, channels) and (batch,)"
        )
    if not bool(((ends >= 0) & (ends < len(x))).all()):
        raise ArgumentError(f"ends={ends.tolist()}; give steps from 0 to {len(x) - 1}")
    leaf = x.detach().clone().requires_grad_()
    values = losses(leaf)
    if values.shape != ends.shape:
        raise ArgumentError(
            f"losses gave shape {tuple(values.shape)}; expected {tuple(ends.shape)}, one for "
            "each row"
        )
    (gradient,) = torch.autograd.grad(values.sum(), leaf)
    lags = int(ends.max()) if lags is None else min(lags, int(ends.max()))
    steps = ends - torch.arange(lags + 1, device=x.device)[:, None]  # (K + 1, B)
    index = steps.clamp(min=0)[..., None].expand(-1, -1, x.shape[2])
    squares = gradient.gather(0, index).square()
    inside = steps >= 0
    count = inside.sum(1)
    channels = (torch.where(inside[..., None], squares, 0.0).sum(1) / count[:, None]).sqrt()
    return InputHorizon(channels, count)
