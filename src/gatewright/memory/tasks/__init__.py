"""Memory tasks: synthetic sequences with known answers and a known lag.

Each is a function from its lengths to a `MemoryTask`, which draws examples from a seed. Each
states the score that a network without memory reaches.

    >>> task = TASKS["recall"](lag=20)
    >>> examples = task.examples(32, seed=0)
    >>> examples.inputs.shape, task.chance
    (torch.Size([21, 32, 10]), 0.125)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from gatewright.memory.tasks.adding import adding
from gatewright.memory.tasks.chaos import mackey_glass
from gatewright.memory.tasks.copying import copy, recall, selective_copy
from gatewright.memory.tasks.counting import anbn, anbncn, parity
from gatewright.memory.tasks.order import temporal_order
from gatewright.memory.tasks.reber import continual_reber, embedded_reber
from gatewright.memory.tasks.task import Examples, MemoryTask
from gatewright.memory.tasks.timing import generate_spikes, measure_spikes, periodic

#: The functions that make a task from its lengths, by name.
TASKS: Mapping[str, Callable[..., MemoryTask]] = MappingProxyType(
    {
        "recall": recall,
        "adding": adding,
        "copy": copy,
        "selective_copy": selective_copy,
        "temporal_order": temporal_order,
        "embedded_reber": embedded_reber,
        "continual_reber": continual_reber,
        "parity": parity,
        "anbn": anbn,
        "anbncn": anbncn,
        "measure_spikes": measure_spikes,
        "generate_spikes": generate_spikes,
        "periodic": periodic,
        "mackey_glass": mackey_glass,
    }
)

__all__ = ["TASKS", "Examples", "MemoryTask"]
