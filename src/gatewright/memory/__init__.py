"""The memory laboratory: how far back networks remember, and why.

    gw.memory.TASKS                 tasks with a known lag
    gw.memory.learn                 train one network on one task with a fixed budget
    gw.memory.behavioural_horizon   find the longest lag that a network learns

Measurements that need no training are in `gatewright.probes`.
"""

from gatewright.memory.behaviour import BehaviouralHorizon, behavioural_horizon
from gatewright.memory.learning import Budget, LearningResult, learn
from gatewright.memory.networks import NETWORKS, StepReader
from gatewright.memory.tasks import TASKS, Examples, MemoryTask

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
