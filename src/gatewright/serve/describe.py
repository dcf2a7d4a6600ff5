"""The description of a served model, for programs that send requests to it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from gatewright.serve.limits import Limits
from gatewright.serve.predictions import TABLES, TEXT
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.labelled import Labelled
from gatewright.tasks.text.task import NextSymbol
from gatewright.training.model import Model


def describe_model(
    model: Model, digest: str, why_not_streamed: str | None, limits: Limits
) -> dict[str, Any]:
    """The task, its inputs and outputs, and the limits, in JSON's types.

    Args:
        digest: The checksum of the model's directory.
        why_not_streamed: The reason why the model has no streams, or None.
    """
    task = model.task
    return {
        "task": task.kind,
        "network": model.network,
        "digest": digest,
        **_of_task(task),
        "reads": [TEXT] if isinstance(task, NextSymbol) else list(TABLES),
        "columns": {
            role: model.reading[role]
            for role in ("time", "id", "label", "known", "static", "ignore")
            if model.reading.get(role)
        },
        "streams": why_not_streamed is None,
        **({} if why_not_streamed is None else {"why_no_streams": why_not_streamed}),
        "limits": asdict(limits),
    }


def _of_task(task: Any) -> dict[str, Any]:
    match task:
        case Forecast():
            return {
                "targets": list(task.targets),
                "known": list(task.known),
                "static": list(task.static),
                "window": task.window,
                "horizon": task.horizon,
                "period": task.period,
            }
        case NextSymbol():
            return {"unit": task.unit, "outputs": list(task.vocabulary)}
        case Labelled():
            return {"channels": list(task.seen.channels), "outputs": list(task.classes)}
        case _:
            return {}
