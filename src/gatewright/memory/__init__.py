"""The memory laboratory: how far back networks remember, and why.

    gw.memory.TASKS                 tasks with a known lag
    gw.memory.learn                 train one network on one task with a fixed budget
    gw.memory.behavioural_horizon   find the longest lag that a network learns

Measurements that need no training are in `gatewright.probes`.
"""

from __future__ import annotations

from typing import Any

from gatewright.deprecated import warn_deprecated
from gatewright.memory.behaviour import BehaviouralHorizon, behavioural_horizon
from gatewright.memory.learning import Budget, LearningResult, learn
from gatewright.memory.networks import NETWORKS, StepReader
from gatewright.memory.tasks import TASKS, Examples, MemoryTask

#: The names of version 0.1.
_EARLIER = {"Learnt": "LearningResult", "Reader": "StepReader", "Task": "MemoryTask"}


def __getattr__(name: str) -> Any:
    if name not in _EARLIER:
        raise AttributeError(f"gatewright.memory has no attribute {name!r}")
    replacement = _EARLIER[name]
    warn_deprecated(f"gw.memory.{name}", replacement=f"gw.memory.{replacement}", removal="0.4")
    return globals()[replacement]


__all__ = [
    "NETWORKS",
    "TASKS",
    "BehaviouralHorizon",
    "Budget",
    "Examples",
    "LearningResult",
    "MemoryTask",
    "StepReader",
    "behavioural_horizon",
    "learn",
]
