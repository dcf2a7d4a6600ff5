"""Find columns that count time within a series and start again where another column changes.

A table `person,seconds,x` has no date and no column called id. It is several series, and
`seconds` is their time, not a channel to forecast.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gatewright.data.source.request import Roles
from gatewright.data.tables.table import Columns, Table, wrong_cell
from gatewright.errors import DataError

_NAMES = (
    *("second", "seconds", "sec", "secs", "s", "time_s", "elapsed", "elapsed_s", "elapsed_time"),
    *("ms", "msec", "millisecond", "milliseconds", "time_ms", "minute", "minutes", "min"),
    *("frame", "frames", "sample", "samples", "tick", "ticks", "timestep", "time_step"),
)
# Calendar columns start again, too, but with the day, the week or the year, not with a series.
_CALENDAR = ("hour", "weekday", "day", "dayofweek", "day_of_week", "dow", "month", "quarter")
_MIN_STEPS = 3  # shorter runs that count up may be chance


def find_counter(
    table: Table, columns: Columns, roles: Roles, stated: frozenset[str]
) -> tuple[Roles, tuple[str, ...]]:
    """Make a counter the time, and the column with which it starts again the id.

    Raises `DataError` if it starts again and no column explains it. Columns to which the user
    gave a role (`stated`) keep it. Also returns a note on the change.
    """
    if roles.time is not None:
        return roles, ()
    for name in roles.channels:
        starts = None if name in stated else _starts(columns, columns[name], roles.id)
        if starts is None or not _counts_time(name, starts, roles):
            continue
        id = roles.id
        if id is None and len(starts) > 1:
            id = _matching_id(table, starts, name, roles, stated)
            if id is None:
                if name.lower() in _NAMES:
                    raise _starts_again(table, name, starts)
                continue
        channels = tuple(other for other in roles.channels if other not in (name, id))
        if channels:
            note = f"column {name} is the time: it counts up"
            if id != roles.id:
                note += f", and starts again where column {id} changes, which is the id"
            ignored = tuple(other for other in roles.ignored if other != id)
            return replace(roles, time=name, id=id, channels=channels, ignored=ignored), (note,)
    return roles, ()


def _counts_time(name: str, starts: NDArray[np.int64], roles: Roles) -> bool:
    """Return True if a column that counts up counts time: by its name, or as it starts again."""
    if name.lower() in _CALENDAR:
        return False
    return name.lower() in _NAMES or (roles.id is None and len(starts) > 1)


def _starts_again(table: Table, name: str, starts: NDArray[np.int64]) -> DataError:
    message = (
        f"it counts up and starts again {len(starts) - 1} times, as if several series followed "
        "each other, and no column separates them; name such a column with id=, or leave "
        f"{name} out with ignore={name!r}"
    )
    return wrong_cell(table, name, int(starts[1]), message)


def _starts(
    columns: Columns, values: NDArray[np.float64], id: str | None
) -> NDArray[np.int64] | None:
    """Return the rows where a column that counts in even steps starts; None for other columns."""
    if len(values) < _MIN_STEPS or not np.isfinite(values).all():
        return None
    if id is not None:  # the rows of several series may be mixed
        codes, _ = columns[id]
        order = np.argsort(codes, kind="stable")
        values, codes = values[order], codes[order]
        steps = np.diff(values)[np.diff(codes) == 0]
        if not len(steps) or steps.min() <= 0 or not np.allclose(steps, steps[0], rtol=1e-6):
            return None
        return np.flatnonzero(np.append(True, np.diff(codes) != 0))
    steps = np.diff(values)
    falls = np.flatnonzero(steps <= 0)
    rises = np.delete(steps, falls)
    starts = np.append(0, falls + 1)
    lengths = np.diff(np.append(starts, len(values)))
    even = len(rises) > 0 and np.allclose(rises, rises[0], rtol=1e-6)
    return starts if even and lengths.min() >= _MIN_STEPS else None


def _matching_id(
    table: Table, starts: NDArray[np.int64], counter: str, roles: Roles, stated: frozenset[str]
) -> str | None:
    """Return the column that changes exactly where the counter starts again, to unique values."""
    candidates = [
        name
        for name in (*roles.ignored, *roles.channels)
        if name not in stated
        and name != counter
        and table.previews[name].kind in ("text", "number")
    ]
    loaded = table.load(dict.fromkeys(candidates, "text")).columns if candidates else {}
    return next((name for name in candidates if _changes_at(loaded[name][0], starts)), None)


def _changes_at(codes: NDArray[np.int64], starts: Iterable[int]) -> bool:
    """Return True if the codes change at these rows only, each time to a new one."""
    changes = np.append(0, np.flatnonzero(np.diff(codes)) + 1)
    return bool(
        np.array_equal(changes, np.asarray(starts))
        and (codes >= 0).all()
        and len(np.unique(codes[changes])) == len(changes)
    )
