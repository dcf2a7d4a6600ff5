"""New series as a forecast takes them: the same step and columns, in the order that was learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from gatewright.data import Series
from gatewright.data.calendar import say_period
from gatewright.errors import DataError
from gatewright.training.tasks.windows import with_static

if TYPE_CHECKING:
    from gatewright.training.tasks.forecast import Forecast


def series_for(task: Forecast, data: Series) -> tuple[Series, list[str]]:
    """See `Task.ready`."""
    if say_period(data.period) != task.period:
        raise DataError(
            f"{data.name} has steps of {say_period(data.period)}; the model was trained on "
            f"steps of {task.period}: bring the data to the same"
        )
    series = data.with_calendar(task.calendar) if task.calendar else data
    if set(series.targets) != set(task.targets) or set(series.known) != set(task.known):
        raise DataError(
            f"{data.name} is to forecast {', '.join(series.targets)}; the model forecasts "
            f"{', '.join(task.targets)}: read the data with the same columns"
        )
    order = task.seen.order(series.channels + series.static_names, data.name)
    if order != sorted(order):
        series = in_order(series, task.seen.channels, task.targets)
    series, remarks = long_enough(series, task.window)
    arrays = [with_static(series, at, one) for at, one in enumerate(series.values)]
    return series, [*remarks, *task.seen.remarks(arrays, data.name)]


def long_enough(series: Series, window: int) -> tuple[Series, list[str]]:
    """The series that fill a window, and a remark that names those left out.

    Raises:
        DataError: if none does.
    """
    short = [at for at, steps in enumerate(series.lengths) if steps < window]
    if not short:
        return series, []
    names = ", ".join(f"{series.ids[at]} ({series.lengths[at]} steps)" for at in short[:5])
    names += f" and {len(short) - 5} more" if len(short) > 5 else ""
    if len(short) == len(series):
        raise DataError(
            f"series {series.ids[short[0]]} of {series.name} has {series.lengths[short[0]]} steps; "
            f"the model reads the last {window}: give at least as many"
        )
    rest = series.take([at for at in range(len(series)) if at not in set(short)])
    return rest, [f"left out, since the model reads the last {window} steps: {names}"]


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
