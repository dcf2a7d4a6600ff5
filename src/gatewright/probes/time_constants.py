"""Time constants: for how many steps each unit keeps its value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gatewright.layers.recurrent import Recurrent
from gatewright.probes.steps import RunSteps


def time_constants(
    layer: Recurrent,
    x: Tensor,
    *,
    place: int = 0,
    hold: Mapping[str, Any] | None = None,
    **inputs: Any,
) -> dict[str, Tensor]:
    """Measure the steps until 1/e of a unit's value is left, by state, each `(size,)`.

    At each step a state is multiplied by a factor (the forget gate, or the GRU's z; see
    `RunSteps.step`). The time constant is -1 over the mean logarithm of the factor, over steps
    and rows: infinite if the factor is 1, and 0 for a state that is rewritten at each step.

    >>> import torch, gatewright as gw
    >>> constants = gw.probes.time_constants(gw.LSTM(3, 8), torch.zeros(40, 2, 3))
    >>> 1 < constants["c"].mean() < 2, float(constants["h"].max())
    (tensor(True), 0.0)
    """
    steps = RunSteps(layer, x, place=place, hold=hold, **inputs)
    logs = [torch.zeros(size, dtype=steps.event.dtype) for size in steps.sizes]
    count = 0
    with torch.enable_grad():
        # Chunks of about 4096 rows bound the memory.
        for chunk in torch.arange(steps.length).split(max(1, 4096 // steps.batch)):
            states, event = steps.leaves(chunk)
            after = steps.step(chunk, states, event, carried=True)
            count += len(event)
            for index, state in enumerate(after):
                factor = None
                if state.requires_grad:
                    # Units are independent here, so the sum's gradient has every factor.
                    (factor,) = torch.autograd.grad(
                        state.sum(), states[index], allow_unused=True, retain_graph=True
                    )
                factor = torch.zeros_like(states[index]) if factor is None else factor
                if steps.restart is not None:
                    factor = torch.where(steps.restart[chunk].flatten(0, 1), 0.0, factor)
                logs[index] += factor.abs().log().sum(0)
    return {
        name: (-count / log).clamp(min=0.0).where(log < 0.0, torch.inf)
        for name, log in zip(steps.names, logs, strict=True)
    }
