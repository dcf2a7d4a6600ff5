"""Texts to times: the one way of writing that a column keeps to; times in UTC, or without zone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.missing import is_missing
from gatewright.errors import ArgumentError

_CLOCK = (
    r"(?:[T ] ?(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<part>\d{1,9}))?)?"
    r"(?: ?(?P<half>[AaPp][Mm]))?(?: ?(?P<zone>Z|UTC|[+-]\d{2}(?::?\d{2})?))?)?"
)
_WORD = r"(?P<month>[A-Za-z]{3,9})"
_YEAR, _SHORT_YEAR = r"(?P<year>\d{4})", r"(?P<short>\d\d)"
_NUMBER, _DAY = r"(?P<month>\d\d?)", r"(?P<day>\d\d?)"
_WEEKDAY = r"(?:[A-Za-z]{3,9},? )?"
# Year first; year and week, month or quarter alone; the forms that put the month or the day first,
# told apart by the numbers; the compact one of ISO 8601; English names of months; years of two
# digits; and the digits of Unix time.
WAYS: dict[str, re.Pattern[str]] = {
    way: re.compile(pattern, re.ASCII)
    for way, pattern in {
        "year-month-day": rf"{_YEAR}(?P<s>[-/.]){_NUMBER}(?P=s){_DAY}{_CLOCK}",
        "first day/last day": rf"{_YEAR}-{_NUMBER}-{_DAY}/\d{{4}}-\d\d-\d\d",
        "year-month": rf"{_YEAR}[-/]{_NUMBER}",
        "yearMmonth": rf"{_YEAR}[Mm]{_NUMBER}",
        "month/year": rf"{_NUMBER}[-/]{_YEAR}",
        "year quarter": rf"{_YEAR}[- ]?[Qq](?P<quarter>[1-4])",
        "quarter year": rf"[Qq](?P<quarter>[1-4])[- /]?{_YEAR}",
        "year-Wweek": rf"{_YEAR}-?[Ww](?P<week>\d\d)(?:-?(?P<weekday>[1-7]))?",
        "month/day/year": rf"{_NUMBER}(?P<s>[-/]){_DAY}(?P=s){_YEAR}{_CLOCK}",
        "day/month/year": rf"{_DAY}(?P<s>[-/.]){_NUMBER}(?P=s){_YEAR}{_CLOCK}",
        "month/day/yy": rf"{_NUMBER}(?P<s>[-/]){_DAY}(?P=s){_SHORT_YEAR}{_CLOCK}",
        "day/month/yy": rf"{_DAY}(?P<s>[-/.]){_NUMBER}(?P=s){_SHORT_YEAR}{_CLOCK}",
        "yearmonthday": rf"{_YEAR}(?P<month>\d{{2}})(?P<day>\d{{2}}){_CLOCK}",
        "January 31, year": rf"{_WEEKDAY}{_WORD}\.? {_DAY},? {_YEAR}{_CLOCK}",
        "January-31-year": rf"{_WORD}(?P<s>[-/]){_DAY}(?P=s){_YEAR}{_CLOCK}",
        "31 January year": rf"{_WEEKDAY}{_DAY}[- ]{_WORD}\.?[- ]{_YEAR}{_CLOCK}",
        "31 January yy": rf"{_DAY}[- ]{_WORD}\.?[- ]{_SHORT_YEAR}{_CLOCK}",
        "January year": rf"{_WORD}\.?[- /]{_YEAR}",
        "January yy": rf"{_WORD}\.?[- /']{_SHORT_YEAR}",
        "year January": rf"{_YEAR}[- /]{_WORD}\.?",
        "year January 31": rf"{_YEAR}[- /]{_WORD}\.?[- /]{_DAY}{_CLOCK}",
        "Unix seconds": r"(?P<unix>\d{9,10})(?:\.(?P<part>\d{1,9})\d*)?",
        "Unix milliseconds": r"(?P<unix>\d{12,13})(?:\.(?P<part>\d{1,6})\d*)?",
        "Unix microseconds": r"(?P<unix>\d{15,16})(?:\.(?P<part>\d{1,3})\d*)?",
        "Unix nanoseconds": r"(?P<unix>\d{18,19})",
    }.items()
}
# Ways of digits alone, which may as well be numbers; for Unix time, nanoseconds in each unit.
_UNIX = {
    "Unix seconds": 10**9,
    "Unix milliseconds": 10**6,
    "Unix microseconds": 10**3,
    "Unix nanoseconds": 1,
}
_UNIX_FROM, _UNIX_TO = 10**18, 4_102_444_800 * 10**9
_OF_DIGITS = ("yearmonthday", *_UNIX)
_OF_SHORT_YEARS = tuple(way for way, pattern in WAYS.items() if "short" in pattern.groupindex)
FIRST_YEAR, LAST_YEAR = 1678, 2261  # what nanoseconds since 1970 reach in 64 bits

_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
_SHORT = tuple(name[:3] for name in _MONTHS)
_DAY_0 = date(1970, 1, 1).toordinal()
_NAT = np.iinfo(np.int64).min  # how numpy keeps "not a time"


def could_be_time(cell: str) -> bool:
    """Is this text written like a time, in any of the ways but those of digits alone?"""
    for way, pattern in WAYS.items():
        match = pattern.fullmatch(cell) if way not in _OF_DIGITS else None
        month = match.groupdict().get("month", "1") if match else ""
        if month.isdigit() or month.lower()[:3] in _SHORT:
            return True
    return False


def is_unix_time(cell: str) -> bool:
    """Are these digits a time since 1970 that lies between 2001 and 2100?"""
    if len(cell.partition(".")[0]) not in (10, 13, 16, 19):
        return False
    time = next((time for way in _UNIX if (time := parse(cell, way)) is not None), None)
    return time is not None and _UNIX_FROM <= time[0] < _UNIX_TO


def parse(cell: str, way: str) -> tuple[int, int | None] | None:
    """(nanoseconds since 1970, offset of the zone in minutes or None), None if it is no time.

    Years of two digits are read as those from 2000 on.

    >>> parse("1970-01-01 01:00+01:00", "year-month-day")
    (0, 60)
    """
    match = WAYS[way].fullmatch(cell)
    if match is None:
        return None
    groups = match.groupdict()
    if "unix" in groups:
        return _since_1970(groups, _UNIX[way])
    hour, minute, second = (int(groups.get(name) or 0) for name in ("hour", "minute", "second"))
    if half := groups.get("half"):
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half[0] in "Pp" else 0)
    zone = _offset(groups.get("zone"))
    try:
        day = _date(groups)
    except ValueError:  # 31 February, or the word is no month
        return None
    if not FIRST_YEAR <= day.year <= LAST_YEAR or hour > 23 or minute > 59 or second > 59:
        return None
    seconds = (day.toordinal() - _DAY_0) * 86_400 + (hour * 60 + minute) * 60 + second
    return (seconds - (zone or 0) * 60) * 10**9 + int(
        (groups.get("part") or "").ljust(9, "0")
    ), zone


def _since_1970(groups: dict[str, str], unit: int) -> tuple[int, None] | None:
    digits = len(str(unit)) - 1  # of nanoseconds after the point
    part = (groups.get("part") or "")[:digits].ljust(digits, "0")
    nanoseconds = int(groups["unix"]) * unit + int(part or 0)
    return (nanoseconds, None) if nanoseconds < 2**63 else None


def _date(groups: dict[str, str]) -> date:
    """The day that a match names, the first one of a month, quarter or week; or `ValueError`."""
    year = int(groups["year"]) if "year" in groups else 2000 + int(groups["short"])
    if "week" in groups:
        return date.fromisocalendar(year, int(groups["week"]), int(groups["weekday"] or 1))
    month = 3 * int(groups["quarter"]) - 2 if "quarter" in groups else _month(groups["month"])
    return date(year, month, int(groups.get("day") or 1))


def zone_of(name: str) -> ZoneInfo:
    """The zone of this name; `ArgumentError` if none is known."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ArgumentError(
            f"timezone is {name!r}, which is not known; expected a name like 'Europe/Berlin' "
            "(where no zone is known at all: pip install tzdata)"
        ) from None


def _month(text: str) -> int:
    """1 to 12 from a number, a name or its first three letters; `ValueError` if it is none."""
    if text.isdigit():
        return int(text)
    word = text.lower()
    return (_SHORT if len(word) == 3 else _MONTHS).index(word) + 1


def _offset(zone: str | None) -> int | None:
    if zone is None:
        return None
    if zone in ("Z", "UTC"):
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[3:].replace(":", "") or 0)
    return -minutes if zone[0] == "-" else minutes


# Most files have this form in every cell, and numpy reads all of them at once.
_PLAIN = re.compile(
    r"(?:(?:1[7-9]|2[01])\d\d-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?\n)*", re.ASCII
)


def _plain_times(cells: Sequence[str]) -> NDArray[np.int64] | None:
    """The fast way, for cells that are all ISO dates without a zone; else None."""
    if _PLAIN.fullmatch("\n".join(cells) + "\n") is None:
        return None
    try:
        return np.array(cells, dtype="datetime64[ns]").view(np.int64)
    except ValueError:  # 31 February
        return None


class TimeCells:
    """Collects a column of times, in whichever one way of writing fits all of its cells.

    Several ways may fit at first (1/2/2024); those that a later cell contradicts fall away.
    """

    def __init__(self, ways: tuple[str, ...] = tuple(WAYS)) -> None:
        self._found: dict[str, list[NDArray[np.int64]]] = {way: [] for way in ways}
        self._zones: dict[int | None, int] = {}  # offset -> the first row that has it
        self._offsets: dict[str, list[NDArray[np.int16]]] = {way: [] for way in ways}  # minutes

    @property
    def zoned(self) -> bool:
        """Do the times have a zone?"""
        return any(zone is not None for zone in self._zones)

    def add(self, cells: Sequence[str], first: int) -> tuple[int, str] | None:
        """Take these cells, of which the first stands in row `first`.

        A missing one becomes NaT. Returns the row and what is wrong with it, or None.
        """
        failed: tuple[int, str] | None = None
        plain = _plain_times(cells) if "year-month-day" in self._found else None
        if plain is not None:
            way = "year-month-day"
            self._found, self._offsets = {way: self._found[way]}, {way: self._offsets[way]}
            self._found[way].append(plain)
            self._offsets[way].append(np.zeros(len(cells), np.int16))
            self._zones.setdefault(None, first)
            return None
        for way in list(self._found):
            values = np.full(len(cells), _NAT, dtype=np.int64)
            offsets = np.zeros(len(cells), dtype=np.int16)
            zones: dict[int | None, int] = {}
            for at, cell in enumerate(cells):
                if is_missing(cell):
                    continue
                parsed = parse(cell.strip(), way)
                if parsed is None:
                    problem = (first + at, f"{cell!r} is not a time written like the others")
                    # The way that came furthest tells best what is wrong.
                    failed = max(failed or problem, problem)
                    del self._found[way], self._offsets[way]
                    break
                values[at], zone = parsed
                offsets[at] = zone or 0
                zones.setdefault(zone, first + at)
            else:
                self._found[way].append(values)
                self._offsets[way].append(offsets)
                self._zones = zones | self._zones
        return None if self._found else failed

    def problem(self) -> tuple[int, str] | None:
        """The fault of the column as a whole: of its day and month, or of its zones."""
        done = list(self._joined().items())
        for (one, left), (other, right) in pairwise(done):
            differ = np.flatnonzero(left != right)
            if len(differ):
                return int(differ[0]), (
                    f"may be {one} or {other}, and no cell of the column tells which; "
                    "write the times as year-month-day"
                )
        if None in self._zones and len(self._zones) > 1:
            zoned = next(row for zone, row in self._zones.items() if zone is not None)
            return max(zoned, self._zones[None]), (
                "has a time zone and other times have none"
                if zoned > self._zones[None]
                else "has no time zone and other times have one"
            ) + "; write all times with their zone, or none"
        return None

    def notes(self) -> tuple[str, ...]:
        """The zones, and what became of them; the years that two digits stand for."""
        notes = []
        way = next(iter(self._found))
        if way in _OF_SHORT_YEARS:
            years = self.done().astype("datetime64[Y]")
            years = years[~np.isnat(years)]
            if len(years):
                notes.append(f"years of two digits are read as {years.min()} to {years.max()}")
        if way in _UNIX:
            notes.append(f"its numbers are read as {way} (the time since 1970)")
        zones = [say_zone(zone) for zone in self._zones if zone is not None]
        if zones and self._on_one_hour(way):
            notes.append(f"times are kept on their own clock, whose zones are {', '.join(zones)}")
        elif zones and set(zones) != {"UTC"}:
            notes.append(f"zones {', '.join(zones)} turned into UTC")
        return tuple(notes)

    def done(self) -> NDArray[Any]:
        """(rows,), datetime64[ns]; NaT where one is missing."""
        way, values = next(iter(self._joined().items()))
        times = values.view("datetime64[ns]")
        return self._clock(way) if self.zoned and self._on_one_hour(way) else times

    def _clock(self, way: str) -> NDArray[Any]:
        """(rows,), the times that the clock of their zone showed."""
        offsets = np.concatenate([np.empty(0, np.int16), *self._offsets[way]])
        times = self._joined()[way].view("datetime64[ns]")
        return np.asarray(times + offsets.astype("timedelta64[m]"))

    def _on_one_hour(self, way: str) -> bool:
        """Are these days, weeks or months: always at the same time of the day by their clock?

        In UTC an hour would be missing or too much where summer time begins or ends.
        """
        return same_hour(self._clock(way))

    def _joined(self) -> dict[str, NDArray[np.int64]]:
        empty = [np.empty(0, dtype=np.int64)]
        whole = {way: np.concatenate(empty + parts) for way, parts in self._found.items()}
        return {
            way: _in_century(values) if way in _OF_SHORT_YEARS else values
            for way, values in whole.items()
        }


def same_hour(times: NDArray[Any]) -> bool:
    """Are there several days, each at the same time of the day?"""
    times = times[~np.isnat(times)]
    days = times.astype("datetime64[D]")
    return len(np.unique(days)) > 1 and len(np.unique(times - days)) == 1


def _in_century(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Times of the years 2000 to 2099 in the century that they are of.

    The years follow each other around the largest gap between them, and the last of them is not
    later than next year: 95 to 05 are 1995 to 2005, and 49 to 60 are 1949 to 1960.
    """
    times = values.view("datetime64[ns]")
    there = ~np.isnat(times)
    if not there.any():
        return values
    months = times.astype("datetime64[M]")
    short = np.where(there, months.astype(np.int64) // 12 + 1970 - 2000, 0)
    years = np.unique(short[there])
    gaps = np.diff(np.append(years, years[0] + 100))
    start = years[(int(np.argmax(gaps)) + 1) % len(years)]
    centuries = np.where(short < start, 1, 0)
    last = int((short + 100 * centuries)[there].max()) + 2000
    if last > date.today().year + 1:
        centuries -= -(-(last - date.today().year - 1) // 100)
    moved = (months + 1200 * centuries).astype("datetime64[ns]") + (times - months)
    return np.where(there, moved, times).view(np.int64)


def say_zone(minutes: int) -> str:
    """An offset as it is written: "UTC", "+01:00"."""
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}:{rest:02d}" if minutes else "UTC"
