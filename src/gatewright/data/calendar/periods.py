"""Regular steps of time: the times that follow, the step in words, its season and its calendar."""

from __future__ import annotations

from typing import Any, Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray

from gatewright.data.calendar.month_days import half_months_of, month_day_of

# "weekday": from Monday to Friday, one after the other; "half month": two days of each month.
Step = np.timedelta64 | float | Literal["weekday", "half month"]
Period = Step | None  # None: irregular

_DAY = np.timedelta64(1, "D")
_UNITS = (
    ("week", np.timedelta64(7, "D")),
    ("day", _DAY),
    ("hour", np.timedelta64(1, "h")),
    ("minute", np.timedelta64(1, "m")),
    ("second", np.timedelta64(1, "s")),
    ("millisecond", np.timedelta64(1, "ms")),
    ("microsecond", np.timedelta64(1, "us")),
    ("nanosecond", np.timedelta64(1, "ns")),
)

# The cycles of daily life and their lengths. A year has 365.2425 days.
CYCLES: dict[str, np.timedelta64] = {
    "hour of day": _DAY,
    "day of week": np.timedelta64(7, "D"),
    "day of year": np.timedelta64(31_556_952, "s"),
}


def is_months(period: Period) -> TypeGuard[np.timedelta64]:
    """Return True for a step of calendar months, which differ in length."""
    return isinstance(period, np.timedelta64) and np.datetime_data(period)[0] in ("M", "Y")


def say_period(period: Period) -> str:
    """Write a step in words.

    >>> say_period(np.timedelta64(2, "h")), say_period(np.timedelta64(12, "M")), say_period(None)
    ('2 hours', '1 year', 'irregular')
    """
    if period is None:
        return "irregular"
    if isinstance(period, str):
        return f"1 {period}"
    if not isinstance(period, np.timedelta64):
        count, unit = period, "step"
    elif is_months(period):
        count, unit = int(period / np.timedelta64(1, "M")), "month"
        if count % 12 == 0:
            count, unit = count // 12, "year"
    else:
        unit, size = next(known for known in _UNITS if period % known[1] == np.timedelta64(0, "ns"))
        count = int(period / size)
    return f"{count:g} {unit}{'' if count == 1 else 's'}"


def season_of(period: Period) -> int | None:
    """Return the number of steps in the usual season, or None.

    The season of steps below a day is the day, that of days the week, that of longer steps the
    year.

    >>> season_of(np.timedelta64(1, "h")), season_of(np.timedelta64(1, "D")), season_of("weekday")
    (24, 7, 5)
    >>> season_of(np.timedelta64(1, "M")), season_of(1.0) is None
    (12, True)
    """
    if isinstance(period, str):
        return 5 if period == "weekday" else 24
    if not isinstance(period, np.timedelta64):
        return None
    if is_months(period):
        months = int(period / np.timedelta64(1, "M"))
        return 12 // months if months < 12 and 12 % months == 0 else None
    for season in (np.timedelta64(1, "m"), np.timedelta64(1, "D"), np.timedelta64(7, "D")):
        # The season of steps below a minute is the minute.
        if period < season and season % period == np.timedelta64(0, "ns"):
            return int(season / period)
    return 52 if period == np.timedelta64(7, "D") else None


def times_after(times: NDArray[Any], period: Step, steps: int) -> NDArray[Any]:
    """Return the next times (steps,) after the last of `times`, `period` apart.

    Months are calendar months, and `times` show the rule for the day: 30 January is followed by
    the last day of February and by 30 March, a month end by the next month end, a last working
    day by the next last working day.

    >>> ends = np.array(["2023-03-31", "2023-04-30"], dtype="datetime64[ns]")
    >>> times_after(ends, np.timedelta64(1, "M"), 2).astype("datetime64[D]")
    array(['2023-05-31', '2023-06-30'], dtype='datetime64[D]')
    """
    numbers = np.arange(1, steps + 1)
    if not isinstance(period, str) and not is_months(period):
        return np.asarray(times[-1] + _multiples(period, numbers, times.dtype))
    return times_at(times, period, numbers + step_numbers(times, period)[-1])


def times_at(times: NDArray[Any], period: Step, numbers: NDArray[np.int64]) -> NDArray[Any]:
    """Return the times that are these numbers of steps after the first of `times`."""
    if not isinstance(period, str) and not is_months(period):
        return np.asarray(times[0] + _multiples(period, numbers, times.dtype))
    day = times.astype("datetime64[D]")
    if period == "weekday":
        following = np.busday_offset(day[0], numbers, roll="forward")
    elif period == "half month":
        rules = half_months_of(day)
        assert rules is not None  # `find_period` has checked it
        second = int(day[0] != rules[0](day[:1].astype("datetime64[M]"))[0])
        month = day[0].astype("datetime64[M]") + (numbers + second) // 2
        early = (numbers + second) % 2 == 0
        following = np.where(early, rules[0](month), rules[1](month))
    else:
        rule = month_day_of(day)
        assert rule is not None
        months = period.astype("timedelta64[M]")
        following = rule(day[0].astype("datetime64[M]") + numbers * months)
    return np.asarray(following.astype("datetime64[ns]") + (times[0] - day[0]))


def step_numbers(times: NDArray[Any], period: Step) -> NDArray[np.int64]:
    """Return the number of periods from the first time to each one, (T,)."""
    if period == "weekday":
        days = times.astype("datetime64[D]")
        weekdays: NDArray[np.int64] = np.busday_count(days[0], days)
        return weekdays
    if period == "half month":
        days = times.astype("datetime64[D]")
        months = days.astype("datetime64[M]")
        rules = half_months_of(days)
        assert rules is not None
        halves = 2 * months.astype(np.int64) + (days != rules[0](months))
        return np.asarray(halves - halves[0])
    assert not isinstance(period, str)
    if is_months(period):
        times = times.astype("datetime64[M]")
    numbers: NDArray[np.int64] = np.round((times - times[0]) / period).astype(np.int64)
    return numbers


def _multiples(
    period: np.timedelta64 | float, numbers: NDArray[np.int64], dtype: np.dtype[Any]
) -> Any:
    return numbers * (int(period) if dtype.kind in "iu" else period)


def cycles_of(period: Period, span: np.timedelta64) -> tuple[str, ...]:
    """Return the `CYCLES` that last at least two steps and fit into the span of a series."""
    step = period if isinstance(period, np.timedelta64) else np.timedelta64(0, "ns")
    if isinstance(period, str):
        step = _DAY if period == "weekday" else 15 * _DAY
    if is_months(step):
        step = int(step / np.timedelta64(1, "M")) * np.timedelta64(30, "D")
    return tuple(name for name, length in CYCLES.items() if 2 * step <= length <= span)


def calendar_values(times: NDArray[Any], cycles: tuple[str, ...]) -> NDArray[np.float64]:
    """Return the sine and cosine of the phase of each time in each cycle, (T, 2 × cycles).

    >>> noon = np.array(["2024-01-01T12:00"], dtype="datetime64[ns]")
    >>> calendar_values(noon, ("hour of day",)).round(6) + 0.0
    array([[ 0., -1.]])
    """
    columns = []
    for cycle in cycles:
        if cycle == "day of year":  # from one New Year to the next, so that leap years fit
            year = times.astype("datetime64[Y]")
            start, end = year.astype("datetime64[ns]"), (year + 1).astype("datetime64[ns]")
            phase = (times - start) / (end - start)
        else:
            # Counted from midnight of a Monday, so that weeks start on Monday.
            elapsed = times - np.datetime64("1969-12-29", "ns")
            phase = (elapsed % CYCLES[cycle]) / CYCLES[cycle]
        columns += [np.sin(2 * np.pi * phase), np.cos(2 * np.pi * phase)]
    return np.stack(columns, axis=1) if columns else np.empty((len(times), 0))


def calendar_names(cycles: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of the columns of `calendar_values`."""
    return tuple(f"{cycle} ({wave})" for cycle in cycles for wave in ("sin", "cos"))
