"""New series as a forecast takes them: the same step and columns, in the order that was learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from gatewright.data import Series
from gatewright.data.calendar.periods import say_period
from gatewright.errors import ArgumentError, DataError
from gatewright.tasks.forecast.windows import with_static

if TYPE_CHECKING:
    from gatewright.tasks.forecast.task import Forecast

#: The treatment of a static category that was not learned: refuse it, or forecast its series
#: with none of the categories that were.
Unknown = Literal["refuse", "other"]


def series_for(task: Forecast, data: Series, unknown: Unknown) -> tuple[Series, list[str]]:
    """New series with the model's columns, in its order; see `Task.ready`."""
    if unknown not in ("refuse", "other"):
        raise ArgumentError(f"unknown is {unknown!r}; expected 'refuse' or 'other'")
    if say_period(data.period) != task.period:
        raise DataError(
            f"{data.name} has steps of {say_period(data.period)}; the model was trained on "
            f"steps of {task.period}: bring the data to the same"
        )
    series = data.with_calendar(task.calendar) if task.calendar else data
    series, remarks = with_learned_static(task, series, unknown)
    series = with_learned_channels(task, series)
    if set(series.targets) != set(task.targets) or set(series.known) != set(task.known):
        raise DataError(
            f"{data.name} is to forecast {', '.join(series.targets)}; the model forecasts "
            f"{', '.join(task.targets)}: read the data with the same columns"
        )
    order = task.seen.order(series.channels + series.static_names, data.name)
    if order != sorted(order):
        series = in_order(series, task.seen.channels, task.targets)
    arrays = [with_static(series, at, one) for at, one in enumerate(series.values)]
    return series, remarks + task.seen.remarks(arrays, data.name)


def long_enough(series: Series, window: int) -> tuple[Series, str | None]:
    """The series that fill a window, and the fact that names the others, if there are any.

    Raises:
        DataError: if none does.
    """
    short = [at for at, steps in enumerate(series.lengths) if steps < window]
    if not short:
        return series, None
    if len(short) == len(series):
        at = int(series.lengths.argmax())
        raise DataError(
            f"series {series.ids[at]} of {series.name}, the longest, has {series.lengths[at]} "
            f"steps; the model reads the last {window}: give at least as many"
        )
    names = ", ".join(f"{series.ids[at]} ({series.lengths[at]} steps)" for at in short[:5])
    names += f" and {len(short) - 5} more" if len(short) > 5 else ""
    rest = series.take([at for at in range(len(series)) if at not in set(short)])
    return rest, f"series with fewer than the {window} steps that the model reads: {names}"


def with_learned_static(
    task: Forecast, series: Series, unknown: Unknown
) -> tuple[Series, list[str]]:
    """The series with the model's static channels, whichever categories of them occur here.

    A category stands as a channel of 0 and 1, "column=category". One that does not occur is 0
    everywhere; one that was not learned is refused, or leaves 0 in all channels of its column.
    """
    columns = {name.partition("=")[0] for name in series.static_names if "=" in name}
    missing = [
        name
        for name in task.static
        if name not in series.static_names and name.partition("=")[0] in columns
    ]
    learned = {name.partition("=")[0] for name in task.static if "=" in name}
    new = [
        name
        for name in series.static_names
        if name not in task.static and name.partition("=")[0] in learned and "=" in name
    ]
    if not missing and not new and series.static_names == task.static:
        return series, []
    remarks = [_not_learned(task, series, name) for name in new]
    if remarks and unknown == "refuse":
        raise DataError(
            f"{remarks[0]}: correct it, leave the series out, or take unknown='other', which "
            "forecasts it as a series of none of them"
        )
    assert series.static is not None or not series.static_names
    there = [name for name in series.static_names if name not in new]
    names = tuple(name for name in task.static if name in there or name in missing)
    names += tuple(name for name in there if name not in task.static)
    values = np.zeros((len(series), len(names)))
    for at, name in enumerate(names):
        if name in there and series.static is not None:
            values[:, at] = series.static[:, series.static_names.index(name)]
    return replace(series, static=values if names else None, static_names=names), remarks


def _not_learned(task: Forecast, series: Series, name: str) -> str:
    """The fact that a series has a category that the model has not learned."""
    assert series.static is not None
    column, _, category = name.partition("=")
    at = int(series.static[:, series.static_names.index(name)].argmax())
    known = [one.partition("=")[2] for one in task.static if one.startswith(f"{column}=")]
    return (
        f"{column} of series {series.ids[at]} in {series.name} is {category}; the model has "
        f"learned {', '.join(known)}"
    )


def with_learned_channels(task: Forecast, series: Series) -> Series:
    """The series with columns that happen not to change here as channels, as they were learned."""
    moved = [
        name
        for name in series.static_names
        if name in task.seen.channels and name not in task.static
    ]
    if not moved or series.static is None:
        return series
    at = [series.static_names.index(name) for name in moved]
    rest = [place for place in range(len(series.static_names)) if place not in at]
    return replace(
        series,
        channels=(*moved, *series.channels),
        targets=(*series.targets, *(name for name in moved if name in task.targets)),
        values=tuple(
            np.hstack([np.tile(own[at], (len(values), 1)), values])
            for own, values in zip(series.static, series.values, strict=True)
        ),
        static=series.static[:, rest] if rest else None,
        static_names=tuple(series.static_names[place] for place in rest),
    )


def in_order(series: Series, channels: Sequence[str], targets: tuple[str, ...]) -> Series:
    """The same series with its channels in this order (static ones stay where they are)."""
    given = tuple(name for name in channels if name in series.channels)
    at = [series.channels.index(name) for name in given]
    own = series.known[: len(series.known) - 2 * len(series.calendar)]
    known = tuple(name for name in given if name in series.known)
    future = series.future
    if future is not None:
        into = [own.index(name) for name in known if name in own]
        future = tuple(one[:, into] for one in future)
    return replace(
        series,
        channels=given,
        values=tuple(one[:, at] for one in series.values),
        targets=targets,
        known=known,
        future=future,
    )
