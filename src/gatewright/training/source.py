"""From what the user names to the parts of an experiment and the task that they set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gatewright.data import load
from gatewright.training.tasks.classify import Classify
from gatewright.training.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Source:
    """Data that were read, cut into what may be learned from and what may not."""

    name: str
    training: Any
    test: Any
    task: Task
    notes: tuple[str, ...]  # how the data were read


def open_source(data: Any, **reading: Any) -> Source:
    """Read `data` and set the test part aside; `reading` goes to `gatewright.data.read`."""
    split = load(data)
    return Source(data, split.train, split.test, Classify.of(split.train), ())
