"""Read the user's data, divide them into parts, and find the task that they set."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

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
