"""Wide tables: each row is a series with a column per time, or a year, or a recording.

They are converted to long tables, in which each row is a step, and then read like those.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.column import ColumnKind
from gatewright.data.columns.time_column import TimeColumn
from gatewright.data.columns.time_format import FIRST_YEAR, LAST_YEAR, MONTHS, SHORT_MONTHS
from gatewright.data.source.request import Request
from gatewright.data.tables.roles import LABEL_NAMES
from gatewright.data.tables.table import ColumnPreview, LoadedColumns, Table, wrong_cell
from gatewright.errors import DataError

_MIN_TIMES = 3  # columns named by times that make a table wide
_MIN_STEPS = 8  # numbered columns that may be the steps of a recording
# Years as names of columns, also as R (X1990) and the World Bank (1990 [YR1990]) write them.
_YEAR = re.compile(r"[XYxy]?((?:1[6-9]|20|21)\d\d)(?: \[YR\d{4}\])?")
_NUMBERED = re.compile(r"(.*?)(\d+)")
# Names before a number that mean a step rather than a channel.
_TIME_PREFIXES = frozenset(
    {"", "t", "t_", "t-", "time", "time_", "time ", "step", "step_", "step ", "timestep_"}
)
_PARTS_OF_YEAR = (SHORT_MONTHS, MONTHS, ("q1", "q2", "q3", "q4"))

TIME, VALUE, ROW = "time", "value", "row"  # the columns of the long table


@dataclass(frozen=True, slots=True)
class WideLayout:
    """The layout of a wide table."""

    columns: tuple[str, ...]  # the columns with the values, in order of time
    times: NDArray[Any]  # (columns,); months since January if `year` is a column
    note: str
    # The column that names the series of a row; None if all rows are one series, ROW if each row
    # is a series of its own.
    id: str | None
    year: str | None = None
    left_out: tuple[str, ...] = ()  # columns of numbers without a use


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


class LongTable:
    """A wide table as a long one, with a row for each of its values.

    Missing cells before the first value and after the last one of a series have no row.
    """

    def __init__(self, table: Table, layout: WideLayout) -> None:
        self._table, self._layout = table, layout
        self.source = table.source
        self.notes = (*table.notes, layout.note)
        replaced = {*layout.columns, layout.year}
        rest = {
            name: replace(preview, named=False)
            for name, preview in table.previews.items()
            if name not in replaced
        }
        kind: ColumnKind = "time" if layout.times.dtype.kind in "mM" else "number"
        row = {ROW: ColumnPreview("number")} if layout.id == ROW else {}
        self.previews: Mapping[str, ColumnPreview] = {
            **row,
            **rest,
            TIME: ColumnPreview(kind, (layout.columns[0],)),
            VALUE: ColumnPreview("number"),
        }
        # For each row of the long table its cell, counted through the rows × columns.
        self._cells: NDArray[np.int64] = np.empty(0, np.int64)

    def row(self, index: int) -> str:
        """Name the row of the file, and the column in it."""
        row, column = divmod(int(self._cells[index]), len(self._layout.columns))
        return f"{self._table.row(row)}, column {self._layout.columns[column]}"

    def load(self, kinds: Mapping[str, ColumnKind]) -> LoadedColumns:
        """Read these columns; a value of the other columns is repeated for each step of its row."""
        layout = self._layout
        others = {name: kind for name, kind in kinds.items() if name not in (TIME, VALUE, ROW)}
        values: dict[str, ColumnKind] = dict.fromkeys(layout.columns, "number")
        year: dict[str, ColumnKind] = {layout.year: "number"} if layout.year else {}
        loaded = self._table.load({**others, **year, **values})
        grid = np.stack([loaded.columns[name] for name in layout.columns], axis=1)
        one_series = layout.year is not None  # from row to row
        self._cells = np.flatnonzero(_between_values(grid.reshape(1, -1) if one_series else grid))
        rows, steps = np.divmod(self._cells, len(layout.columns))
        columns: dict[str, Any] = {name: _take(loaded.columns[name], rows) for name in others}
        columns[VALUE] = grid.ravel()[self._cells]
        if layout.year is None:
            columns[TIME] = layout.times[steps]
        else:
            columns[TIME] = self._times_in_years(loaded.columns[layout.year], rows, steps)
        if layout.id == ROW:
            columns[ROW] = rows, tuple(self._table.row(index) for index in range(len(grid)))
        return LoadedColumns(
            {name: columns[name] for name in kinds}, loaded.notes, frozenset(), loaded.decimal
        )

    def _times_in_years(
        self, years: NDArray[Any], rows: NDArray[Any], steps: NDArray[Any]
    ) -> NDArray[Any]:
        wrong = ~((years >= FIRST_YEAR) & (years <= LAST_YEAR))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            assert self._layout.year is not None
            message = f"{years[row]:g} is not a year; expected {FIRST_YEAR} to {LAST_YEAR}"
            raise wrong_cell(self._table, self._layout.year, row, message)
        start = (years.astype(np.int64) - 1970).astype("datetime64[Y]").astype("datetime64[M]")
        return np.asarray((start[rows] + self._layout.times[steps]).astype("datetime64[ns]"))


def _take(column: Any, rows: NDArray[Any]) -> Any:
    return (column[0][rows], column[1]) if isinstance(column, tuple) else column[rows]


def _between_values(grid: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark the cells from the first value of each row to its last one."""
    present = ~np.isnan(grid)
    started = np.maximum.accumulate(present, axis=1)
    unfinished = np.maximum.accumulate(present[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(started & unfinished)


def _free_columns(table: Table, request: Request) -> dict[str, ColumnPreview]:
    """Return the columns to which the user has given no role."""
    stated = {name for names in request.columns.values() for name in names}
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
    names = [name for name in free if name != label]
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
    return WideLayout(tuple(names), np.arange(len(names)), note, ROW)
