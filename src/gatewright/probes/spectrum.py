"""The spectrum of the step's Jacobian: how much one step stretches, shrinks and rotates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gatewright.layers.recurrent import Recurrent
from gatewright.probes.steps import RunSteps


@torch.enable_grad()  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def step_jacobians(
    layer: Recurrent, x: Tensor, *, count: int = 8, place: int = 0, **inputs: Any
) -> Tensor:
    """Compute dS_t / dS_{t-1} at `count` steps spread evenly over the run, `(E, B, S, S)`.

    S is the number of units of all states, in the order of the cell's step. Row i has the
    derivatives of unit i after the step.

    >>> import torch, gatewright as gw
    >>> gw.probes.step_jacobians(gw.LSTM(3, 8), torch.randn(40, 2, 3), count=5).shape
    torch.Size([5, 2, 16, 16])
    """
    steps = RunSteps(layer, x, place=place, **inputs)
    chosen = torch.linspace(0, steps.length - 1, min(count, steps.length)).round().long()
    states, event = steps.leaves(chosen)
    eye = torch.eye(steps.units, dtype=event.dtype, device=event.device)
    upstream = [part[:, None].expand(-1, len(event), -1) for part in eye.split(steps.sizes, dim=1)]
    gradients = steps.back(steps.step(chosen, states, event), states, upstream, chosen)
    # (S after, E * B, S before)
    rows = torch.cat(gradients, -1).movedim(0, 1)
    jacobians: Tensor = rows.unflatten(0, (len(chosen), steps.batch))
    return jacobians


def spectrum(layer: Recurrent, x: Tensor, **options: Any) -> Tensor:
    """Compute the complex eigenvalues of the step's Jacobian, `(E, B, S)`, the largest first.

    Below an absolute value of 1 the memory fades, above 1 it grows, at 1 it stays (Pascanu,
    Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks").
    The options are those of `step_jacobians`.

    >>> import torch, gatewright as gw
    >>> gw.probes.spectrum(gw.RNN(3, 8), torch.zeros(10, 2, 3)).abs().max() < 1
    tensor(True)
    """
    values: Tensor = torch.linalg.eigvals(step_jacobians(layer, x, **options))
    return values.gather(-1, values.abs().argsort(-1, descending=True))
