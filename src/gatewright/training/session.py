"""The circumstances of a run: what is shown of it, where its files are, and when it has to end."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gatewright.errors import ArgumentError, Suspended
from gatewright.training.history import BY_HAND, Epoch, History
from gatewright.training.job import TrainingJob
from gatewright.training.processes.pool import WorkerPool
from gatewright.training.run import OpenRun

#: Called with the words for the trainings, a training, and an epoch that it completed.
Log = Callable[[str, TrainingJob, Epoch], None]


@dataclass(slots=True)
class Session:
    """Everything about the performance of a plan that does not change its result."""

    progress: bool = True  # whether progress bars are shown on the error stream
    run: OpenRun | None = None  # None writes nothing
    logs: Sequence[Log] = field(default_factory=tuple)
    deadline: float | None = None  # of `time.monotonic`, at which the run is suspended
    pool: WorkerPool = field(default_factory=WorkerPool)  # of the processes that train
    interrupted: bool = False  # whether Ctrl-C left out something that a resumed run will do

    def check_time(self) -> None:
        """End the run if its time is over.

        Raises:
            Suspended: then.
        """
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise Suspended

    def ended(self, histories: Sequence[History], planned: int) -> None:
        """Note trainings that Ctrl-C ended early, or that never began."""
        if len(histories) < planned or any(own.stopped == BY_HAND for own in histories):
            self.interrupted = True


#: Seconds of each unit of a time limit.
UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(limit: str | float) -> float:
    """The seconds of a time limit: a number of minutes, or a text such as "90s", "2h" or "1.5d".

    >>> seconds_of("2h"), seconds_of(10)
    (7200.0, 600.0)

    Raises:
        ArgumentError: if it is neither, or not above 0.
    """
    if isinstance(limit, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*", limit)
        seconds = float(match[1]) * UNITS[match[2]] if match else 0.0
    else:
        seconds = 60.0 * limit
    if not 0.0 < seconds < math.inf:
        raise ArgumentError(
            f"the time limit is {limit!r}; expected a number above 0 with a unit, as in 90s, 30m, "
            "2h or 1d, or in Python a number of minutes"
        )
    return seconds
