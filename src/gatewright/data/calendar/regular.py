"""The regular step that times keep to, and where they leave some out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.calendar.month_days import half_months_of, month_day_of
from gatewright.data.calendar.periods import Period, Step, step_numbers, times_at

_MONTH = np.timedelta64(1, "M")
_SHORTEST_MONTH = np.timedelta64(25, "D")  # from one last working day to the next


@dataclass(frozen=True, slots=True)
class Gap:
    """Steps that are missing between two that are there."""

    after: int  # the position of the last step before it
    steps: int  # how many are missing


def find_period(times: Sequence[NDArray[Any]]) -> tuple[Period, tuple[int, int] | None]:
    """The step that most neighbours of all series are apart, and the first place that breaks it.

    Days of which none is a Saturday or a Sunday, though weekends lie between, are weekdays.

    Every distance must be one such step or several (a gap). Where one is not, the times are
    irregular: the period is None, and the place is (which series, the position after which
    the odd distance follows). With fewer than two times nothing is known: (None, None).

    >>> find_period([np.array([0, 2, 4, 8])])
    (2.0, None)
    >>> find_period([np.array([0, 2, 4, 7])])
    (None, (0, 2))
    """
    if _are_weekdays([one for one in times if len(one) > 1]):
        return "weekday", None
    if _are_half_months([one for one in times if len(one) > 1]):
        return "half month", None
    monthly = [_months_between(one) for one in times]
    months = any(one is not None for one in monthly) and all(
        own is not None or len(one) < 2 for own, one in zip(monthly, times, strict=True)
    )
    counted = [
        own if months and own is not None else np.diff(one)
        for own, one in zip(monthly, times, strict=True)
        if len(one) > 1
    ]
    where = [series for series, one in enumerate(times) if len(one) > 1]
    if not counted:
        return None, None
    joined = np.concatenate(counted)
    values, counts = np.unique(_comparable(joined), return_counts=True)
    common = values[np.argmax(counts)]
    for series, distances in zip(where, counted, strict=True):
        ratio = _comparable(distances) / common
        odd = np.flatnonzero((np.abs(ratio - np.round(ratio)) > 1e-6) | (np.round(ratio) < 1))
        if len(odd):
            return None, (series, int(odd[0]))
    if months:
        return int(common) * _MONTH, None
    if joined.dtype.kind == "m":
        return np.timedelta64(int(common), "ns"), None
    return float(common), None


def find_gaps(times: NDArray[Any], period: Step) -> list[Gap]:
    """Where steps of this period are missing in one series."""
    steps = np.diff(step_numbers(times, period))
    return [Gap(int(at), int(steps[at]) - 1) for at in np.flatnonzero(steps > 1)]


def without_gaps(times: NDArray[Any], period: Step) -> NDArray[Any]:
    """All times from the first to the last, those that were left out among them."""
    numbers = step_numbers(times, period)
    every = times_at(times, period, np.arange(numbers[-1] + 1))
    every[numbers] = times  # floats as they were written
    return every


def _are_weekdays(times: Sequence[NDArray[Any]]) -> bool:
    """Does each of these go from weekday to weekday, most often to the next, over weekends too?"""
    if not times or any(one.dtype.kind != "M" for one in times):
        return False
    days = [one.astype("datetime64[D]") for one in times]
    clock = {int(at) for one, day in zip(times, days, strict=True) for at in np.unique(one - day)}
    if len(clock) > 1 or not all(np.is_busday(day).all() for day in days):
        return False
    steps = np.concatenate([np.busday_count(day[:-1], day[1:]) for day in days])
    apart = np.concatenate([np.diff(day).astype(np.int64) for day in days])
    over_weekend = (steps == 1) & (apart == 3)
    return bool(over_weekend.any() and 2 * (steps == 1).sum() > len(steps))


def _are_half_months(times: Sequence[NDArray[Any]]) -> bool:
    """Are all of these, at one time of the day, two days of each month, such as 1st and 15th?"""
    if not times or any(one.dtype.kind != "M" for one in times):
        return False
    days = [one.astype("datetime64[D]") for one in times]
    clock = {int(at) for one, day in zip(times, days, strict=True) for at in np.unique(one - day)}
    uneven = any(len(np.unique(np.diff(day))) > 1 for day in days)  # fortnights are even
    return uneven and len(clock) == 1 and all(half_months_of(day) is not None for day in days)


def _months_between(times: NDArray[Any]) -> NDArray[Any] | None:
    """Count the months between neighbours, if all times follow one rule in their month."""
    if times.dtype.kind != "M" or len(times) < 2 or np.diff(times).min() < _SHORTEST_MONTH:
        return None
    days = times.astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    if (times - days != times[0] - days[0]).any() or month_day_of(days) is None:
        return None
    apart = np.diff(months)
    return apart if (apart > np.timedelta64(0, "M")).all() else None


def _comparable(distances: NDArray[Any]) -> NDArray[Any]:
    """As numbers; floats rounded, since 0.3 - 0.2 is not 0.1."""
    if distances.dtype.kind == "m":
        return distances.astype(np.int64)
    if distances.dtype.kind == "f":
        with np.errstate(divide="ignore", invalid="ignore"):
            digits = 9 - np.ceil(np.log10(np.abs(distances))).astype(np.float64)
            rounded = np.round(distances * 10.0**digits) / 10.0**digits
        return np.where(np.isfinite(rounded), rounded, distances)
    return distances
