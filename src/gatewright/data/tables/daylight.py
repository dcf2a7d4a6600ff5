"""Convert times of a local clock with summer time to winter time: each hour is present once.

A clock that is put forward skips an hour, one that is put back shows an hour twice. If the zone is
not given, it is recognised by these hours: the rules of some zones are tried on the times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from gatewright.data.tables.parts import TablePart, say_time
from gatewright.errors import ArgumentError, DataError

# One zone for each rule of changing the clock: at 01:00 UTC in the whole European Union, at 02:00
# of the local clock in North America and in the south of Australia.
_RULES = (
    *("Europe/Berlin", "Europe/London", "Europe/Athens", "America/New_York"),
    *("Australia/Sydney", "Pacific/Auckland"),
)
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, slots=True)
class _Change:
    """A change of the clock, forward or back."""

    start: np.datetime64  # start of the hour that is missing or comes twice, on the clock
    end: np.datetime64  # end of this hour
    forward: bool


@dataclass(frozen=True, slots=True)
class _Clock:
    """The clock of a zone over some years."""

    changes: tuple[_Change, ...]
    begins: NDArray[Any]  # (K,) the start of each offset, on the clock
    shifts: NDArray[Any]  # (K,) added to times of the clock to get winter time


def to_winter_time(
    source: str, parts: tuple[TablePart, ...], timezone: str | None
) -> tuple[tuple[TablePart, ...], tuple[str, ...], str | None]:
    """Convert the parts to winter time; return them, notes, and the zone of their clock.

    Without `timezone` they change only if the missing and double hours follow the rule of a
    zone. Days and longer steps have no hour to shift.
    """
    if timezone is not None and any(part.times.dtype.kind != "M" for part in parts):
        raise ArgumentError(
            f"timezone={timezone!r} was given, but the times of {source} are numbers; leave it out"
        )
    if not _within_days(parts):
        return parts, (), timezone
    if timezone is not None:
        note = f"times follow the clock of {timezone}; they are converted to its winter time"
        return _shifted(source, parts, timezone), (note,), timezone
    if all(_is_even(part.times) for part in parts):
        return parts, (), None
    name = _recognised(parts)
    if name is None:
        return parts, (), None
    moved = _shifted(source, parts, name)
    if not all((np.diff(part.times) > np.timedelta64(0)).all() for part in moved):
        return parts, (), None
    note = (
        f"times follow a clock with summer time, like that of {name}: they are converted to "
        "winter time, in which every hour comes once; pass timezone= for another zone"
    )
    return moved, (note,), name


def _within_days(parts: Sequence[TablePart]) -> bool:
    """Return True for times of which some are less than a day apart."""
    if any(part.times.dtype.kind != "M" for part in parts):
        return False
    steps = [np.abs(np.diff(part.times)) for part in parts if len(part.times) > 1]
    return any(((step < _DAY) & (step > np.timedelta64(0))).any() for step in steps)


def _is_even(times: NDArray[Any]) -> bool:
    steps = np.diff(times)
    return len(steps) < 2 or bool((steps == steps[0]).all() and steps[0] > np.timedelta64(0))


def _recognised(parts: Sequence[TablePart]) -> str | None:
    """Return the zone that explains most missing and double hours and contradicts none."""
    scores = {}
    for name in _RULES:
        try:
            clock = _clock_of(name, parts)
        except ZoneInfoNotFoundError:  # a system without zones; `timezone` would report it
            continue
        verdicts = [
            verdict
            for part in parts
            for change in clock.changes
            for verdict in _judge(part, change)
        ]
        if verdicts and all(verdicts):
            scores[name] = len(verdicts)
    return max(scores, key=lambda name: scores[name]) if scores else None


def _judge(part: TablePart, change: _Change) -> list[bool]:
    """Return [True] if the times fit a change of the clock, [False] if not, [] if unknown."""
    times = part.times
    if not len(times) or times.max() < change.start or times.min() >= change.end:
        return []
    inside = np.flatnonzero((times >= change.start) & (times < change.end))
    if change.forward:
        if len(inside):
            return [False]
        before, after = times[times < change.start], times[times >= change.end]
        if not len(before) or not len(after):
            return []
        missing = change.end - change.start
        usual = np.median(np.abs(np.diff(times)).astype(np.int64)).astype("timedelta64[ns]")
        return [True] if after.min() - before.max() == usual + missing else []
    if not len(inside) or times.max() < change.end or times.min() >= change.start:
        return []
    return [bool((np.diff(times[inside]) <= np.timedelta64(0)).sum() == 1)]


def _shifted(source: str, parts: Sequence[TablePart], name: str) -> tuple[TablePart, ...]:
    """Convert the parts to the winter time of a zone."""
    clock = _clock_of(name, parts)
    return tuple(replace(part, times=_in_winter_time(source, part, clock, name)) for part in parts)


def _in_winter_time(source: str, part: TablePart, clock: _Clock, name: str) -> NDArray[Any]:
    times = part.times
    offsets = np.maximum(np.searchsorted(clock.begins, times, side="right") - 1, 0)  # (T,)
    for change in clock.changes:
        inside = np.flatnonzero((times >= change.start) & (times < change.end))
        if not len(inside):
            continue
        if change.forward:
            raise DataError(
                f"{source}: {say_time(times[inside[0]])} does not exist on the clock of {name}, "
                "which was put forward over it; pass another timezone=, or correct the time"
            )
        # The hour comes twice, and `begins` assigns all of its rows to the new offset. The rows
        # before the times fall belong to the old one.
        falls = np.flatnonzero(np.diff(times[inside]) <= np.timedelta64(0))
        first_pass = inside[: falls[0] + 1] if len(falls) else inside
        offsets[first_pass] = np.maximum(offsets[first_pass] - 1, 0)
    return np.asarray(times + clock.shifts[offsets])


def _clock_of(name: str, parts: Sequence[TablePart]) -> _Clock:
    ends = [
        end for part in parts if len(part.times) for end in (part.times.min(), part.times.max())
    ]
    years = np.array(ends).astype("datetime64[Y]").astype(int) + 1970
    return _clock(name, int(years.min()) - 1, int(years.max()) + 1)


@lru_cache(maxsize=64)
def _clock(name: str, first: int, last: int) -> _Clock:
    """Return the clock of a zone in the years `first` to `last`."""
    zone = ZoneInfo(name)
    start, end = datetime(first, 1, 1, tzinfo=UTC), datetime(last + 1, 1, 1, tzinfo=UTC)
    winter = _winter_offset(zone, end)
    begins = [_local_time(start, _offset(zone, start))]
    shifts = [winter - _offset(zone, start)]
    changes = []
    moment = start
    while moment < end:
        later = moment + timedelta(days=7)
        before, after = _offset(zone, moment), _offset(zone, later)
        if before != after:
            change = _find_change(zone, moment, later)
            low, high = sorted((_local_time(change, before), _local_time(change, after)))
            changes.append(_Change(low, high, after > before))
            begins.append(_local_time(change, after))
            shifts.append(winter - after)
        moment = later
    return _Clock(
        tuple(changes), np.array(begins), np.array(shifts, dtype="timedelta64[us]").astype("m8[ns]")
    )


def _offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def _winter_offset(zone: ZoneInfo, moment: datetime) -> timedelta:
    local = moment.astimezone(zone)
    return (local.utcoffset() or timedelta(0)) - (local.dst() or timedelta(0))


def _find_change(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """Find the moment between two at which the offset changes, to the minute, by bisection."""
    old = _offset(zone, low)
    while high - low > timedelta(minutes=1):
        middle = low + timedelta(minutes=int((high - low) / timedelta(minutes=2)))
        low, high = (middle, high) if _offset(zone, middle) == old else (low, middle)
    return high


def _local_time(moment: datetime, offset: timedelta) -> np.datetime64:
    return np.datetime64((moment + offset).replace(tzinfo=None), "ns")
