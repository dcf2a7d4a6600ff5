"""Time constants: for how many steps each unit keeps what it holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gatewright.layers.recurrent import Recurrent
from gatewright.probes.steps import Steps


def time_constants(
    layer: Recurrent,
    x: Tensor,
    *,
    place: int = 0,
    hold: Mapping[str, Any] | None = None,
    **inputs: Any,
) -> dict[str, Tensor]:
    """Steps after which 1/e of what a unit holds is left, by state, each `(size,)`.

    From the factor that a state is carried on with at each step (the forget gate's, or the
    GRU's z; see `Steps.step`): -1 over the mean of its logarithm, over steps and rows. It is
    infinite where the factor is 1, and 0 for a state that is not carried on but rewritten.

    >>> import torch, gatewright as gw
    >>> found = gw.probes.time_constants(gw.LSTM(3, 8), torch.zeros(40, 2, 3))
    >>> 1 < found["c"].mean() < 2, float(found["h"].max())
    (tensor(True), 0.0)
    """
    steps = Steps(layer, x, place=place, hold=hold, **inputs)
    logs = [torch.zeros(size, dtype=steps.event.dtype) for size in steps.sizes]
    count = 0
    with torch.enable_grad():
        for at in torch.arange(steps.length).split(max(1, 4096 // steps.batch)):
            states, event = steps.at(at)
            after = steps.step(at, states, event, carried=True)
            count += len(event)
            for index, one in enumerate(after):
                factor = None
                if one.requires_grad:
                    # Carrying acts unit by unit, so the sum's gradient is each unit's own.
                    (factor,) = torch.autograd.grad(
                        one.sum(), states[index], allow_unused=True, retain_graph=True
                    )
                factor = torch.zeros_like(states[index]) if factor is None else factor
                if steps.restart is not None:
                    factor = torch.where(steps.restart[at].flatten(0, 1), 0.0, factor)
                logs[index] += factor.abs().log().sum(0)
    return {
        name: (-count / one).clamp(min=0.0).where(one < 0.0, torch.inf)
        for name, one in zip(steps.names, logs, strict=True)
    }
