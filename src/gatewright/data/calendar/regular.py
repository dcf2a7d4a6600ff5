"""The regular step of times, and the gaps in it."""

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
    """Steps that are missing between two that are present."""

    after: int  # the position of the last step before the gap
    steps: int  # the number of missing steps


def find_period(times: Sequence[NDArray[Any]]) -> tuple[Period, tuple[int, int] | None]:
    """Return the most common step between neighbours, and the first place that breaks it.

    Days without any Saturday or Sunday, in series that cross weekends, are weekdays.

    Every distance must be one step or several (a gap). If one is not, the times are irregular:
    the period is None and the place is (series, position before the odd distance). Fewer than
    two times show nothing: (None, None).

    >>> find_period([np.array([0, 2, 4, 8])])
    (2.0, None)
    >>> find_period([np.array([0, 2, 4, 7])])
    (None, (0, 2))
    """
    # Series of one step show no distance.
    positions = [position for position, own in enumerate(times) if len(own) > 1]
    longer = [times[position] for position in positions]
    if not longer:
        return None, None
    if _are_weekdays(longer):
        return "weekday", None
    if _are_half_months(longer):
        return "half month", None
    in_months = [months for own in longer if (months := _months_between(own)) is not None]
    monthly = len(in_months) == len(longer)
    distances = in_months if monthly else [np.diff(own) for own in longer]
    joined = np.concatenate(distances)
    values, counts = np.unique(_as_numbers(joined), return_counts=True)
    common = values[np.argmax(counts)]
    for position, own in zip(positions, distances, strict=True):
        ratio = _as_numbers(own) / common
        odd = np.flatnonzero((np.abs(ratio - np.round(ratio)) > 1e-6) | (np.round(ratio) < 1))
        if len(odd):
            return None, (position, int(odd[0]))
    if monthly:
        return int(common) * _MONTH, None
    if joined.dtype.kind == "m":
        return np.timedelta64(int(common), "ns"), None
    return float(common), None


def find_gaps(times: NDArray[Any], period: Step) -> list[Gap]:
    """Return the gaps of one series with this period."""
    steps = np.diff(step_numbers(times, period))
    return [Gap(int(index), int(steps[index]) - 1) for index in np.flatnonzero(steps > 1)]


def without_gaps(times: NDArray[Any], period: Step) -> NDArray[Any]:
    """Return all times from the first to the last, including the missing ones."""
    numbers = step_numbers(times, period)
    complete = times_at(times, period, np.arange(numbers[-1] + 1))
    complete[numbers] = times  # keeps floats exactly as they were written
    return complete


def _are_weekdays(times: Sequence[NDArray[Any]]) -> bool:
    """Return True if each series has only weekdays, mostly the next one, and crosses weekends."""
    if any(own.dtype.kind != "M" for own in times):
        return False
    days = [own.astype("datetime64[D]") for own in times]
    if _clock_times(times) > 1 or not all(np.is_busday(day).all() for day in days):
        return False
    steps = np.concatenate([np.busday_count(day[:-1], day[1:]) for day in days])
    distances = np.concatenate([np.diff(day).astype(np.int64) for day in days])
    over_weekend = (steps == 1) & (distances == 3)
    return bool(over_weekend.any() and 2 * (steps == 1).sum() > len(steps))


def _are_half_months(times: Sequence[NDArray[Any]]) -> bool:
    """Return True if all are two days of each month, such as the 1st and the 15th, at one time."""
    if any(own.dtype.kind != "M" for own in times):
        return False
    days = [own.astype("datetime64[D]") for own in times]
    uneven = any(len(np.unique(np.diff(day))) > 1 for day in days)  # fortnights are even
    return (
        uneven and _clock_times(times) == 1 and all(half_months_of(day) is not None for day in days)
    )


def _clock_times(times: Sequence[NDArray[Any]]) -> int:
    """Count the different times of the day."""
    joined = np.concatenate(times)
    return len(np.unique(joined - joined.astype("datetime64[D]")))


def _months_between(times: NDArray[Any]) -> NDArray[Any] | None:
    """Count the months between neighbours, if all times follow one rule in their month."""
    if times.dtype.kind != "M" or np.diff(times).min() < _SHORTEST_MONTH:
        return None
    days = times.astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    if (times - days != times[0] - days[0]).any() or month_day_of(days) is None:
        return None
    distances = np.diff(months)
    return distances if (distances > np.timedelta64(0, "M")).all() else None


def _as_numbers(distances: NDArray[Any]) -> NDArray[Any]:
    """Return distances as numbers; floats are rounded, since 0.3 - 0.2 is not 0.1."""
    if distances.dtype.kind == "m":
        return distances.astype(np.int64)
    if distances.dtype.kind == "f":
        with np.errstate(divide="ignore", invalid="ignore"):
            digits = 9 - np.ceil(np.log10(np.abs(distances))).astype(np.float64)
            rounded = np.round(distances * 10.0**digits) / 10.0**digits
        return np.where(np.isfinite(rounded), rounded, distances)
    return distances
