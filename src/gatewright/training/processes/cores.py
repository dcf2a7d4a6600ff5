"""The number of processes that train at the same time."""

from __future__ import annotations

import os

#: More processes than this only fill the memory: each has loaded torch.
MAX_PROCESSES = 8


def usable_cores() -> int:
    """The number of cores this process may use, which can be fewer than the machine has."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
