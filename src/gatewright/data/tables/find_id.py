"""Find the column that separates several series whose times repeat, by its whole content.

A table `city,month,sales` has each month once for every city, so that `city` has to be the id,
whatever its name.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gatewright.data.source.request import Roles
from gatewright.data.tables.table import Columns, Table

#: Rows that an id has at least in the mean; fewer are no series.
_MIN_ROWS = 3


def find_id(
    table: Table, columns: Columns, roles: Roles, stated: frozenset[str]
) -> tuple[Roles, tuple[str, ...]]:
    """Make the column with which every time is unique the id, if times repeat without it.

    Columns of text come before numbers, and of several the one with the fewest values. Numbers
    have to be whole, and to come in blocks or in the same order at every time. Columns to which
    the user gave a role (`stated`) keep it. Also returns a note on the change.
    """
    if roles.id is not None or roles.time is None:
        return roles, ()
    times = columns[roles.time]
    moments, time_codes = np.unique(times, return_inverse=True)
    if len(moments) == len(times):
        return roles, ()
    texts = [name for name in roles.ignored if table.previews[name].kind == "text"]
    numbers = [name for name in roles.channels if table.previews[name].kind == "number"]
    candidates = [name for name in (*texts, *numbers) if name not in stated]
    loaded = table.load(dict.fromkeys(candidates, "text")).columns if candidates else {}
    for names in (texts, numbers):
        counts = {
            name: len(loaded[name][1])
            for name in names
            if name in loaded
            and _separates(loaded[name][0], time_codes)
            and (name in texts or _are_in_order(loaded[name][0], columns[name], time_codes))
        }
        if counts:
            id = min(counts, key=lambda name: counts[name])
            note = f"column {id} is the id: with it, every time comes once in a series"
            return (
                replace(
                    roles,
                    id=id,
                    channels=tuple(name for name in roles.channels if name != id),
                    ignored=tuple(name for name in roles.ignored if name != id),
                ),
                (note,),
            )
    return roles, ()


def are_whole(values: NDArray[np.float64]) -> bool:
    """Return True if no value is missing, infinite or a fraction."""
    return bool(np.isfinite(values).all() and (values == np.round(values)).all())


def _separates(codes: NDArray[np.int64], time_codes: NDArray[np.int64]) -> bool:
    """Return True if each value is in several rows, all of them at different times."""
    ids = int(codes.max()) + 1
    if codes.min() < 0 or ids < 2 or len(codes) < _MIN_ROWS * ids:
        return False
    return len(np.unique(codes * (int(time_codes.max()) + 1) + time_codes)) == len(codes)


def _are_in_order(
    codes: NDArray[np.int64], values: NDArray[np.float64], time_codes: NDArray[np.int64]
) -> bool:
    """Return True for whole numbers in one block each, or rising at every time.

    Counts may be different at every time by chance, but not in the same order.
    """
    if not are_whole(values):
        return False
    if np.count_nonzero(np.diff(codes)) == codes.max():
        return True
    at_same_time = np.diff(time_codes) == 0
    return bool(at_same_time.any() and (np.diff(values)[at_same_time] > 0.0).all())
