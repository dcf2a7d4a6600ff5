"""Columns that count time within a series, and begin again where another column changes.

`person,seconds,x` has no date and no column called id, and is not one long series of which
`seconds` is to be forecast.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gatewright.data.source.request import Roles
from gatewright.data.tables.table import Columns, Table
from gatewright.errors import DataError

_NAMES = (
    *("second", "seconds", "sec", "secs", "s", "time_s", "elapsed", "elapsed_s", "elapsed_time"),
    *("ms", "msec", "millisecond", "milliseconds", "time_ms", "minute", "minutes", "min"),
    *("frame", "frames", "sample", "samples", "tick", "ticks", "timestep", "time_step"),
)
# Calendar columns begin again too: with the day, the week or the year, not with a series.
_CALENDAR = ("hour", "weekday", "day", "dayofweek", "day_of_week", "dow", "month", "quarter")
_LEAST_STEPS = 3  # of a run that tells a counter from chance


def find_counter(
    table: Table, columns: Columns, roles: Roles, stated: frozenset[str]
) -> tuple[Roles, tuple[str, ...]]:
    """The roles with a counter as the time, and with the column it begins again with as the id.

    `DataError` where it begins again and no column says why. Columns that the user gave a role
    (`stated`) are left as they are.
    """
    if roles.time is not None:
        return roles, ()
    for name in roles.channels:
        starts = None if name in stated else _starts(columns, columns[name], roles.id)
        if starts is None or not _counts_time(name, starts, roles):
            continue
        series = roles.id
        if series is None and len(starts) > 1:
            series = _id_of(table, starts, name, roles, stated)
            if series is None:
                if name.lower() in _NAMES:
                    raise _begins_again(table, name, starts)
                continue
        channels = tuple(other for other in roles.channels if other not in (name, series))
        if channels:
            note = f"column {name} is the time: it counts up"
            if series != roles.id:
                note += f", and begins again where column {series} changes, which is the id"
            ignored = tuple(other for other in roles.ignored if other != series)
            roles = replace(roles, time=name, id=series, channels=channels, ignored=ignored)
            return roles, (note,)
    return roles, ()


def _counts_time(name: str, starts: NDArray[np.int64], roles: Roles) -> bool:
    """Does a column that counts up do so with time, by its name or as it begins again?"""
    if name.lower() in _CALENDAR:
        return False
    return name.lower() in _NAMES or (roles.id is None and len(starts) > 1)


def _begins_again(table: Table, name: str, starts: NDArray[np.int64]) -> DataError:
    return DataError(
        f"{table.source}, {table.row(int(starts[1]))}, column {name}: it counts up and begins "
        f"again {len(starts) - 1} times, as if several series stood one after the other, and no "
        f"column tells them apart; name one with id=, or leave {name} out with ignore={name!r}"
    )


def _starts(
    columns: Columns, values: NDArray[np.float64], id: str | None
) -> NDArray[np.int64] | None:
    """The rows where a column that counts up in even steps begins (again); None if it does not."""
    if len(values) < _LEAST_STEPS or not np.isfinite(values).all():
        return None
    if id is not None:  # rows of several series may be mixed
        codes, _ = columns[id]
        order = np.argsort(codes, kind="stable")
        values, codes = values[order], codes[order]
        steps = np.diff(values)[np.diff(codes) == 0]
        if not len(steps) or steps.min() <= 0 or not np.allclose(steps, steps[0], rtol=1e-6):
            return None
        return np.flatnonzero(np.append(True, np.diff(codes) != 0))
    steps = np.diff(values)
    again = np.flatnonzero(steps <= 0)
    up = np.delete(steps, again)
    starts = np.append(0, again + 1)
    lengths = np.diff(np.append(starts, len(values)))
    if not len(up) or not np.allclose(up, up[0], rtol=1e-6) or lengths.min() < _LEAST_STEPS:
        return None
    return starts


def _id_of(
    table: Table, starts: NDArray[np.int64], counter: str, roles: Roles, stated: frozenset[str]
) -> str | None:
    """The one column that changes just where the counter begins again, to a value of its own."""
    candidates = [
        name
        for name in (*roles.ignored, *roles.channels)
        if name not in stated and name != counter and table.looks[name].kind in ("text", "number")
    ]
    loaded = table.load(dict.fromkeys(candidates, "text")).columns if candidates else {}
    fitting = [name for name in candidates if _changes_at(loaded[name][0], starts)]
    return fitting[0] if fitting else None


def _changes_at(codes: NDArray[np.int64], starts: Iterable[int]) -> bool:
    changes = np.append(0, np.flatnonzero(np.diff(codes)) + 1)
    return bool(
        np.array_equal(changes, np.asarray(starts))
        and (codes >= 0).all()
        and len(np.unique(codes[changes])) == len(changes)
    )
