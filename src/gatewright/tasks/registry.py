"""All tasks, by the names that readers, configurations and the command line use.

A new task is a row here: its class, its presentation and the baselines that it is compared with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from gatewright.errors import ModelError
from gatewright.schema import shown
from gatewright.tasks.baseline import Baseline
from gatewright.tasks.classify import Classify, ClassifyPresentation, classify_baselines
from gatewright.tasks.forecast.baselines import forecast_baselines
from gatewright.tasks.forecast.presentation import ForecastPresentation
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.presentation import Presentation
from gatewright.tasks.tag import Tag, TagPresentation, tag_baselines
from gatewright.tasks.task import Task
from gatewright.tasks.text.baselines import text_baselines
from gatewright.tasks.text.presentation import TextPresentation
from gatewright.tasks.text.task import NextSymbol


@dataclass(frozen=True, slots=True)
class TaskEntry:
    """One row of the registry; presentation and baselines take an instance of the task."""

    task: type[Task]
    presentation: Callable[[Any], Presentation]
    baselines: Callable[[Any], Sequence[Baseline]]


TASKS: Mapping[str, TaskEntry] = MappingProxyType(
    {
        entry.task.kind: entry
        for entry in (
            TaskEntry(
                Forecast,
                ForecastPresentation,
                lambda task: forecast_baselines(task, task.base),
            ),
            TaskEntry(Classify, ClassifyPresentation, classify_baselines),
            TaskEntry(Tag, TagPresentation, tag_baselines),
            TaskEntry(NextSymbol, TextPresentation, text_baselines),
        )
    }
)


def presentation_of(task: Task) -> Presentation:
    """Return the words and figures of a task."""
    return TASKS[task.kind].presentation(task)


def baselines_for(task: Task) -> list[Baseline]:
    """Return the baselines of a task that can run here, from the simplest on."""
    return [baseline for baseline in TASKS[task.kind].baselines(task) if baseline.why_not is None]


def missing_baselines(task: Task) -> list[str]:
    """Return the reasons why baselines cannot run here, each once, with the remedy."""
    baselines = TASKS[task.kind].baselines(task)
    reasons = [baseline.why_not for baseline in baselines if baseline.why_not is not None]
    return list(dict.fromkeys(reasons))  # several baselines of one package have the same


def task_from_config(config: Mapping[str, Any], path: str = "task") -> Task:
    """Return the task that a saved model was trained for.

    Raises:
        ModelError: if this version of gatewright does not have it.
    """
    kind = config.get("kind")
    if not isinstance(kind, str) or kind not in TASKS:
        raise ModelError(
            f"the model's task is {shown(kind)}; this gatewright knows {sorted(TASKS)}"
        )
    return TASKS[kind].task.from_config(config, path)
