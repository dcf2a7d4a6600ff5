"""The `.tsf` format of the Monash archive: one series per line, with a start and values.

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
from gatewright.data.columns.missing import Fill, fill_missing
from gatewright.data.columns.number_column import NumberColumn
from gatewright.data.columns.number_format import POINT
from gatewright.data.columns.time_format import LAST_YEAR, parse_time
from gatewright.data.containers.series import Series
from gatewright.data.source.open_file import lines_of, open_text
from gatewright.data.source.request import Reading, Request
from gatewright.errors import DataError

_MAX_LINE_LENGTH = 1 << 26
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
# Units that follow a number, as in 10_minutes: the multiple of a unit of numpy.
_COUNTED: dict[str, tuple[int, Literal["M", "D", "h", "m", "s"]]] = {
    "years": (12, "M"),
    "months": (1, "M"),
    "weeks": (7, "D"),
    "days": (1, "D"),
    "hours": (1, "h"),
    "minutes": (1, "m"),
    "seconds": (1, "s"),
}
_MAX_DIGITS = 9  # of a horizon: it fits into 32 bits
_TYPES = ("string", "date", "numeric")


@dataclass(slots=True)
class _TsfHeader:
    attributes: dict[str, str] = field(default_factory=dict)  # name -> type
    frequency: str | None = None
    horizon: int | None = None
    name: str = ""

    @property
    def date(self) -> str | None:
        """The attribute with the start of a series, or None."""
        return next((name for name, type_ in self.attributes.items() if type_ == "date"), None)


def read_tsf(path: Path, name: str, request: Request, encoding: str = "utf-8-sig") -> Reading:
    """Return the series of the file, with times from its header and their starts."""
    request.without_columns(path.name, "is a .tsf file, which has no named columns")
    request.without_marks(path.name).for_tasks(path.name, "forecast")
    with open_text(path, newline=None, encoding=encoding) as file:
        lines = enumerate(lines_of(path.name, file, _MAX_LINE_LENGTH), start=1)
        header = _read_header(path.name, lines)
        period = _period(path.name, header.frequency)
        rows = [
            _parse_row(path.name, number, line, header) for number, line in lines if line.strip()
        ]
    if not rows:
        raise DataError(f"{path.name} has no series after @data; expected data")
    missing = sum(int(np.isnan(row.values).sum()) for row in rows)
    values = tuple(_fill_row(path.name, row, request.fill)[:, None] for row in rows)
    series = Series(
        ids=_ids(rows, header),
        times=tuple(_times(path.name, row, period) for row in rows),
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
            f"its header names a horizon: pass horizon={header.horizon} to forecast that far"
        )
    if not header.frequency or not header.date:
        notes.append("it names no times: steps are numbered")
    return Reading(series, "forecast", "a .tsf file has series", path.name, tuple(notes))


def _read_header(source: str, lines: Iterator[tuple[int, str]]) -> _TsfHeader:
    """Read the lines up to @data."""
    header = _TsfHeader()
    for number, line in lines:
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        place, tag, rest = f"{source}, line {number}", words[0].lower(), words[1:]
        if tag == "@data":
            return header
        if tag == "@attribute":
            if len(rest) != 2 or rest[1] not in _TYPES or rest[0] in header.attributes:
                raise DataError(
                    f"{place}: @attribute {' '.join(rest)!r}; expected a new name and one of "
                    f"{', '.join(_TYPES)}"
                )
            header.attributes[rest[0]] = rest[1]
        elif tag == "@frequency":
            header.frequency = " ".join(rest).lower()
        elif tag == "@horizon":
            text = "".join(rest)
            if not (text.isascii() and text.isdigit() and int(text[:_MAX_DIGITS]) > 0):
                raise DataError(f"{place}: @horizon has {text!r}; expected a number of at least 1")
            header.horizon = int(text[:_MAX_DIGITS])
        elif tag == "@relation":
            header.name = " ".join(rest)
        elif tag not in ("@missing", "@equallength"):
            raise DataError(f"{place}: {words[0][:40]!r} is not a known tag; remove the line")
    raise DataError(
        f"{source} ends without the line @data, so it has no data; expected this line before the "
        "series"
    )


def _period(source: str, frequency: str | None) -> Step:
    if not frequency:
        return 1.0
    if frequency in _UNITS:
        return _UNITS[frequency]
    count, _, unit = frequency.replace(" ", "_").partition("_")
    if count.isascii() and count.isdigit() and int(count[:6]) > 0 and unit in _COUNTED:
        multiple, numpy_unit = _COUNTED[unit]
        return np.timedelta64(int(count[:6]) * multiple, numpy_unit)
    raise DataError(
        f"{source} has the frequency {frequency!r}; expected one of {', '.join(_UNITS)}, or one "
        "like 10_minutes"
    )


@dataclass(frozen=True, slots=True)
class _TsfRow:
    """One series of the file."""

    line: int  # in the file, from 1
    attributes: tuple[str, ...]
    start: np.datetime64 | None  # in nanoseconds
    values: NDArray[np.float64]  # (T,), NaN where one is missing


def _parse_row(source: str, line: int, text: str, header: _TsfHeader) -> _TsfRow:
    place = f"{source}, line {line}"
    # Values have no colon, but the start, which is the last attribute, has some in some files.
    before, _, last = text.strip().rpartition(":")
    attributes = before.split(":", max(len(header.attributes) - 1, 0)) if before else []
    if len(attributes) != len(header.attributes):
        raise DataError(
            f"{place} has {len(attributes)} attributes before its values; expected "
            f"{len(header.attributes)}: {', '.join(header.attributes) or 'none'}"
        )
    column = NumberColumn((POINT,))
    if fault := column.add(last.split(","), 1):
        raise DataError(f"{place}, value {fault[0]}: {fault[1]}")
    values = column.result()
    if np.isinf(values).any():
        raise DataError(f"{place}: a value is infinite; write a number, or ? for none")
    start = None
    if header.date and header.frequency:
        start = _parse_start(place, attributes[list(header.attributes).index(header.date)])
    return _TsfRow(line, tuple(attributes), start, values)


def _parse_start(place: str, text: str) -> np.datetime64:
    """Convert a start as the archive writes it, 1960-01-01 00-00-00, also without the time."""
    day, _, clock = text.strip().partition(" ")
    time = parse_time(f"{day} {clock.replace('-', ':')}".strip(), "year-month-day")
    if time is None:
        raise DataError(
            f"{place}: the start {text!r} is not a time; expected a form like 1960-01-01 00-00-00"
        )
    return np.datetime64(time[0], "ns")


def _ids(rows: list[_TsfRow], header: _TsfHeader) -> tuple[str, ...]:
    """Return the names of the series: their text attributes, with the line unless unique."""
    types = header.attributes.values()
    texts = [position for position, type_ in enumerate(types) if type_ == "string"]
    names = [" ".join(row.attributes[position].strip() for position in texts) for row in rows]
    if len(set(names)) < len(names) or not all(names):
        names = [f"{name} (line {row.line})".strip() for name, row in zip(names, rows, strict=True)]
    return tuple(names)


def _times(source: str, row: _TsfRow, period: Step) -> NDArray[Any]:
    steps = len(row.values)
    if row.start is None:
        return np.arange(steps)
    start = np.array([row.start])
    first_year = start.astype("datetime64[Y]").astype(int)[0] + 1970
    if first_year + steps * _years(period) > LAST_YEAR - 1:
        raise DataError(
            f"{source}, line {row.line} continues beyond the year {LAST_YEAR}; is its start right?"
        )
    return times_at(start, period, np.arange(steps))


def _years(period: Step) -> float:
    """Return the approximate length of a step in years."""
    if is_months(period):
        return float(period / np.timedelta64(12, "M"))
    assert isinstance(period, np.timedelta64)
    return float(period / np.timedelta64(365, "D"))


def _fill_row(source: str, row: _TsfRow, fill: Fill | None) -> NDArray[np.float64]:
    """Return the values with missing ones filled; raise `DataError` if one remains."""
    values = row.values
    if np.isnan(values).any() and fill in ("linear", "previous"):
        values = fill_missing(values[:, None], np.arange(len(values)), fill)[:, 0]
    missing = np.flatnonzero(np.isnan(values))
    if not len(missing):
        return values
    place = f"{source}, line {row.line}, value {int(missing[0]) + 1}"
    if fill in ("linear", "previous"):
        raise DataError(
            f"{place} is missing, and the line has no value to fill it with fill={fill!r}; write it"
        )
    if fill == "drop":
        raise DataError(f"{place} is missing: leaving it out breaks the series; pass fill='linear'")
    raise DataError(f"{place} is missing; write it, or pass fill='linear' or 'previous'")
