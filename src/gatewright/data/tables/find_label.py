"""Find the label of recordings whose columns have no telling names, by their whole content.

A table `trial,x,y,gesture` without dates has one gesture in all rows of a trial, and the same
gesture in other trials: it is for classes, not for a forecast of x and y.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.source.request import Roles
from gatewright.data.tables.find_id import are_whole
from gatewright.data.tables.table import Columns, Table

#: Fewest rows, in the mean, for which a text stays the same if it labels steps.
_MIN_RUN = 10
#: Fewest recordings that a column without a telling name separates, and their mean rows.
_MIN_RECORDINGS = 6
_MIN_ROWS = 3
#: Most values of a label: more of them in two recordings or so are measurements.
_MAX_CLASSES = 100
#: Steps from which times are those of a calendar, which are forecast; sensors have shorter ones.
_CALENDAR_STEP = np.timedelta64(1, "m")

Codes = NDArray[np.int64]


def find_label(
    table: Table, columns: Columns, roles: Roles, stated: frozenset[str]
) -> tuple[Roles, tuple[str, ...]]:
    """Make a column the label that is the same within recordings and recurs in others.

    Tables with dates stay forecasts. A column of text comes before one of whole numbers, which has
    to be the only such one. Also finds the id of such recordings, where no column is called so.
    Returns notes on the changes, too.
    """
    if roles.label is not None or _has_calendar(columns, roles):
        return roles, ()
    texts = [
        name
        for name in roles.ignored
        if name not in stated and table.previews[name].kind in ("text", "flag")
    ]
    numbers = [
        name
        for name in roles.channels
        if name not in stated and table.previews[name].kind == "number" and are_whole(columns[name])
    ]
    names = [*texts, *numbers]
    codes: Mapping[str, Any] = table.load(dict.fromkeys(names, "text")).columns if names else {}
    ids = [roles.id] if roles.id is not None else []
    if roles.id is None and roles.time is None:
        ids = [name for name in (*texts, *numbers) if _are_recordings(codes[name][0])]
    for id in ids:
        id_codes = columns[id][0] if id == roles.id else codes[id][0]
        for group in (texts, numbers):
            labels = [name for name in group if name != id and _labels(codes[name][0], id_codes)]
            if len(labels) == 1:
                return _with_label(roles, id, labels[0])
    lasting = [name for name in texts if _recurs_in_runs(codes[name][0])]
    if len(lasting) == 1 == len(texts):
        return _with_label(roles, roles.id, lasting[0])
    return roles, ()


def _has_calendar(columns: Columns, roles: Roles) -> bool:
    """Return True if the times are dates, or minutes and longer steps of a clock."""
    times = None if roles.time is None else columns[roles.time]
    if times is None or times.dtype.kind != "M" or len(times) < 2:
        return False
    return bool(np.median(np.abs(np.diff(times))) >= _CALENDAR_STEP)


def _are_recordings(codes: Codes) -> bool:
    """Return True if each value is in one block of rows."""
    count = int(codes.max()) + 1
    if codes.min() < 0 or count < _MIN_RECORDINGS or len(codes) < _MIN_ROWS * count:
        return False
    return bool(np.count_nonzero(np.diff(codes)) == count - 1)


def _labels(codes: Codes, ids: Codes) -> bool:
    """Return True if a value is the same in all rows of an id, and recurs in other ids."""
    recordings, classes = int(ids.max()) + 1, int(codes.max()) + 1
    if codes.min() < 0 or not 2 <= classes <= min(recordings // 2, _MAX_CLASSES):
        return False
    return len(np.unique(ids * classes + codes)) == recordings


def _recurs_in_runs(codes: Codes) -> bool:
    """Return True if values last for many rows, and come again after others."""
    classes, runs = int(codes.max()) + 1, 1 + np.count_nonzero(np.diff(codes))
    return bool(
        codes.min() >= 0
        and 2 <= classes < runs
        and classes <= _MAX_CLASSES
        and len(codes) >= _MIN_RUN * runs
    )


def _with_label(roles: Roles, id: str | None, label: str) -> tuple[Roles, tuple[str, ...]]:
    notes = []
    if id != roles.id:
        notes.append(f"column {id} is the id: each of its values is in one block of rows")
    why = "it is the same in long runs of rows" if id is None else f"it recurs in several {id}"
    notes.append(f"column {label} is the label: {why}, and no column has dates")
    return (
        replace(
            roles,
            id=id,
            label=label,
            channels=tuple(name for name in roles.channels if name not in (id, label)),
            ignored=tuple(name for name in roles.ignored if name not in (id, label)),
        ),
        tuple(notes),
    )
