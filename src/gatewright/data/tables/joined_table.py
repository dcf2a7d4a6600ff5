"""A table of which several columns form one time: a date and an hour, or a year and a quarter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.column import ColumnKind
from gatewright.data.columns.time_column import TimeColumn
from gatewright.data.tables.preview import CLOCK
from gatewright.data.tables.table import ColumnPreview, Columns, LoadedColumns, Table, wrong_cell

# The part of a time that a column is likely to have, by its name in lower case.
_NAMES = {
    "year": ("year", "yr", "yyyy"),
    "quarter": ("quarter", "qtr", "q"),
    "month": ("month", "mon", "mo", "mm"),
    "week": ("week", "iso_week", "isoweek", "week_of_year"),
    "day": ("day", "day_of_month", "dd", "dom"),
    "hour": ("hour", "hr", "hh", "hour_of_day"),
    "minute": ("minute", "min", "mins"),
}
PART_OF_NAME = {name: part for part, names in _NAMES.items() for name in names}
LARGEST_OF_PART = {"quarter": 4, "month": 12, "week": 53, "day": 31, "hour": 24, "minute": 59}
_HOUR = 3600 * 10**9  # nanoseconds


def joined_name(columns: Iterable[str]) -> str:
    """Return the name of the time that these columns form, which is also a value of `time`.

    >>> joined_name(["year", "quarter"])
    'year + quarter'
    """
    return " + ".join(columns)


class JoinedTable:
    """A table of which some columns are read as one column of times."""

    def __init__(self, table: Table, joined: tuple[str, ...]) -> None:
        self._table, self._joined = table, joined
        self.source = table.source
        self.name = joined_name(joined)
        names = " and ".join(joined)
        self.notes = (*table.notes, f"columns {names} are read as one time, {self.name}")
        rest = {name: preview for name, preview in table.previews.items() if name not in joined}
        example = " ".join(
            table.previews[name].examples[0] for name in joined if table.previews[name].examples
        )
        self.previews: Mapping[str, ColumnPreview] = {
            self.name: ColumnPreview("time", (example,)),
            **rest,
        }

    def row(self, index: int) -> str:
        """Name the row as the table itself does."""
        return self._table.row(index)

    def load(self, kinds: Mapping[str, ColumnKind]) -> LoadedColumns:
        """Read these columns, the joined time from its parts."""
        others = {name: kind for name, kind in kinds.items() if name != self.name}
        if self.name not in kinds:
            return self._table.load(others)
        parts: dict[str, ColumnKind] = {
            name: "time" if is_date(self._table.previews[name]) else "text" for name in self._joined
        }
        loaded = self._table.load({**others, **parts})
        columns: dict[str, Any] = {name: loaded.columns[name] for name in others}
        columns[self.name] = self._times(loaded.columns)
        return LoadedColumns(columns, loaded.notes, loaded.zoned, loaded.decimal)

    def _times(self, columns: Columns) -> NDArray[Any]:
        """Return the time that the parts of each row form, (rows,)."""
        dates = [name for name in self._joined if not isinstance(columns[name], tuple)]
        if dates:
            (clock,) = [name for name in self._joined if name != dates[0]]
            day = np.asarray(columns[dates[0]])
            return np.asarray(day + self._durations(clock, columns[clock], _time_of_day))
        parts = {PART_OF_NAME.get(name.lower(), name): name for name in self._joined}
        times = self._dates(parts, columns)
        for part, unit in (("hour", _HOUR), ("minute", _HOUR // 60)):
            if part in parts:
                name = parts[part]
                convert = partial(_count, unit=unit, largest=LARGEST_OF_PART[part])
                times = np.asarray(times + self._durations(name, columns[name], convert))
        return times

    def _durations(
        self, column: str, cells: Any, convert: Callable[[str], int | None]
    ) -> NDArray[Any]:
        """Convert a column of text to (rows,) timedelta64[ns], each different cell once.

        `convert` returns nanoseconds, or None for a cell that does not fit.
        """
        codes, texts = cells
        nanoseconds = [convert(text) for text in texts]
        for code, value in enumerate(nanoseconds):
            if value is None:
                row = int(np.flatnonzero(codes == code)[0])
                message = f"{texts[code]!r} is not a time of the day; expected a form like 18:00"
                raise wrong_cell(self._table, column, row, message)
        # The last entry is NaT, for the code -1 of a missing cell.
        lookup = np.array([*nanoseconds, np.iinfo(np.int64).min], dtype=np.int64)
        return np.asarray(lookup[codes].astype("timedelta64[ns]"))

    def _dates(self, parts: Mapping[str, str], columns: Columns) -> NDArray[Any]:
        """Return the day that year, quarter, month, week and day form, (rows,)."""
        present = [part for part in ("year", "quarter", "month", "week", "day") if part in parts]
        codes = np.stack([columns[parts[part]][0] for part in present], axis=1)
        # Each different date is converted once: `inverse` leads from the rows to them.
        different, inverse = np.unique(codes, axis=0, return_inverse=True)
        inverse = inverse.ravel()
        texts = []
        for row in different.tolist():
            cells = [
                columns[parts[part]][1][code] if code >= 0 else ""
                for part, code in zip(present, row, strict=True)
            ]
            texts.append(_date_text(dict(zip(present, cells, strict=True))))
        column = TimeColumn()
        if fault := column.add(texts, 0) or column.problem():
            row = int(np.flatnonzero(inverse == fault[0])[0])
            message = f"{texts[fault[0]]!r} is not a date; correct the row"
            raise wrong_cell(self._table, self.name, row, message)
        return np.asarray(column.result()[inverse])


def _time_of_day(cell: str) -> int | None:
    """Convert a time of the day to nanoseconds since midnight; 24:00 is the end of the day."""
    if cell.removesuffix(".0").isdigit():
        hour = int(float(cell))
        return hour * _HOUR if hour <= 24 else None
    match = CLOCK.fullmatch(cell)
    if match is None:
        return None
    hour, minute, second = (int(match[group] or 0) for group in (1, 2, 3))
    if match[4]:
        hour = hour % 12 + (12 if match[4][0] in "Pp" else 0)
    if hour > 24 or minute > 59 or second > 59:
        return None
    return hour * _HOUR + (minute * 60 + second) * 10**9


def _count(cell: str, unit: int, largest: int) -> int | None:
    """Convert a number of units (nanoseconds each) to nanoseconds; None if it is too large."""
    value = whole_number(cell)
    return None if value is None or value > largest else value * unit


def _date_text(cells: Mapping[str, str]) -> str:
    """Write the parts of a date as one text; it is empty if a part is missing."""
    if not all(cells.values()):
        return ""
    cells = {part: cell.removesuffix(".0") for part, cell in cells.items()}
    year = cells["year"]
    if "quarter" in cells:
        return f"{year}Q{cells['quarter'].lstrip('Qq')}"
    if "week" in cells:
        return f"{year}-W{cells['week'].lstrip('Ww').zfill(2)}"
    if not cells["month"].isdigit():
        return f"{cells.get('day', '1')} {cells['month']} {year}"
    return f"{year}-{cells['month']}-{cells.get('day', '1')}"


def is_date(preview: ColumnPreview) -> bool:
    """Return True for a column of dates; 18.00.00 looks like one but is a time of the day."""
    return preview.kind == "time" and not preview.clock


def whole_number(cell: str) -> int | None:
    """Convert a cell, also of a column of floats ("3.0"), to a number of at most five digits."""
    text = cell.removesuffix(".0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else None
