"""From what the user names to the parts of an experiment and the task that they set."""

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
    """Data that were read, cut into what may be learned from and what may not."""

    name: str
    training: Any
    test: Any
    task: Task
    notes: tuple[str, ...]  # how the data were read
    reading: dict[str, Any]  # so that new data can be read in the same way


def open_source(
    data: Any, *, horizon: int | None = None, window: int | None = None, **reading: Any
) -> Source:
    """Read `data`, see which task it sets, and put the test part aside.

    Args:
        data: What `gatewright.data.read` takes, what it returns, or the `data` of that.
        horizon: Of a forecast, how many steps to tell.
        window: Of a forecast, how many steps to read.
        **reading: Arguments of `gatewright.data.read`.
    """
    given = isinstance(data, (Reading, *DATA))
    found = _given(data, reading) if given else read(data, **reading)
    whole = found.data
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
            f"the task is {found.task}, which has no horizon and no window: leave them out"
        )
    elif isinstance(whole, Recordings):
        training, test = Classify.split(whole) if found.test is None else (whole, found.test)
        task = Classify.of(training)
    elif isinstance(whole, Tagged):
        training, test = Tag.split(whole)
        task = Tag.of(training)
    else:
        training, test = NextSymbol.split(whole)
        task = NextSymbol.of(training)
    return Source(whole.name, training, test, task, (found.summary, *found.notes), how(found))


DATA = (Series, Recordings, Tagged, Text)


def _given(data: Any, reading: dict[str, Any]) -> Reading:
    if reading:
        names = ", ".join(reading)
        raise ArgumentError(f"{names} were given, but the data have been read already")
    if isinstance(data, Reading):
        return data
    task = {Series: "forecast", Recordings: "classify", Tagged: "tag", Text: "next symbol"}
    return Reading(data, task[type(data)], "that is what they are", "the data")  # type: ignore[arg-type]


def how(found: Reading) -> dict[str, Any]:
    """How data were read, in JSON's types: the arguments that read others in the same way."""
    how: dict[str, Any] = {"task": found.task, **found.form}
    if isinstance(found.data, Text):
        how["text"] = found.data.unit
    if found.roles is not None:
        roles = asdict(found.roles)
        how |= {name: roles[name] for name in ("time", "id", "label")}
        how |= {name: list(roles[name]) for name in ("known", "static")}
        how["target"] = list(roles["targets"])
        how["ignore"] = list(roles["ignored"])
    return how
