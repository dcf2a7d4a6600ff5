"""Texts to times: the one way of writing that a column keeps to; times in UTC, or without zone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.missing import is_missing

_CLOCK = (
    r"(?:[T ] ?(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<part>\d{1,9}))?)?"
    r"(?: ?(?P<half>[AaPp][Mm]))?(?: ?(?P<zone>Z|UTC|[+-]\d{2}(?::?\d{2})?))?)?"
)
_WORD = r"(?P<month>[A-Za-z]{3,9})"
# Year first; year and month or quarter alone; the forms that put the month or the day first,
# told apart by the numbers; the compact one of ISO 8601; and English names of months.
WAYS: dict[str, re.Pattern[str]] = {
    way: re.compile(pattern, re.ASCII)
    for way, pattern in {
        "year-month-day": r"(?P<year>\d{4})(?P<s>[-/.])(?P<month>\d\d?)(?P=s)(?P<day>\d\d?)"
        + _CLOCK,
        "year-month": r"(?P<year>\d{4})[-/](?P<month>\d\d?)",
        "year quarter": r"(?P<year>\d{4})[- ]?Q(?P<quarter>[1-4])",
        "month/day/year": r"(?P<month>\d\d?)(?P<s>[-/])(?P<day>\d\d?)(?P=s)(?P<year>\d{4})"
        + _CLOCK,
        "day/month/year": r"(?P<day>\d\d?)(?P<s>[-/.])(?P<month>\d\d?)(?P=s)(?P<year>\d{4})"
        + _CLOCK,
        "yearmonthday": r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})" + _CLOCK,
        "January 31, year": rf"{_WORD}\.? (?P<day>\d\d?),? (?P<year>\d{{4}})" + _CLOCK,
        "31 January year": rf"(?P<day>\d\d?)[- ]{_WORD}\.?[- ](?P<year>\d{{4}})" + _CLOCK,
        "January year": rf"{_WORD}\.?[- ](?P<year>\d{{4}})",
    }.items()
}
FIRST_YEAR, LAST_YEAR = 1678, 2261  # what nanoseconds since 1970 reach in 64 bits

_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
_SHORT = tuple(name[:3] for name in _MONTHS)
_DAY_0 = date(1970, 1, 1).toordinal()
_NAT = np.iinfo(np.int64).min  # how numpy keeps "not a time"


def could_be_time(cell: str) -> bool:
    """Is this text written like a time, in any of the ways but the one of digits alone?"""
    for way, pattern in WAYS.items():
        found = pattern.fullmatch(cell) if way != "yearmonthday" else None
        month = found.groupdict().get("month", "1") if found else ""
        if month.isdigit() or month.lower()[:3] in _SHORT:
            return True
    return False


def parse(cell: str, way: str) -> tuple[int, int | None] | None:
    """(nanoseconds since 1970, offset of the zone in minutes or None), None if it is no time.

    >>> parse("1970-01-01 01:00+01:00", "year-month-day")
    (0, 60)
    """
    found = WAYS[way].fullmatch(cell)
    if found is None:
        return None
    groups = found.groupdict()
    hour, minute, second = (int(groups.get(name) or 0) for name in ("hour", "minute", "second"))
    if half := groups.get("half"):
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half[0] in "Pp" else 0)
    zone = _offset(groups.get("zone"))
    try:
        month = 3 * int(groups["quarter"]) - 2 if "quarter" in groups else _month(groups["month"])
        day = date(int(groups["year"]), month, int(groups.get("day") or 1))
    except ValueError:  # 31 February, or the word is no month
        return None
    if not FIRST_YEAR <= day.year <= LAST_YEAR or hour > 23 or minute > 59 or second > 59:
        return None
    seconds = (day.toordinal() - _DAY_0) * 86_400 + (hour * 60 + minute) * 60 + second
    return (seconds - (zone or 0) * 60) * 10**9 + int(
        (groups.get("part") or "").ljust(9, "0")
    ), zone


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

    def add(self, cells: Sequence[str], first: int) -> tuple[int, str] | None:
        """Take these cells, of which the first stands in row `first`.

        A missing one becomes NaT. Returns the row and what is wrong with it, or None.
        """
        failed: tuple[int, str] | None = None
        plain = _plain_times(cells) if "year-month-day" in self._found else None
        if plain is not None:
            self._found = {"year-month-day": [*self._found["year-month-day"], plain]}
            self._zones.setdefault(None, first)
            return None
        for way in list(self._found):
            values = np.full(len(cells), _NAT, dtype=np.int64)
            zones: dict[int | None, int] = {}
            for at, cell in enumerate(cells):
                if is_missing(cell):
                    continue
                parsed = parse(cell.strip(), way)
                if parsed is None:
                    problem = (first + at, f"{cell!r} is not a time written like the others")
                    # The way that came furthest tells best what is wrong.
                    failed = max(failed or problem, problem)
                    del self._found[way]
                    break
                values[at], zone = parsed
                zones.setdefault(zone, first + at)
            else:
                self._found[way].append(values)
                self._zones = zones | self._zones
        return None if self._found else failed

    def problem(self) -> tuple[int, str] | None:
        """What is wrong with the column as a whole: its day and month, or its zones."""
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
        """What a reader should be told: that the times are kept in UTC, and from which zones."""
        zones = {say_zone(zone): row for zone, row in self._zones.items() if zone is not None}
        if not zones or set(zones) == {"UTC"}:
            return ()
        return (f"zones {', '.join(zones)} turned into UTC",)

    def done(self) -> NDArray[Any]:
        """(rows,), datetime64[ns]; NaT where one is missing."""
        return next(iter(self._joined().values())).view("datetime64[ns]")

    def _joined(self) -> dict[str, NDArray[np.int64]]:
        empty = [np.empty(0, dtype=np.int64)]
        return {way: np.concatenate(empty + parts) for way, parts in self._found.items()}


def say_zone(minutes: int) -> str:
    """An offset as it is written: "UTC", "+01:00"."""
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}:{rest:02d}" if minutes else "UTC"
