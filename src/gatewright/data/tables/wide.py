"""Recognise wide tables: each row is a series with a column per time, or a year, or a recording.

They are converted to long tables, in which each row is a step, and then read like those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.time_column import TimeColumn
from gatewright.data.columns.time_format import MONTHS, SHORT_MONTHS
from gatewright.data.source.request import Request
from gatewright.data.tables.long_table import ROW, TIME, LongTable, WideLayout
from gatewright.data.tables.roles import ID_NAMES, LABEL_NAMES
from gatewright.data.tables.table import ColumnPreview, Table
from gatewright.errors import DataError

_MIN_TIMES = 3  # columns named by times that make a table wide
_MIN_STEPS = 8  # numbered columns that may be the steps of a recording
# Years as names of columns, also as R (X1990) and the World Bank (1990 [YR1990]) write them.
_YEAR = re.compile(r"[XYxy]?((?:1[6-9]|20|21)\d\d)(?: \[YR\d{4}\])?")
# Times with a year of two digits: Jan-24, 1-Jan-24, 1/31/24.
_SHORT_YEAR = re.compile(r"(?:\d\d?[-/. ])?(?:[A-Za-z]{3,9}|\d\d?)[-/. ]'?\d\d")
_MIN_SHORT_TIMES = 6  # columns with such names that make a table wide
_NUMBERED = re.compile(r"(.*?)(\d+)")
# Names before a number that mean a step rather than a channel.
_TIME_PREFIXES = frozenset(
    {"", "t", "t_", "t-", "time", "time_", "time ", "step", "step_", "step ", "timestep_"}
)
_PARTS_OF_YEAR = (SHORT_MONTHS, MONTHS, ("q1", "q2", "q3", "q4"))


def to_long(table: Table, request: Request) -> tuple[Table, Request]:
    """Convert a wide table to a long one; return it and the request for it.

    Other tables are returned unchanged.
    """
    if request.time not in (None, TIME) or TIME in table.previews:
        return table, request
    layout = (
        _rows_are_recordings(table, request)
        or _rows_are_years(table, request)
        or _rows_are_series(table, request)
    )
    if layout is None:
        return table, request
    ignore = (*request.ignore, *layout.left_out)
    return LongTable(table, layout), replace(request, id=layout.id, time=TIME, ignore=ignore)


def _free_columns(table: Table, request: Request) -> dict[str, ColumnPreview]:
    """Return the columns to which the user has given no role."""
    stated = request.stated
    return {name: preview for name, preview in table.previews.items() if name not in stated}


def _are_numbers(previews: Mapping[str, ColumnPreview], names: list[str]) -> bool:
    return all(previews[name].kind in ("number", "nothing") for name in names)


def _rows_are_series(table: Table, request: Request) -> WideLayout | None:
    free = _free_columns(table, request)
    has_time = any(preview.kind == "time" for preview in free.values())
    if request.task not in (None, "forecast") or has_time:
        return None
    years = {name: int(match[1]) for name in free if (match := _YEAR.fullmatch(name.strip()))}
    names = list(years) if len(years) >= _MIN_TIMES else _named_by_times(free)
    if len(names) < _MIN_TIMES:  # January 2024 as Jan-24, which a name of something else may be too
        short = [name for name in free if _SHORT_YEAR.fullmatch(name.strip())]
        names = short if len(short) >= _MIN_SHORT_TIMES else []
    named_by_times = set(names)
    others = {
        name: preview for name, preview in table.previews.items() if name not in named_by_times
    }
    if len(names) < max(_MIN_TIMES, len(others)) or not _are_numbers(free, names):
        return None
    times = np.array(list(years.values())) if names == list(years) else _times_of(names)
    if times is None or not all(later > earlier for earlier, later in pairwise(times)):
        return None
    id = request.id or next(
        (name for name, preview in others.items() if preview.kind == "text" and preview.named), ROW
    )
    owner = "the row" if id == ROW else f"column {id}"
    note = (
        f"each row is read as a series, named by {owner}, and each of the {len(names)} columns "
        f"{names[0]} to {names[-1]} as a time"
    )
    return WideLayout(tuple(names), times, note, id)


def _named_by_times(free: Mapping[str, ColumnPreview]) -> list[str]:
    return [
        name for name in free if TimeColumn().add([name.strip()], 0) is None and _has_year(name)
    ]


def _has_year(name: str) -> bool:
    """Return True if a name has a group of four or eight digits, and more than digits."""
    return bool(re.search(r"(?<!\d)\d{4}(?!\d)|(?<!\d)\d{8}(?!\d)", name)) and not name.isdigit()


def _times_of(names: list[str]) -> NDArray[Any] | None:
    column = TimeColumn()
    cells = [name.strip() for name in names]
    return None if column.add(cells, 0) or column.problem() else np.asarray(column.result())


def _rows_are_years(table: Table, request: Request) -> WideLayout | None:
    free = _free_columns(table, request)
    if request.task not in (None, "forecast"):
        return None
    year = next((name for name in free if name.lower() == "year"), None)
    lower = {name.strip().lower(): name for name in free}
    parts = next((names for names in _PARTS_OF_YEAR if all(name in lower for name in names)), None)
    if year is None or parts is None:
        return None
    names = [lower[part] for part in parts]
    if not _are_numbers(free, names):
        return None
    months = 12 // len(parts)
    times = np.arange(len(parts)) * np.timedelta64(months, "M")
    text = next(
        (name for name, preview in free.items() if preview.kind == "text" and not preview.named),
        None,
    )
    note = (
        f"each row is read as a year, and each of the columns {names[0]} to {names[-1]} as a time"
    )
    # Means of the year or of its seasons, computed from the other columns.
    means = tuple(
        name
        for name, preview in free.items()
        if preview.kind == "number" and name not in (*names, year)
    )
    if means:
        note += f"; {', '.join(means[:5])}: left out"
    return WideLayout(tuple(names), times, note, request.id or text, year, means)


def _rows_are_recordings(table: Table, request: Request) -> WideLayout | None:
    """Recognise a label and numbered columns only; new data for a model have no label."""
    free = _free_columns(table, request)
    if request.task not in (None, "classify") or request.id not in (None, ROW):
        return None
    label = request.label or next((name for name in free if name.lower() in LABEL_NAMES), None)
    named = next((name for name in free if _names_recordings(name, free[name])), None)
    names = [name for name in free if name not in (label, named)]
    if len(names) < _MIN_STEPS or not _are_numbers(free, names):
        return None
    matches = [_NUMBERED.fullmatch(name.strip()) for name in names]
    numbers = [int(match[2][:9]) for match in matches if match is not None]
    prefixes = {match[1] for match in matches if match is not None}
    if len(numbers) < len(names) or len(prefixes) > 1:
        return None
    if numbers != list(range(numbers[0], numbers[0] + len(names))):
        return None
    if label is None and request.id != ROW and request.task != "classify":
        return None
    if request.task is None and prefixes.pop().lower() not in _TIME_PREFIXES:
        raise DataError(
            f"{table.source} has a label and the columns {names[0]} to {names[-1]}: a row may be a "
            f"recording of {len(names)} steps, or one step of {len(names)} channels; pass "
            "task='classify' for the first or task='tag' for the second"
        )
    note = (
        f"each row is read as a recording, and each of the {len(names)} columns {names[0]} to "
        f"{names[-1]} as a step"
    )
    left_out = () if named is None else (named,)
    return WideLayout(tuple(names), np.arange(len(names)), note, ROW, left_out=left_out)


def _names_recordings(name: str, preview: ColumnPreview) -> bool:
    """Return True for a column that only says which recording a row is."""
    return preview.named and (preview.kind == "text" or name.lower() in ID_NAMES)
