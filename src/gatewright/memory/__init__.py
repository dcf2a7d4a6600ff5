"""The memory laboratory: how far back does a network remember, and why.

    gw.memory.TASKS                 tasks with a lag that is known
    gw.memory.learn                 one network learns one task, under a stated budget
    gw.memory.behavioural_horizon   the longest lag that is still learnt

What can be measured without training anything stands in `gatewright.probes`.
"""

from gatewright.memory.behaviour import BehaviouralHorizon, behavioural_horizon
from gatewright.memory.learning import Budget, Learnt, learn
from gatewright.memory.networks import NETWORKS, Reader
from gatewright.memory.tasks import TASKS, Examples, Task

__all__ = [
    "NETWORKS",
    "TASKS",
    "BehaviouralHorizon",
    "Budget",
    "Examples",
    "Learnt",
    "Reader",
    "Task",
    "behavioural_horizon",
    "learn",
]
