"""Read the user's data, divide them into parts, and find the task that they set."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from gatewright.data import Reading, Recordings, Series, Tagged, Text, read
from gatewright.errors import ArgumentError
from gatewright.tasks.classify import Classify
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.forecast.windows import check_long_enough
from gatewright.tasks.tag import Tag
from gatewright.tasks.task import Task
from gatewright.tasks.text.task import NextSymbol


@dataclass(frozen=True, slots=True)
class Source:
    """Data that were read, divided into a training part and a test part."""

    name: str
    training: Any
    test: Any
    task: Task
    notes: tuple[str, ...]  # how the data were read
    reading: dict[str, Any]  # arguments that read new data in the same way


def open_source(
    data: Any, *, horizon: int | None = None, window: int | None = None, **reading: Any
) -> Source:
    """Read `data`, find the task that they set, and put the test part aside.

    Args:
        data: Anything that `gatewright.data.read` takes or returns, or the `data` of its result.
        horizon: Steps to forecast; only for a forecast.
        window: Steps that a forecast reads; only for a forecast.
        **reading: Arguments of `gatewright.data.read`.
    """
    was_read = isinstance(data, (Reading, *_DATA_TYPES))
    source = _already_read(data, reading) if was_read else read(data, **reading)
    source = _with_changing_targets(source)
    whole = source.data
    sizes = {"horizon": horizon, "window": window}
    training: Any
    test: Any
    task: Task
    if isinstance(whole, Series):
        training, test = Forecast.split(whole.with_calendar())
        task = Forecast.of(training, **sizes)
        check_long_enough(test, task.window, task.horizon)
    elif any(sizes.values()):
        raise ArgumentError(
            f"the task is {source.task}, which has no horizon and no window: leave them out"
        )
    elif isinstance(whole, Recordings):
        training, test = Classify.split(whole) if source.test is None else (whole, source.test)
        task = Classify.of(training)
    elif isinstance(whole, Tagged):
        training, test = Tag.split(whole)
        task = Tag.of(training)
    else:
        training, test = NextSymbol.split(whole)
        task = NextSymbol.of(training)
    notes = (source.summary, *source.notes)
    return Source(whole.name, training, test, task, notes, read_arguments(source))


def _with_changing_targets(source: Reading) -> Reading:
    """Take targets that never change in the training part as inputs, unless the user named them.

    Such a column may be a flag for what began in the test part, and there is nothing to forecast.
    """
    whole, roles = source.data, source.roles
    if not isinstance(whole, Series) or roles is None or roles.targets:
        return source
    training, _ = Forecast.split(whole)
    changes = np.any([np.ptp(values, axis=0) > 0.0 for values in training.values], axis=0)
    still = [name for name in whole.targets if not changes[whole.channels.index(name)]]
    rest = tuple(name for name in whole.targets if name not in still)
    if not still or not rest:
        return source
    note = f"{', '.join(still)}: the same in all of the training part, so no target"
    return replace(
        source,
        data=replace(whole, targets=rest),
        roles=replace(roles, targets=rest),
        notes=(*source.notes, note),
    )


_DATA_TYPES = (Series, Recordings, Tagged, Text)


def _already_read(data: Any, reading: dict[str, Any]) -> Reading:
    if reading:
        names = ", ".join(reading)
        raise ArgumentError(f"{names} were given, but the data have been read already")
    if isinstance(data, Reading):
        return data
    task = {Series: "forecast", Recordings: "classify", Tagged: "tag", Text: "next symbol"}
    return Reading(data, task[type(data)], "that is what they are", "the data")  # type: ignore[arg-type]


def read_arguments(source: Reading) -> dict[str, Any]:
    """Arguments of `read` that read other data in the same way, in JSON's types."""
    arguments: dict[str, Any] = {"task": source.task, **source.form}
    if isinstance(source.data, Text):
        arguments["text"] = source.data.unit
    if source.roles is not None:
        roles = asdict(source.roles)
        arguments |= {name: roles[name] for name in ("time", "id", "label")}
        arguments |= {name: list(roles[name]) for name in ("known", "static")}
        arguments["target"] = list(roles["targets"])
        arguments["ignore"] = list(roles["ignored"])
    return arguments
