"""The memory that a process may still take."""

from __future__ import annotations

import os
from pathlib import Path

#: Files of Linux: the machine's memory, and the limit and use of a container (cgroup 2).
MEMINFO = Path("/proc/meminfo")
LIMIT = Path("/sys/fs/cgroup/memory.max")
USED = Path("/sys/fs/cgroup/memory.current")


def free_memory() -> int | None:
    """Return the bytes that are free, here or in this container; None where nobody knows."""
    amounts = [_of_machine(), _of_container()]
    return min((amount for amount in amounts if amount is not None), default=None)


def _of_machine() -> int | None:
    try:
        for line in MEMINFO.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass  # not Linux
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _of_container() -> int | None:
    try:
        return int(LIMIT.read_text()) - int(USED.read_text())
    except (OSError, ValueError):  # none, or without a limit
        return None
