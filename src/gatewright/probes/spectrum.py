"""The spectrum of the step's Jacobian: what one step stretches, shrinks and turns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gatewright.layers.recurrent import Recurrent
from gatewright.probes.steps import Steps


@torch.enable_grad()  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def step_jacobians(
    layer: Recurrent, x: Tensor, *, at: int = 8, place: int = 0, **inputs: Any
) -> Tensor:
    """dS_t / dS_{t-1} at `at` steps spread over the run, `(E, B, S, S)`.

    S counts all states' units, in the order of the cell's step; row i is what unit i after
    the step depends on.

    >>> import torch, gatewright as gw
    >>> gw.probes.step_jacobians(gw.LSTM(3, 8), torch.randn(40, 2, 3), at=5).shape
    torch.Size([5, 2, 16, 16])
    """
    steps = Steps(layer, x, place=place, **inputs)
    chosen = torch.linspace(0, steps.length - 1, min(at, steps.length)).round().long()
    states, event = steps.at(chosen)
    eye = torch.eye(steps.units, dtype=event.dtype, device=event.device)
    upstream = [one[:, None].expand(-1, len(event), -1) for one in eye.split(steps.sizes, dim=1)]
    found = steps.back(steps.step(chosen, states, event), states, upstream, chosen)
    # (S after, E * B, S before)
    rows = torch.cat(found, -1).movedim(0, 1)
    jacobians: Tensor = rows.unflatten(0, (len(chosen), steps.batch))
    return jacobians


def spectrum(layer: Recurrent, x: Tensor, **options: Any) -> Tensor:
    """The eigenvalues of the step's Jacobian, complex, `(E, B, S)`, the largest first.

    Below 1 in size what a step carries fades, above 1 it grows; at 1 it stays (Pascanu,
    Mikolov and Bengio 2013, "On the difficulty of training recurrent neural networks").
    Options are those of `step_jacobians`.

    >>> import torch, gatewright as gw
    >>> gw.probes.spectrum(gw.RNN(3, 8), torch.zeros(10, 2, 3)).abs().max() < 1
    tensor(True)
    """
    values: Tensor = torch.linalg.eigvals(step_jacobians(layer, x, **options))
    return values.gather(-1, values.abs().argsort(-1, descending=True))
