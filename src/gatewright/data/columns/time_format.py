"""Formats of times: their patterns, and the conversion of one cell."""

from __future__ import annotations

import re
from datetime import date
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from gatewright.errors import ArgumentError

_CLOCK = (
    r"(?:[T ] ?(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<part>\d{1,9}))?)?"
    r"(?: ?(?P<half>[AaPp][Mm]))?(?: ?(?P<zone>Z|UTC|[+-]\d{2}(?::?\d{2})?))?)?"
)
_WORD = r"(?P<month>[A-Za-z]{3,9})"
_YEAR, _SHORT_YEAR = r"(?P<year>\d{4})", r"(?P<short>\d\d)"
_NUMBER, _DAY = r"(?P<month>\d\d?)", r"(?P<day>\d\d?)"
_WEEKDAY = r"(?:[A-Za-z]{3,9},? )?"
# In this order: year first; year with only a month, quarter or week; month or day first, which the
# numbers distinguish; years of two digits; the compact form of ISO 8601; English names of months;
# Unix time.
TIME_FORMATS: dict[str, re.Pattern[str]] = {
    name: re.compile(pattern, re.ASCII)
    for name, pattern in {
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
        "yearmonth": rf"{_YEAR}(?P<month>\d{{2}})",
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
# Nanoseconds in each unit of Unix time.
_UNIX_UNITS = {
    "Unix seconds": 10**9,
    "Unix milliseconds": 10**6,
    "Unix microseconds": 10**3,
    "Unix nanoseconds": 1,
}
UNIX_FORMATS = tuple(_UNIX_UNITS)
_UNIX_FROM, _UNIX_TO = 10**18, 4_102_444_800 * 10**9  # September 2001 to 2100
_ONLY_DIGITS = ("yearmonthday", "yearmonth", *UNIX_FORMATS)  # these may be numbers as well
SHORT_YEAR_FORMATS = tuple(
    name for name, pattern in TIME_FORMATS.items() if "short" in pattern.groupindex
)
FIRST_YEAR, LAST_YEAR = 1678, 2261  # the range of 64-bit nanoseconds since 1970

MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
SHORT_MONTHS = tuple(name[:3] for name in MONTHS)
_DAY_0 = date(1970, 1, 1).toordinal()


def could_be_time(cell: str) -> bool:
    """Return True if the text has the form of a time, in any format with more than digits."""
    for name, pattern in TIME_FORMATS.items():
        match = pattern.fullmatch(cell) if name not in _ONLY_DIGITS else None
        month = match.groupdict().get("month", "1") if match else ""
        if month.isdigit() or month.lower()[:3] in SHORT_MONTHS:
            return True
    return False


def is_unix_time(cell: str) -> bool:
    """Return True if the digits are a Unix time between September 2001 and 2100."""
    if len(cell.partition(".")[0]) not in (10, 13, 16, 19):
        return False
    times = (parse_time(cell, name) for name in UNIX_FORMATS)
    time = next((time for time in times if time is not None), None)
    return time is not None and _UNIX_FROM <= time[0] < _UNIX_TO


def parse_time(cell: str, format_name: str) -> tuple[int, int | None] | None:
    """Convert a cell to (nanoseconds since 1970 in UTC, offset of its zone in minutes or None).

    The result is None if the cell is not a time in this format. Years of two digits are read
    as 2000 to 2099.

    >>> parse_time("1970-01-01 01:00+01:00", "year-month-day")
    (0, 60)
    """
    match = TIME_FORMATS[format_name].fullmatch(cell)
    if match is None:
        return None
    groups = match.groupdict()
    if "unix" in groups:
        return _unix_time(groups, _UNIX_UNITS[format_name])
    hour, minute, second = (int(groups.get(name) or 0) for name in ("hour", "minute", "second"))
    if half := groups.get("half"):
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half[0] in "Pp" else 0)
    offset = _offset_minutes(groups.get("zone"))
    try:
        day = _date(groups)
    except ValueError:  # 31 February, or a word that is not a month
        return None
    if not FIRST_YEAR <= day.year <= LAST_YEAR or hour > 23 or minute > 59 or second > 59:
        return None
    seconds = (day.toordinal() - _DAY_0) * 86_400 + (hour * 60 + minute) * 60 + second
    nanoseconds = int((groups.get("part") or "").ljust(9, "0"))
    return (seconds - (offset or 0) * 60) * 10**9 + nanoseconds, offset


def _unix_time(groups: dict[str, str], unit: int) -> tuple[int, None] | None:
    digits = len(str(unit)) - 1  # decimals of this unit down to nanoseconds
    decimals = (groups.get("part") or "")[:digits].ljust(digits, "0")
    nanoseconds = int(groups["unix"]) * unit + int(decimals or 0)
    return (nanoseconds, None) if nanoseconds < 2**63 else None


def _date(groups: dict[str, str]) -> date:
    """Return the day of a match, or the first day of its month, quarter or week.

    Raises `ValueError` if there is no such day.
    """
    year = int(groups["year"]) if "year" in groups else 2000 + int(groups["short"])
    if "week" in groups:
        return date.fromisocalendar(year, int(groups["week"]), int(groups["weekday"] or 1))
    month = 3 * int(groups["quarter"]) - 2 if "quarter" in groups else _month(groups["month"])
    return date(year, month, int(groups.get("day") or 1))


def _month(text: str) -> int:
    """Convert a number, a name or its first three letters to 1 to 12, or raise `ValueError`."""
    if text.isdigit():
        return int(text)
    word = text.lower()
    return (SHORT_MONTHS if len(word) == 3 else MONTHS).index(word) + 1


def _offset_minutes(zone: str | None) -> int | None:
    if zone is None:
        return None
    if zone in ("Z", "UTC"):
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[3:].replace(":", "") or 0)
    return -minutes if zone[0] == "-" else minutes


def zone_of(name: str) -> ZoneInfo:
    """Return the time zone of this name, or raise `ArgumentError` if there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ArgumentError(
            f"timezone is {name!r}, which is not known; expected a name like 'Europe/Berlin' "
            "(if no zone is known on this system: pip install tzdata)"
        ) from None


def say_offset(minutes: int) -> str:
    """Write an offset from UTC: "UTC", "+01:00"."""
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02d}:{rest:02d}" if minutes else "UTC"
