"""New series in the form that a forecast was trained on: the same step, columns and order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from gatewright.data import Series
from gatewright.data.calendar.periods import say_period
from gatewright.errors import ArgumentError, DataError
from gatewright.tasks.forecast.spec import ForecastSpec
from gatewright.tasks.forecast.windows import with_static

#: The treatment of a static category that was not in the training data: refuse it, or forecast its
#: series as one of no known category.
Unknown = Literal["refuse", "other"]

#: Series that a message names before it counts the rest.
MAX_NAMED = 5


def series_for(spec: ForecastSpec, data: Series, unknown: Unknown) -> tuple[Series, list[str]]:
    """Return new series with the channels of training in their order, and remarks on the values.

    Raises:
        ArgumentError: if `unknown` is neither "refuse" nor "other".
        DataError: if the steps or columns differ from those of training.
    """
    if unknown not in ("refuse", "other"):
        raise ArgumentError(f"unknown is {unknown!r}; expected 'refuse' or 'other'")
    if say_period(data.period) != spec.period:
        raise DataError(
            f"{data.name} has steps of {say_period(data.period)}; the model was trained on "
            f"steps of {spec.period}: bring the data to the same"
        )
    series = data.with_calendar(spec.calendar) if spec.calendar else data
    series, remarks = with_learned_static(spec, series, unknown)
    series = with_learned_channels(spec, series)
    if set(series.targets) != set(spec.targets) or set(series.known) != set(spec.known):
        raise DataError(
            f"{data.name} is to forecast {', '.join(series.targets)}; the model forecasts "
            f"{', '.join(spec.targets)}: read the data with the same columns"
        )
    order = spec.seen.order(series.channels + series.static_names, data.name)
    if order != sorted(order):
        series = in_order(series, spec.seen.channels, spec.targets)
    arrays = [with_static(series, k, values) for k, values in enumerate(series.values)]
    return series, remarks + spec.seen.remarks(arrays, data.name)


def long_enough(series: Series, window: int) -> tuple[Series, str | None]:
    """Return the series that fill a window, and a sentence part that names the others.

    Raises:
        DataError: if all are too short.
    """
    short = [k for k, steps in enumerate(series.lengths) if steps < window]
    if not short:
        return series, None
    if len(short) == len(series):
        longest = int(series.lengths.argmax())
        raise DataError(
            f"series {series.ids[longest]} of {series.name}, the longest, has "
            f"{series.lengths[longest]} steps; the model reads the last {window}: give at least "
            "as many"
        )
    names = ", ".join(f"{series.ids[k]} ({series.lengths[k]} steps)" for k in short[:MAX_NAMED])
    names += f" and {len(short) - MAX_NAMED} more" if len(short) > MAX_NAMED else ""
    rest = series.take([k for k in range(len(series)) if k not in set(short)])
    return rest, f"series with fewer than the {window} steps that the model reads: {names}"


def with_learned_static(
    spec: ForecastSpec, series: Series, unknown: Unknown
) -> tuple[Series, list[str]]:
    """Return the series with the static channels of training, and remarks on unknown categories.

    A category is a channel of 0 and 1 called "column=category". A category of training that is
    missing here becomes 0 everywhere. An unknown category is refused, or becomes 0 in all channels
    of its column.
    """
    columns = {name.partition("=")[0] for name in series.static_names if "=" in name}
    missing = [
        name
        for name in spec.static
        if name not in series.static_names and name.partition("=")[0] in columns
    ]
    learned = {name.partition("=")[0] for name in spec.static if "=" in name}
    new = [
        name
        for name in series.static_names
        if name not in spec.static and name.partition("=")[0] in learned and "=" in name
    ]
    if not missing and not new and series.static_names == spec.static:
        return series, []
    remarks = [_not_learned(spec, series, name) for name in new]
    if remarks and unknown == "refuse":
        raise DataError(
            f"{remarks[0]}: correct it, leave the series out, or take unknown='other', which "
            "forecasts it as a series of none of them"
        )
    assert series.static is not None or not series.static_names
    common = [name for name in series.static_names if name not in new]
    names = tuple(name for name in spec.static if name in common or name in missing)
    names += tuple(name for name in common if name not in spec.static)
    values = np.zeros((len(series), len(names)))
    for column, name in enumerate(names):
        if name in common and series.static is not None:
            values[:, column] = series.static[:, series.static_names.index(name)]
    return replace(series, static=values if names else None, static_names=names), remarks


def _not_learned(spec: ForecastSpec, series: Series, name: str) -> str:
    """Describe the unknown category of a static channel called "column=category"."""
    assert series.static is not None
    column, _, category = name.partition("=")
    first = int(series.static[:, series.static_names.index(name)].argmax())
    learned = [other.partition("=")[2] for other in spec.static if other.startswith(f"{column}=")]
    return (
        f"{column} of series {series.ids[first]} in {series.name} is {category}; the model has "
        f"learned {', '.join(learned)}"
    )


def with_learned_channels(spec: ForecastSpec, series: Series) -> Series:
    """Turn static columns that varied over time in training back into channels.

    The reader takes a column that never changes in the new data for a static one.
    """
    moved = [
        name
        for name in series.static_names
        if name in spec.seen.channels and name not in spec.static
    ]
    if not moved or series.static is None:
        return series
    columns = [series.static_names.index(name) for name in moved]
    rest = [column for column in range(len(series.static_names)) if column not in columns]
    return replace(
        series,
        channels=(*moved, *series.channels),
        targets=(*series.targets, *(name for name in moved if name in spec.targets)),
        values=tuple(
            np.hstack([np.tile(own[columns], (len(values), 1)), values])
            for own, values in zip(series.static, series.values, strict=True)
        ),
        static=series.static[:, rest] if rest else None,
        static_names=tuple(series.static_names[column] for column in rest),
    )


def in_order(series: Series, channels: Sequence[str], targets: tuple[str, ...]) -> Series:
    """Return the series with its channels in this order; static ones keep their places."""
    ordered = tuple(name for name in channels if name in series.channels)
    positions = [series.channels.index(name) for name in ordered]
    # Each cycle of the calendar is two known channels at the end, which `future` does not hold.
    own = series.known[: len(series.known) - 2 * len(series.calendar)]
    known = tuple(name for name in ordered if name in series.known)
    future = series.future
    if future is not None:
        columns = [own.index(name) for name in known if name in own]
        future = tuple(values[:, columns] for values in future)
    return replace(
        series,
        channels=ordered,
        values=tuple(values[:, positions] for values in series.values),
        targets=targets,
        known=known,
        future=future,
    )
