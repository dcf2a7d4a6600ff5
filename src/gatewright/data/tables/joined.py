"""A time that is spread over several columns: a date and an hour, or a year and a quarter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.column import Kind
from gatewright.data.columns.time_column import TimeCells
from gatewright.data.source.request import Request
from gatewright.data.tables.preview import CLOCK
from gatewright.data.tables.table import Columns, Loaded, Look, Table, wrong_cell

# The part of a time that a column holds, by its name in lower case.
_NAMES = {
    "year": ("year", "yr", "yyyy"),
    "quarter": ("quarter", "qtr", "q"),
    "month": ("month", "mon", "mo", "mm"),
    "week": ("week", "iso_week", "isoweek", "week_of_year"),
    "day": ("day", "day_of_month", "dd", "dom"),
    "hour": ("hour", "hr", "hh", "hour_of_day"),
    "minute": ("minute", "min", "mins"),
}
_CLOCK_NAMES = ("time", "hour", "clock", "time_of_day", "hhmm")
_PARTS = {name: part for part, names in _NAMES.items() for name in names}
_LARGEST = {"quarter": 4, "month": 12, "week": 53, "day": 31, "hour": 24, "minute": 59}
_HOUR = 3600 * 10**9  # nanoseconds


def joined(table: Table, request: Request) -> tuple[Table, Request]:
    """The table with one column of times where several make up a time, and the request for it."""
    free = {
        name: look
        for name, look in table.looks.items()
        if not any(name in names for names in request.columns.values())
    }
    if request.time is None:
        columns = _date_and_clock(free) or _year_and_parts(free)
    elif request.time in table.looks or "+" not in request.time:
        columns = ()
    else:
        columns = tuple(name.strip() for name in request.time.split("+"))
        columns = columns if all(name in table.looks for name in columns) else ()
    if not columns:
        return table, request
    if request.time is not None:
        request = replace(request, time=joined_name(columns))
    return JoinedTable(table, columns), request


def joined_name(columns: Iterable[str]) -> str:
    """The name of the column of times that these columns make up; also to ask for it.

    >>> joined_name(["year", "quarter"])
    'year + quarter'
    """
    return " + ".join(columns)


def season_as_id(table: Table, request: Request) -> tuple[str, ...]:
    """A note where a part of the date was asked for as the id of series."""
    part = _PARTS.get((request.id or "").lower())
    if part not in _LARGEST or request.id not in table.looks:
        return ()
    if not any(_PARTS.get(name.lower()) == "year" for name in table.looks):
        return ()
    return (
        f"column {request.id} is a part of the date and the id, so each series holds one {part} "
        "of every year; leave id= out to read one series in order of time",
    )


class JoinedTable:
    """A table whose columns `parts` are read as one column of times."""

    def __init__(self, table: Table, parts: tuple[str, ...]) -> None:
        self._table, self._parts = table, parts
        self.source = table.source
        self.name = joined_name(parts)
        shown = " and ".join(parts)
        self.notes = (*table.notes, f"columns {shown} are read as one time, {self.name}")
        rest = {name: look for name, look in table.looks.items() if name not in parts}
        example = " ".join(
            table.looks[name].examples[0] for name in parts if table.looks[name].examples
        )
        self.looks: Mapping[str, Look] = {self.name: Look("time", (example,)), **rest}

    def row(self, at: int) -> str:
        """The same as of the table itself."""
        return self._table.row(at)

    def load(self, kinds: Mapping[str, Kind]) -> Loaded:
        """Read these columns; the time from its parts."""
        inner = {name: kind for name, kind in kinds.items() if name != self.name}
        if self.name not in kinds:
            return self._table.load(inner)
        own: dict[str, Kind] = {
            name: "time" if _is_date(self._table.looks[name]) else "text" for name in self._parts
        }
        loaded = self._table.load({**inner, **own})
        columns: dict[str, Any] = {name: loaded.columns[name] for name in inner}
        columns[self.name] = self._times(loaded.columns)
        return Loaded(columns, loaded.notes, loaded.zoned, loaded.decimal)

    def _times(self, columns: Columns) -> NDArray[Any]:
        """(rows,), the moment that the parts of each row make up."""
        dates = [name for name in self._parts if not isinstance(columns[name], tuple)]
        if dates:
            (rest,) = [name for name in self._parts if name != dates[0]]
            day = np.asarray(columns[dates[0]])
            return np.asarray(day + self._by_name(rest, columns[rest], self._clock))
        parts = {_PARTS.get(name.lower(), name): name for name in self._parts}
        times = self._dates(parts, columns)
        for part, unit in (("hour", _HOUR), ("minute", _HOUR // 60)):
            if part in parts:
                cells = columns[parts[part]]
                times = np.asarray(
                    times + self._by_name(parts[part], cells, self._count(part, unit))
                )
        return times

    def _by_name(self, column: str, cells: Any, read: Any) -> NDArray[Any]:
        """(rows,), timedelta64[ns]: each different cell of a column is read once."""
        codes, names = cells
        values = [read(name) for name in names]
        for code, value in enumerate(values):
            if value is None:
                row = int(np.flatnonzero(codes == code)[0])
                what = f"{names[code]!r} is no time of the day; expected a form like 18:00"
                raise wrong_cell(self._table, column, row, what)
        lookup = np.array([*values, np.iinfo(np.int64).min], dtype=np.int64)
        return np.asarray(lookup[codes].astype("timedelta64[ns]"))

    @staticmethod
    def _clock(cell: str) -> int | None:
        """Nanoseconds since midnight; 24:00 is the end of the day."""
        if cell.removesuffix(".0").isdigit():
            hour = int(float(cell))
            return hour * _HOUR if hour <= 24 else None
        match = CLOCK.fullmatch(cell)
        if match is None:
            return None
        hour, minute, second = (int(match[at] or 0) for at in (1, 2, 3))
        if match[4]:
            hour = hour % 12 + (12 if match[4][0] in "Pp" else 0)
        if hour > 24 or minute > 59 or second > 59:
            return None
        return hour * _HOUR + (minute * 60 + second) * 10**9

    @staticmethod
    def _count(part: str, unit: int) -> Any:
        def read(cell: str) -> int | None:
            value = _whole(cell)
            return None if value is None or value > _LARGEST[part] else value * unit

        return read

    def _dates(self, parts: Mapping[str, str], columns: Columns) -> NDArray[Any]:
        """(rows,), the day that year, quarter, month, week and day make up."""
        own = [part for part in ("year", "quarter", "month", "week", "day") if part in parts]
        codes = np.stack([columns[parts[part]][0] for part in own], axis=1)
        different, which = np.unique(codes, axis=0, return_inverse=True)
        texts = []
        for row in different.tolist():
            cells = [
                columns[parts[part]][1][code] if code >= 0 else ""
                for part, code in zip(own, row, strict=True)
            ]
            texts.append(_written(dict(zip(own, cells, strict=True))))
        column = TimeCells()
        if fault := column.add(texts, 0) or column.problem():
            row = int(np.flatnonzero(which.ravel() == fault[0])[0])
            raise wrong_cell(self._table, self.name, row, f"{texts[fault[0]]!r} is no date")
        return np.asarray(column.done()[which.ravel()])


def _written(cells: Mapping[str, str]) -> str:
    """The parts of a date as one text; an empty one where a part is missing."""
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


def _is_date(look: Look) -> bool:
    """Does a column hold times, other than 18.00.00, which may as well be a day?"""
    return look.kind == "time" and not look.clock


def _whole(cell: str) -> int | None:
    text = cell.removesuffix(".0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else None


def _date_and_clock(free: Mapping[str, Look]) -> tuple[str, ...]:
    """A column of dates, several rows each, and the one that holds the time of the day."""
    dates = [
        name
        for name, look in free.items()
        if _is_date(look) and not look.named and not any(":" in cell for cell in look.examples)
    ]
    clocks = [
        name
        for name, look in free.items()
        if (look.kind in ("text", "time") and look.clock) or _holds(name, look, "hour")
    ]
    named = [name for name in clocks if name.lower() in _CLOCK_NAMES]
    clocks = named[:1] or clocks
    return (dates[0], clocks[0]) if len(dates) == len(clocks) == 1 else ()


def _year_and_parts(free: Mapping[str, Look]) -> tuple[str, ...]:
    """A column of years, several rows each, and those that hold parts of the year."""
    if any(look.kind == "time" for look in free.values()):
        return ()
    parts: dict[str, str] = {}
    for name, look in free.items():
        part = _PARTS.get(name.lower())
        if part and part not in parts and _holds(name, look, part):
            parts[part] = name
    if "year" not in parts or free[parts["year"]].named:
        return ()
    finer = next((part for part in ("month", "quarter", "week") if part in parts), None)
    if finer is None:
        return ()
    chain = ["year", finer]
    for part in ("day", "hour", "minute") if finer == "month" else ():
        if part not in parts:
            break
        chain.append(part)
    return tuple(parts[part] for part in chain)


def _holds(name: str, look: Look, part: str) -> bool:
    """Can a column of this name and these values be that part of a time?"""
    if _PARTS.get(name.lower()) != part or not look.examples:
        return False
    if part == "month" and look.kind == "text":
        return all(cell.isalpha() and len(cell) >= 3 for cell in look.examples)
    values = [_whole(cell.lstrip("QqWw")) for cell in look.examples]
    if part == "year":
        return all(value is not None and 1678 <= value <= 2261 for value in values)
    return all(value is not None and value <= _LARGEST[part] for value in values)
