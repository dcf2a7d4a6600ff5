"""The networks of the scientific benchmarks: a shipped cell and an initialisation."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

import gatewright as gw
from gatewright.memory import MemoryTask, StepReader

Build = Callable[[MemoryTask], nn.Module]


def network(
    cell: str | gw.Cell, units: int, start: Callable[[gw.Recurrent], object] = lambda layer: None
) -> Build:
    """Return a function that builds a layer with a readout; `start` initialises its weights."""

    def build(task: MemoryTask) -> nn.Module:
        layer = gw.Recurrent(cell, task.inputs, units)
        start(layer)
        return StepReader(layer, units, task.outputs)

    return build


def chrono(steps: int) -> Callable[[gw.Recurrent], object]:
    """The chrono initialisation for memories of up to `steps` steps."""
    return lambda layer: gw.init.chrono_(layer, steps)
