"""All tasks, by the names that readers, configurations and the command line use."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gatewright.errors import ModelError
from gatewright.schema import shown
from gatewright.tasks.classify import Classify
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.tag import Tag
from gatewright.tasks.task import Task
from gatewright.tasks.text.task import NextSymbol

TASKS: Mapping[str, type[Task]] = MappingProxyType(
    {kind.kind: kind for kind in (Forecast, Classify, Tag, NextSymbol)}
)


def task_from_config(config: Mapping[str, Any], path: str = "task") -> Task:
    """The task that a saved model was trained for.

    Raises:
        ModelError: if it is none of this gatewright's.
    """
    kind = config.get("kind")
    if not isinstance(kind, str) or kind not in TASKS:
        raise ModelError(
            f"the model's task is {shown(kind)}; this gatewright knows {sorted(TASKS)}"
        )
    return TASKS[kind].from_config(config, path)
