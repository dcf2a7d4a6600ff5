"""The `.tsf` format of the Monash archive: many series, each with a start and values, a line each.

A header names the attributes of a series, the step between values, and a horizon to forecast.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from gatewright.data.calendar.periods import Step, is_months, season_of, times_at
from gatewright.data.columns.missing import Fill, filled
from gatewright.data.columns.number_column import NumberCells
from gatewright.data.columns.number_format import POINT
from gatewright.data.columns.time_column import LAST_YEAR, parse
from gatewright.data.containers.series import Series
from gatewright.data.source.open_file import lines_of, open_text
from gatewright.data.source.request import Reading, Request
from gatewright.errors import DataError

_LONGEST_LINE = 1 << 26
_UNITS: dict[str, np.timedelta64] = {
    "yearly": np.timedelta64(12, "M"),
    "quarterly": np.timedelta64(3, "M"),
    "monthly": np.timedelta64(1, "M"),
    "weekly": np.timedelta64(7, "D"),
    "daily": np.timedelta64(1, "D"),
    "hourly": np.timedelta64(1, "h"),
    "half_hourly": np.timedelta64(30, "m"),
    "minutely": np.timedelta64(1, "m"),
    "secondly": np.timedelta64(1, "s"),
}
# Units that a number may stand before, as in 10_minutes: how many of which unit each is.
_COUNTED: dict[str, tuple[int, Literal["M", "D", "h", "m", "s"]]] = {
    "years": (12, "M"),
    "months": (1, "M"),
    "weeks": (7, "D"),
    "days": (1, "D"),
    "hours": (1, "h"),
    "minutes": (1, "m"),
    "seconds": (1, "s"),
}
_TYPES = ("string", "date", "numeric")


@dataclass(slots=True)
class _Header:
    attributes: dict[str, str] = field(default_factory=dict)  # name -> type
    frequency: str | None = None
    horizon: int | None = None
    name: str = ""
    lines: int = 0


def read_tsf(path: Path, name: str, request: Request, encoding: str = "utf-8-sig") -> Reading:
    """The series of the file, on the times that its header and their starts say."""
    request.without_columns(path.name, "is a .tsf file, which has no named columns")
    request.without_marks(path.name).for_tasks(path.name, "forecast")
    with open_text(path, newline=None, encoding=encoding) as file:
        lines = enumerate(lines_of(path.name, file, _LONGEST_LINE), start=1)
        header = _header(path.name, lines)
        period = _period(path.name, header.frequency)
        rows = [_Row.of(path.name, number, line, header) for number, line in lines if line.strip()]
    if not rows:
        raise DataError(f"{path.name} has no series after @data; expected data")
    ids = _ids(rows, header)
    missing = sum(int(np.isnan(row.values).sum()) for row in rows)
    values = tuple(_complete(path.name, row, request.fill)[:, None] for row in rows)
    series = Series(
        ids=ids,
        times=tuple(_times(path.name, row, period, len(row.values)) for row in rows),
        values=values,
        channels=("value",),
        period=period,
        steps_a_season=season_of(period),
        name=header.name or name,
    )
    notes = []
    if missing:
        notes.append(f"{missing} missing values: {request.fill}")
    if header.horizon:
        notes.append(
            f"its header names a horizon: say horizon={header.horizon} to forecast that far"
        )
    if not header.frequency or not _date_of(header):
        notes.append("it names no times: steps are numbered")
    return Reading(series, "forecast", "a .tsf file holds series", path.name, tuple(notes))


def _header(source: str, lines: Iterator[tuple[int, str]]) -> _Header:
    """Read up to the line @data."""
    header = _Header()
    for number, line in lines:
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where, tag, rest = f"{source}, line {number}", words[0].lower(), words[1:]
        if tag == "@data":
            return header
        if tag == "@attribute":
            if len(rest) != 2 or rest[1] not in _TYPES or rest[0] in header.attributes:
                raise DataError(
                    f"{where}: @attribute {' '.join(rest)!r}; expected a new name and one of "
                    f"{', '.join(_TYPES)}"
                )
            header.attributes[rest[0]] = rest[1]
        elif tag == "@frequency":
            header.frequency = " ".join(rest).lower()
        elif tag == "@horizon":
            text = "".join(rest)
            if not (text.isascii() and text.isdigit() and int(text[:9]) > 0):
                raise DataError(f"{where}: @horizon has {text!r}; expected a number from 1")
            header.horizon = int(text[:9])
        elif tag == "@relation":
            header.name = " ".join(rest)
        elif tag not in ("@missing", "@equallength"):
            raise DataError(f"{where}: {words[0][:40]!r} is no known tag; take the line out")
    raise DataError(f"{source} ends without the line @data, so it holds no data")


def _period(source: str, frequency: str | None) -> Step:
    if not frequency:
        return 1.0
    if frequency in _UNITS:
        return _UNITS[frequency]
    count, _, unit = frequency.replace(" ", "_").partition("_")
    if count.isascii() and count.isdigit() and int(count[:6]) > 0 and unit in _COUNTED:
        times, numpy_unit = _COUNTED[unit]
        return np.timedelta64(int(count[:6]) * times, numpy_unit)
    raise DataError(
        f"{source} has the frequency {frequency!r}; expected one of {', '.join(_UNITS)}, or one "
        "like 10_minutes"
    )


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    attributes: tuple[str, ...]
    start: Any  # datetime64[ns]; None where there is none
    values: NDArray[np.float64]  # (T,), NaN where one is missing

    @classmethod
    def of(cls, source: str, line: int, text: str, header: _Header) -> _Row:
        """One series of the file."""
        where = f"{source}, line {line}"
        # The values have no colon; the start, which comes last, has in some files.
        before, _, last = text.strip().rpartition(":")
        attributes = before.split(":", max(len(header.attributes) - 1, 0)) if before else []
        if len(attributes) != len(header.attributes):
            raise DataError(
                f"{where} has {len(attributes)} attributes before its values; expected "
                f"{len(header.attributes)}: {', '.join(header.attributes) or 'none'}"
            )
        cells = last.split(",")
        column = NumberCells((POINT,))
        if fault := column.add(cells, 1):
            raise DataError(f"{where}, value {fault[0]}: {fault[1]}")
        values = column.done()
        if np.isinf(values).any():
            raise DataError(f"{where}: a value is infinite; write a number, or ? for none")
        start = None
        if (date := _date_of(header)) and header.frequency:
            start = _start(where, attributes[list(header.attributes).index(date)])
        return cls(line, tuple(attributes), start, values)


def _date_of(header: _Header) -> str | None:
    return next((name for name, type_ in header.attributes.items() if type_ == "date"), None)


def _start(where: str, text: str) -> np.datetime64:
    """A start as the archive writes it, 1960-01-01 00-00-00, or without the time of the day."""
    day, _, clock = text.strip().partition(" ")
    time = parse(f"{day} {clock.replace('-', ':')}".strip(), "year-month-day")
    if time is None:
        raise DataError(f"{where}: the start {text!r} is no time; expected 1960-01-01 00-00-00")
    return np.datetime64(time[0], "ns")


def _ids(rows: list[_Row], header: _Header) -> tuple[str, ...]:
    """The names of the series: their texts together, and the line where that is not unique."""
    texts = [at for at, type_ in enumerate(header.attributes.values()) if type_ == "string"]
    names = [" ".join(row.attributes[at].strip() for at in texts) for row in rows]
    if len(set(names)) < len(names) or not all(names):
        names = [f"{name} (line {row.line})".strip() for name, row in zip(names, rows, strict=True)]
    return tuple(names)


def _times(source: str, row: _Row, period: Step, steps: int) -> NDArray[Any]:
    if row.start is None:
        return np.arange(steps)
    start = np.array([row.start])
    last = start.astype("datetime64[Y]").astype(int)[0] + 1970
    if last + steps * _years(period) > LAST_YEAR - 1:
        raise DataError(
            f"{source}, line {row.line} goes on beyond the year {LAST_YEAR}; is its start right?"
        )
    return times_at(start, period, np.arange(steps))


def _years(period: Step) -> float:
    """The length of a step, about."""
    if is_months(period):
        return float(period / np.timedelta64(12, "M"))
    assert isinstance(period, np.timedelta64)
    return float(period / np.timedelta64(365, "D"))


def _complete(source: str, row: _Row, fill: Fill | None) -> NDArray[np.float64]:
    """The values with none missing."""
    missing = np.isnan(row.values)
    if not missing.any():
        return row.values
    values = row.values
    if fill in ("linear", "previous"):
        values = filled(values[:, None], np.arange(len(values)), fill)[:, 0]
    if np.isnan(values).any():
        where = f"{source}, line {row.line}, value {int(np.flatnonzero(np.isnan(values))[0]) + 1}"
        if fill in ("linear", "previous"):
            raise DataError(
                f"{where} is missing, and nothing is there to fill it with fill={fill!r}"
            )
        if fill == "drop":
            raise DataError(
                f"{where} is missing: to leave it out breaks the series; say fill='linear'"
            )
        raise DataError(f"{where} is missing; write it, or say fill='linear' or 'previous'")
    return values
