"""Regular steps of time: what follows the last one, its name in words, its season, its calendar."""

from __future__ import annotations

from typing import Any, Literal, TypeGuard

import numpy as np
from numpy.typing import NDArray

Step = np.timedelta64 | float | Literal["weekday"]  # from Monday to Friday, one after the other
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

# The cycles that people live by, and how long each is. A year is taken as 365.2425 days.
CYCLES: dict[str, np.timedelta64] = {
    "hour of day": _DAY,
    "day of week": np.timedelta64(7, "D"),
    "day of year": np.timedelta64(31_556_952, "s"),
}


def is_months(period: Period) -> TypeGuard[np.timedelta64]:
    """Is it a step in calendar months, whose length in days changes?"""
    return isinstance(period, np.timedelta64) and np.datetime_data(period)[0] in ("M", "Y")


def say_period(period: Period) -> str:
    """A step in words.

    >>> say_period(np.timedelta64(2, "h")), say_period(np.timedelta64(12, "M")), say_period(None)
    ('2 hours', '1 year', 'irregular')
    """
    if period is None:
        return "irregular"
    if period == "weekday":
        return "1 weekday"
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
    """How many steps the usual season has: a day below a day, a week of days, a year above.

    >>> season_of(np.timedelta64(1, "h")), season_of(np.timedelta64(1, "D")), season_of("weekday")
    (24, 7, 5)
    >>> season_of(np.timedelta64(1, "M")), season_of(1.0) is None
    (12, True)
    """
    if period == "weekday":
        return 5
    if not isinstance(period, np.timedelta64):
        return None
    if is_months(period):
        months = int(period / np.timedelta64(1, "M"))
        return 12 // months if months < 12 and 12 % months == 0 else None
    for season in (np.timedelta64(1, "m"), np.timedelta64(1, "D"), np.timedelta64(7, "D")):
        # Steps of a minute and more have the day as their season, those below it the minute.
        if period < season and season % period == np.timedelta64(0, "ns"):
            return int(season / period)
    return 52 if period == np.timedelta64(7, "D") else None


def at_month_ends(times: NDArray[Any]) -> bool:
    """Is each of these times on the last day of its month?"""
    return bool(((times + _DAY).astype("datetime64[M]") > times.astype("datetime64[M]")).all())


def times_after(times: NDArray[Any], period: Step, steps: int) -> NDArray[Any]:
    """(steps,), the times that follow the last of `times` in steps of `period`.

    Months are calendar months: 30 January is followed by the last day of February and by
    30 March, and times that were all month ends go on so.

    >>> ends = np.array(["2023-03-31", "2023-04-30"], dtype="datetime64[ns]")
    >>> times_after(ends, np.timedelta64(1, "M"), 2).astype("datetime64[D]")
    array(['2023-05-31', '2023-06-30'], dtype='datetime64[D]')
    """
    last, count = times[-1], np.arange(1, steps + 1)
    if isinstance(period, str):
        day = last.astype("datetime64[D]")
        following = np.busday_offset(day, count, roll="backward")
        return np.asarray(following.astype("datetime64[ns]") + (last - day))
    if not is_months(period):
        whole = int(period) if times.dtype.kind in "iu" else period
        return np.asarray(last + count * whole)
    month = last.astype("datetime64[M]")
    within = last - month.astype("datetime64[ns]")  # since the month began
    following = month + count * period.astype("timedelta64[M]")
    last_day = (following + 1).astype("datetime64[ns]") - _DAY + within % _DAY
    if at_month_ends(times):
        return np.asarray(last_day)
    return np.asarray(np.minimum(following.astype("datetime64[ns]") + within, last_day))


def cycles_of(period: Period, span: np.timedelta64) -> tuple[str, ...]:
    """Which of `CYCLES` a series with this step and this span shows at least once."""
    step = period if isinstance(period, np.timedelta64) else np.timedelta64(0, "ns")
    if period == "weekday":
        step = _DAY
    if is_months(step):
        step = int(step / np.timedelta64(1, "M")) * np.timedelta64(30, "D")
    return tuple(name for name, length in CYCLES.items() if 2 * step <= length <= span)


def calendar_values(times: NDArray[Any], cycles: tuple[str, ...]) -> NDArray[np.float64]:
    """(T, 2 × cycles): sine and cosine of where each time stands in each cycle.

    >>> noon = np.array(["2024-01-01T12:00"], dtype="datetime64[ns]")
    >>> calendar_values(noon, ("hour of day",)).round(6) + 0.0
    array([[ 0., -1.]])
    """
    columns = []
    for cycle in cycles:
        if cycle == "day of year":  # from this New Year to the next, leap years too
            year = times.astype("datetime64[Y]")
            start, end = year.astype("datetime64[ns]"), (year + 1).astype("datetime64[ns]")
            phase = (times - start) / (end - start)
        else:
            # Counted from a Monday at midnight, so that weeks start there.
            since = times - np.datetime64("1969-12-29", "ns")
            phase = (since % CYCLES[cycle]) / CYCLES[cycle]
        columns += [np.sin(2 * np.pi * phase), np.cos(2 * np.pi * phase)]
    return np.stack(columns, axis=1) if columns else np.empty((len(times), 0))


def calendar_names(cycles: tuple[str, ...]) -> tuple[str, ...]:
    """The names of the columns of `calendar_values`."""
    return tuple(f"{cycle} ({wave})" for cycle in cycles for wave in ("sin", "cos"))
