"""Refine the roles of columns by their whole content, after the previews have suggested them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.missing import MAX_FILLED
from gatewright.data.source.request import Roles
from gatewright.data.tables.find_id import are_whole
from gatewright.data.tables.table import Columns, Table, length
from gatewright.errors import DataError

# Names of columns with row numbers, such as the index of a dataframe that was saved to a file.
_ROW_NUMBERS = ("column 1", "unnamed: 0", "index", "rownames", "")
# A date in years has a tolerance, which must be little next to its change.
_LEAST_CHANGE = {"date": 1.0}
# Fewest rows of which it is known that a column is often missing.
_MIN_ROWS = 20
# Fewest rows in which a column that rises by 1 counts steps and is no measurement.
_MIN_COUNTED = 5


def refine_roles(
    table: Table, columns: Columns, roles: Roles, stated: frozenset[str]
) -> tuple[Roles, tuple[str, ...]]:
    """Leave out columns without information of their own, and make constant ones static.

    These number the rows, count the steps, repeat a part of the date, or are empty, or so often
    missing that filling them would make up too much.

    Columns to which the user gave a role (`stated`) keep it. Also returns a note on each change.
    """
    notes: list[str] = []

    def leave_out(name: str, why: str) -> None:
        nonlocal roles
        notes.append(f"column {name} {why}: left out")
        roles = replace(
            roles,
            id=None if roles.id == name else roles.id,
            channels=tuple(other for other in roles.channels if other != name),
            ignored=(*roles.ignored, name),
        )

    count = length(columns)
    if roles.id is not None and roles.id not in stated and len(columns[roles.id][1]) == count > 1:
        leave_out(roles.id, "has another value in every row")
    calendar = _calendar_parts(columns, roles)
    for name in roles.channels:
        if name in stated:
            continue
        values = columns[name]
        missing = float(np.isnan(values).mean())
        if missing == 1.0:
            leave_out(name, "is empty")
        elif name.lower() in _ROW_NUMBERS and _names_rows(name, values):
            leave_out(name, "numbers the rows")
        elif len(roles.channels) == len(roles.known) + 1:
            continue  # what is left is the target, whatever it looks like
        elif _counts_steps(columns, roles, values):
            leave_out(name, "counts the steps")
        elif repeated := next((part for part in calendar if _is_same(values, calendar[part])), ""):
            leave_out(name, f"repeats the {repeated} of column {roles.time}")
        elif missing > MAX_FILLED and count >= _MIN_ROWS:
            leave_out(name, f"is missing in {missing:.0%} of the rows; target={name!r} keeps it")
    if not roles.channels:
        raise DataError(
            f"{table.source} has no column of numbers to learn from; expected at least one "
            "that is not empty and does not number the rows"
        )
    constant = _constant_within_id(columns, roles, stated)
    if constant:
        notes.append(f"{', '.join(constant)}: the same in every row of an id, so static")
        roles = replace(
            roles,
            channels=tuple(name for name in roles.channels if name not in constant),
            static=(*roles.static, *constant),
        )
    return roles, tuple(notes)


def _names_rows(name: str, values: NDArray[np.float64]) -> bool:
    """Return True for whole numbers that differ in every row, and rise by 1 if they have a name."""
    if len(values) < 2 or not are_whole(values):
        return False
    is_unnamed = name.lower() != "index"
    rises = bool((np.diff(values) == 1).all())
    return rises or (is_unnamed and len(np.unique(values)) == len(values))


def _counts_steps(columns: Columns, roles: Roles, values: NDArray[np.float64]) -> bool:
    """Return True for a forecast's numbers that start at 0 or 1, and rise by 1 at every step."""
    if roles.label is not None or roles.time is None or len(values) < _MIN_COUNTED:
        return False
    codes = np.zeros(len(values), np.int64) if roles.id is None else columns[roles.id][0]
    order = np.argsort(codes, kind="stable")
    values, codes = values[order], codes[order]
    is_first = np.append(True, np.diff(codes) != 0)
    starts_low = np.isin(values[is_first], (0.0, 1.0)).all()
    return bool(starts_low and (np.diff(values)[~is_first[1:]] == 1.0).all())


def _calendar_parts(columns: Columns, roles: Roles) -> dict[str, tuple[NDArray[np.float64], int]]:
    """Return the parts of the dates of a forecast with the length of their cycle, 0 for none."""
    if roles.time is None or roles.label is not None or columns[roles.time].dtype.kind != "M":
        return {}
    times = columns[roles.time]
    if np.isnat(times).any():
        return {}
    days = times.astype("datetime64[D]")
    months = days.astype("datetime64[M]").astype(np.int64)
    years = months // 12 + 1970
    of_month = (days - days.astype("datetime64[M]")).astype(np.int64) + 1
    hours = (times - days).astype("timedelta64[h]").astype(np.int64)
    share = (days - days.astype("datetime64[Y]")).astype(np.int64) / 365.25
    parts = {
        "year": (years, 0),
        "quarter": (months % 12 // 3, 0),
        "month": (months % 12, 0),
        "day": (of_month, 0),
        "weekday": (days.astype(np.int64), 7),
        "hour": (hours, 0),
        "decade": (10 * (years // 10), 0),
        "date": (years + share, 0),
    }
    return {
        name: (values.astype(np.float64), cycle)
        for name, (values, cycle) in parts.items()
        if np.ptp(values) > _LEAST_CHANGE.get(name, 0.0)
    }


def _is_same(values: NDArray[np.float64], part: tuple[NDArray[np.float64], int]) -> bool:
    """Return True if the values are those of a part, but for where they start to count."""
    expected, cycle = part
    if len(values) < _MIN_COUNTED or not np.isfinite(values).all() or np.ptp(values) == 0.0:
        return False
    difference = values - expected
    difference = difference - difference[0]
    if cycle:
        difference = difference % cycle
        return bool(np.ptp(values) < cycle and (difference == 0.0).all())
    # Dates as decimals may be off by some days; all other parts are whole numbers.
    return bool((np.abs(difference) < (0.02 if (expected % 1.0).any() else 1e-9)).all())


def _constant_within_id(columns: Columns, roles: Roles, stated: frozenset[str]) -> tuple[str, ...]:
    """Return the channels of a forecast that are constant within each id but differ between ids."""
    if roles.id is None or roles.label is not None:
        return ()
    codes, ids = columns[roles.id]
    if len(ids) < 2 or (codes < 0).any() or len(codes) < 2 * len(ids):
        return ()
    first_rows = np.unique(codes, return_index=True)[1]
    constant = tuple(
        name
        for name in roles.channels
        if name not in stated
        and (columns[name] == columns[name][first_rows][codes]).all()
        and len(np.unique(columns[name][first_rows])) > 1
    )
    return constant if len(constant) < len(roles.channels) else ()
