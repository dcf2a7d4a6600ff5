"""Columns of times, read in the one format that fits all cells; in UTC, or without a zone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.missing import is_missing
from gatewright.data.columns.time_format import (
    SHORT_YEAR_FORMATS,
    TIME_FORMATS,
    UNIX_FORMATS,
    parse_time,
    say_offset,
)

_NAT = np.iinfo(np.int64).min  # numpy's value for "not a time"

# Most files use this form in every cell, and numpy converts all of them in one call.
_ISO_FORMAT = "year-month-day"
_ISO_LINES = re.compile(
    r"(?:(?:1[7-9]|2[01])\d\d-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?)?\n)*", re.ASCII
)


def _convert_iso(cells: Sequence[str]) -> NDArray[np.int64] | None:
    """Convert cells that are all ISO dates without a zone; None if one of them is not."""
    if _ISO_LINES.fullmatch("\n".join(cells) + "\n") is None:
        return None
    try:
        return np.array(cells, dtype="datetime64[ns]").view(np.int64)
    except ValueError:  # 31 February
        return None


class TimeColumn:
    """A column of times, in the one format that fits all of its cells.

    Several formats may fit at first (1/2/2024); a later cell rules out those that are wrong.
    """

    def __init__(self, format_names: tuple[str, ...] = tuple(TIME_FORMATS)) -> None:
        # By format: chunks of nanoseconds since 1970, and of zone offsets in minutes.
        self._times: dict[str, list[NDArray[np.int64]]] = {name: [] for name in format_names}
        self._offsets: dict[str, list[NDArray[np.int16]]] = {name: [] for name in format_names}
        self._zones: dict[int | None, int] = {}  # offset -> the first row that has it
        self._even: str | None = None  # the format, if only even steps decided it

    @property
    def zoned(self) -> bool:
        """True if the times have a zone."""
        return any(offset is not None for offset in self._zones)

    def add(self, cells: Sequence[str], first_row: int) -> tuple[int, str] | None:
        """Convert the next cells; return (row, what is wrong there) for one that fits nothing.

        A missing cell becomes NaT.
        """
        failed: tuple[int, str] | None = None
        times = _convert_iso(cells) if _ISO_FORMAT in self._times else None
        if times is not None:
            self._times = {_ISO_FORMAT: [*self._times[_ISO_FORMAT], times]}
            offsets = np.zeros(len(cells), np.int16)
            self._offsets = {_ISO_FORMAT: [*self._offsets[_ISO_FORMAT], offsets]}
            self._zones.setdefault(None, first_row)
            return None
        for name in list(self._times):
            times = np.full(len(cells), _NAT, dtype=np.int64)
            offsets = np.zeros(len(cells), dtype=np.int16)
            zones: dict[int | None, int] = {}
            for index, cell in enumerate(cells):
                if is_missing(cell):
                    continue
                parsed = parse_time(cell.strip(), name)
                if parsed is None:
                    fact = f"{cell!r} is not a time like the others, which are written as {name}"
                    problem = (first_row + index, fact)
                    # The format that fits the most cells shows best what is wrong.
                    failed = max(failed or problem, problem)
                    del self._times[name], self._offsets[name]
                    break
                times[index], offset = parsed
                offsets[index] = offset or 0
                zones.setdefault(offset, first_row + index)
            else:
                self._times[name].append(times)
                self._offsets[name].append(offsets)
                self._zones = zones | self._zones
        return None if self._times else failed

    def problem(self) -> tuple[int, str] | None:
        """Return a fault of the whole column: day and month that may be swapped, mixed zones."""
        self._prefer_even()
        for (name, times), (other_name, other_times) in pairwise(self._joined().items()):
            different = np.flatnonzero(times != other_times)
            if len(different):
                return int(different[0]), (
                    f"may be {name} or {other_name}, and no cell of the column decides it; "
                    "write the times as year-month-day"
                )
        if None in self._zones and len(self._zones) > 1:
            zoned = next(row for offset, row in self._zones.items() if offset is not None)
            return max(zoned, self._zones[None]), (
                "has a time zone and other times have none"
                if zoned > self._zones[None]
                else "has no time zone and other times have one"
            ) + "; write all times with their zone, or none"
        return None

    def _prefer_even(self) -> None:
        """Keep the only format in which the times are evenly spaced, if there is one.

        1/1/1957, 2/1/1957, ..., 12/1/1957, 1/1/1958 are months, since as days they would leap.
        """
        joined = self._joined()
        even = [name for name, times in joined.items() if _are_even(times)]
        if len(joined) > 1 and len(even) == 1:
            self._times, self._even = {even[0]: self._times[even[0]]}, even[0]

    def notes(self) -> tuple[str, ...]:
        """Return notes on the form, the centuries, the unit of Unix time and the zones."""
        notes = []
        name = next(iter(self._times))
        if self._even:
            notes.append(f"its times are read as {name}, which makes them evenly spaced")
        if name in SHORT_YEAR_FORMATS:
            years = self.result().astype("datetime64[Y]")
            years = years[~np.isnat(years)]
            if len(years):
                notes.append(f"years of two digits are read as {years.min()} to {years.max()}")
        if name in UNIX_FORMATS:
            notes.append(f"its numbers are read as {name} (the time since 1970)")
        zones = [say_offset(offset) for offset in self._zones if offset is not None]
        if zones and self._keeps_hour(name):
            notes.append(f"times stay on their local clock, with the zones {', '.join(zones)}")
        elif zones and set(zones) != {"UTC"}:
            notes.append(f"zones {', '.join(zones)} are converted to UTC")
        return tuple(notes)

    def result(self) -> NDArray[Any]:
        """Return the column, (rows,) datetime64[ns], NaT where a time is missing."""
        name, times = next(iter(self._joined().items()))
        if self.zoned and self._keeps_hour(name):
            return self._local_times(name)
        return times.view("datetime64[ns]")

    def _local_times(self, name: str) -> NDArray[Any]:
        """Return the times on the local clock of their zone, (rows,)."""
        offsets = np.concatenate([np.empty(0, np.int16), *self._offsets[name]])
        times = self._joined()[name].view("datetime64[ns]")
        return np.asarray(times + offsets.astype("timedelta64[m]"))

    def _keeps_hour(self, name: str) -> bool:
        """Return True for days, weeks or months: at the same hour of their local clock.

        In UTC the distance would differ by an hour where summer time begins or ends.
        """
        return same_hour(self._local_times(name))

    def _joined(self) -> dict[str, NDArray[np.int64]]:
        """The whole column by format, years of two digits in their century."""
        empty = [np.empty(0, dtype=np.int64)]
        joined = {name: np.concatenate(empty + chunks) for name, chunks in self._times.items()}
        return {
            name: _set_century(times) if name in SHORT_YEAR_FORMATS else times
            for name, times in joined.items()
        }


def same_hour(times: NDArray[Any]) -> bool:
    """Return True if there are several days, each at the same time of the day."""
    times = times[~np.isnat(times)]
    days = times.astype("datetime64[D]")
    return len(np.unique(days)) > 1 and len(np.unique(times - days)) == 1


def _are_even(nanoseconds: NDArray[np.int64]) -> bool:
    """Return True if the different times are as many days, or months, apart everywhere."""
    days = (
        np.unique(nanoseconds[nanoseconds != _NAT]).view("datetime64[ns]").astype("datetime64[D]")
    )
    months = days.astype("datetime64[M]")
    if len(days) < 3:
        return False
    same_day = len(np.unique(days - months.astype("datetime64[D]"))) == 1
    return len(np.unique(np.diff(days))) == 1 or (same_day and len(np.unique(np.diff(months))) == 1)


def _set_century(nanoseconds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Move times that were read as 2000 to 2099 to the century that they belong to.

    The years follow each other around the largest gap between them, and the last of them is not
    later than next year: 95 to 05 are 1995 to 2005, and 49 to 60 are 1949 to 1960.
    """
    times = nanoseconds.view("datetime64[ns]")
    present = ~np.isnat(times)
    if not present.any():
        return nanoseconds
    months = times.astype("datetime64[M]")
    short_years = np.where(present, months.astype(np.int64) // 12 + 1970 - 2000, 0)  # 0 to 99
    years = np.unique(short_years[present])
    gaps = np.diff(np.append(years, years[0] + 100))
    first_year = years[(int(np.argmax(gaps)) + 1) % len(years)]
    centuries = np.where(short_years < first_year, 1, 0)
    last_year = int((short_years + 100 * centuries)[present].max()) + 2000
    next_year = date.today().year + 1
    if last_year > next_year:
        centuries -= -(-(last_year - next_year) // 100)  # rounded up
    moved = (months + 1200 * centuries).astype("datetime64[ns]") + (times - months)
    return np.where(present, moved, times).view(np.int64)
