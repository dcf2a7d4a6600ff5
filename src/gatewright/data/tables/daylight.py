"""Times of a local clock with summer time, brought to winter time: each hour once, none missing.

A clock that is put forward leaves an hour out, one that is put back shows an hour twice. Where the
zone is not given it is recognised by that: its rules are tried on the times.
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

from gatewright.data.tables.parts import Part, say_time
from gatewright.errors import ArgumentError, DataError

# One zone for each rule by which people put their clocks: 01:00 UTC all over the European Union,
# 02:00 of the local clock in North America and in the south of Australia.
_RULES = (
    *("Europe/Berlin", "Europe/London", "Europe/Athens", "America/New_York"),
    *("Australia/Sydney", "Pacific/Auckland"),
)
_DAY = np.timedelta64(1, "D")


@dataclass(frozen=True, slots=True)
class _Change:
    """A moment at which the clock is put forward or back."""

    start: np.datetime64  # on the clock: the hour that is missing, or that comes twice,
    end: np.datetime64  # and where it ends
    forward: bool


@dataclass(frozen=True, slots=True)
class _Clock:
    """The clock of a zone over some years."""

    changes: tuple[_Change, ...]
    begins: NDArray[Any]  # (K,) when each offset begins, on the clock
    shifts: NDArray[Any]  # (K,) what brings a time of the clock to winter time


def to_winter_time(
    source: str, parts: tuple[Part, ...], timezone: str | None
) -> tuple[tuple[Part, ...], tuple[str, ...], str | None]:
    """The parts on a clock without summer time, notes, and the zone whose clock they had.

    Without `timezone` they stay as they are unless the hours that are missing or come twice are
    those of a zone's rule. Days and longer steps have no hour to shift.
    """
    if timezone is not None and any(part.times.dtype.kind != "M" for part in parts):
        raise ArgumentError(
            f"timezone={timezone!r} was given, but the times of {source} are numbers; leave it out"
        )
    if not _within_days(parts):
        return parts, (), timezone
    if timezone is not None:
        note = f"times follow the clock of {timezone}; they are kept in its winter time"
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
        f"times follow a clock with summer time, like that of {name}: they are kept in winter "
        "time, so that every hour is there once; say timezone= for another zone"
    )
    return moved, (note,), name


def _within_days(parts: Sequence[Part]) -> bool:
    """Are these times, and some of them less than a day apart?"""
    if any(part.times.dtype.kind != "M" for part in parts):
        return False
    steps = [np.abs(np.diff(part.times)) for part in parts if len(part.times) > 1]
    return any(((step < _DAY) & (step > np.timedelta64(0))).any() for step in steps)


def _is_even(times: NDArray[Any]) -> bool:
    steps = np.diff(times)
    return len(steps) < 2 or bool((steps == steps[0]).all() and steps[0] > np.timedelta64(0))


def _recognised(parts: Sequence[Part]) -> str | None:
    """The zone that explains most of what is missing and what comes twice, and is never wrong."""
    scores = {}
    for name in _RULES:
        try:
            clock = _clock_of(name, parts)
        except ZoneInfoNotFoundError:  # a system without zones, on which timezone= says so
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


def _judge(part: Part, change: _Change) -> list[bool]:
    """[True] where the times of a part fit a change of the clock, [False] where not, [] unknown."""
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


def _shifted(source: str, parts: Sequence[Part], name: str) -> tuple[Part, ...]:
    """The parts in the winter time of a zone."""
    clock = _clock_of(name, parts)
    return tuple(replace(part, times=_in_winter_time(source, part, clock, name)) for part in parts)


def _in_winter_time(source: str, part: Part, clock: _Clock, name: str) -> NDArray[Any]:
    times = part.times
    which = np.maximum(np.searchsorted(clock.begins, times, side="right") - 1, 0)
    for change in clock.changes:
        inside = np.flatnonzero((times >= change.start) & (times < change.end))
        if not len(inside):
            continue
        if change.forward:
            raise DataError(
                f"{source}: {say_time(times[inside[0]])} is not on the clock of {name}, which was "
                "put forward over it; say another timezone=, or correct the time"
            )
        # The hour comes twice. `begins` counts it to the time after the change already; what
        # comes before the rows go back belongs to the time before it.
        back = np.flatnonzero(np.diff(times[inside]) <= np.timedelta64(0))
        first = inside[: back[0] + 1] if len(back) else inside
        which[first] = np.maximum(which[first] - 1, 0)
    return np.asarray(times + clock.shifts[which])


def _clock_of(name: str, parts: Sequence[Part]) -> _Clock:
    ends = [
        end for part in parts if len(part.times) for end in (part.times.min(), part.times.max())
    ]
    years = np.array(ends).astype("datetime64[Y]").astype(int) + 1970
    return _clock(name, int(years.min()) - 1, int(years.max()) + 1)


@lru_cache(maxsize=64)
def _clock(name: str, first: int, last: int) -> _Clock:
    """The clock of a zone from the first day of one year to that of another."""
    zone = ZoneInfo(name)
    start, end = datetime(first, 1, 1, tzinfo=UTC), datetime(last + 1, 1, 1, tzinfo=UTC)
    winter = _winter_offset(zone, end)
    begins = [_plain(start, _offset(zone, start))]
    shifts = [winter - _offset(zone, start)]
    changes = []
    moment = start
    while moment < end:
        later = moment + timedelta(days=7)
        before, after = _offset(zone, moment), _offset(zone, later)
        if before != after:
            instant = _instant(zone, moment, later)
            low, high = sorted((_plain(instant, before), _plain(instant, after)))
            changes.append(_Change(low, high, after > before))
            begins.append(_plain(instant, after))
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


def _instant(zone: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The moment between two at which the offset changes, to the minute."""
    old = _offset(zone, low)
    while high - low > timedelta(minutes=1):
        middle = low + timedelta(minutes=int((high - low) / timedelta(minutes=2)))
        low, high = (middle, high) if _offset(zone, middle) == old else (low, middle)
    return high


def _plain(moment: datetime, offset: timedelta) -> np.datetime64:
    return np.datetime64((moment + offset).replace(tzinfo=None), "ns")
