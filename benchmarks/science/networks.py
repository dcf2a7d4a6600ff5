"""The networks of the scientific benchmarks: any cell that ships, and how it starts."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

import gatewright as gw
from gatewright.memory import MemoryTask, StepReader

Build = Callable[[MemoryTask], nn.Module]


def network(
    cell: str | gw.Cell, units: int, start: Callable[[gw.Recurrent], object] = lambda layer: None
) -> Build:
    """A layer of a cell that is read at every step; `start` changes its weights before."""

    def build(task: MemoryTask) -> nn.Module:
        layer = gw.Recurrent(cell, task.inputs, units)
        start(layer)
        return StepReader(layer, units, task.outputs)

    return build


def chrono(steps: int) -> Callable[[gw.Recurrent], object]:
    """A start for memories of up to so many steps."""
    return lambda layer: gw.init.chrono_(layer, steps)
