"""Rules for one day in each month: the last one, the 15th, the last working day, the third Friday.

Half months have two such days in each month.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ONE_DAY = np.timedelta64(1, "D")

# A rule: from months (datetime64[M]) to one day in each of them (datetime64[D]).
MonthDay = Callable[[NDArray[Any]], NDArray[Any]]


def month_day_of(days: NDArray[Any]) -> MonthDay | None:
    """Return the rule that gives each of these days (datetime64[D]) in its month, or None.

    >>> rule = month_day_of(np.array(["2024-01-30", "2024-02-29"], dtype="datetime64[D]"))
    >>> rule(np.array(["2024-03"], dtype="datetime64[M]"))
    array(['2024-03-30'], dtype='datetime64[D]')
    """
    months = days.astype("datetime64[M]")
    return next((rule for rule in _rules(days, months) if (rule(months) == days).all()), None)


def half_months_of(days: NDArray[Any]) -> tuple[MonthDay, MonthDay] | None:
    """Return the rules of two days in each month, such as the 1st and the 15th, or None.

    >>> days = np.array(["2024-01-15", "2024-01-31", "2024-02-15"], dtype="datetime64[D]")
    >>> first, second = half_months_of(days)
    >>> second(np.array(["2024-02"], dtype="datetime64[M]"))
    array(['2024-02-29'], dtype='datetime64[D]')
    """
    months = days.astype("datetime64[M]")
    numbers = (days - months.astype("datetime64[D]")).astype(int) + 1
    early = numbers == numbers.min()
    if early.all() or len(days) < 3:
        return None
    first, second = month_day_of(days[early]), month_day_of(days[~early])
    if first is None or second is None:
        return None
    # About half a month apart (13 to 18 days), unlike any two appointments in a month.
    distances = (second(months) - first(months)).astype(int)
    return (first, second) if (distances >= 13).all() and (distances <= 18).all() else None


def _rules(days: NDArray[Any], months: NDArray[Any]) -> Iterator[MonthDay]:
    """Yield the rules that these days may follow, the most common first."""
    number = int((days - months.astype("datetime64[D]")).astype(int).max())
    yield _last
    yield lambda months: np.minimum(_first(months) + number, _last(months))
    yield lambda months: np.busday_offset(_first(months + 1), -1, roll="forward")
    yield lambda months: np.busday_offset(_first(months), 0, roll="forward")
    # Few days, or days that are always four weeks apart, show no rule for weekdays of a month.
    if len(days) < 4 or len(np.unique(np.diff(days))) == 1:
        return
    weekday = int((days[0].astype(int) - 4) % 7)  # 0 is Monday; day 4 of 1970 was a Monday
    week = int((days[0] - _first(months[:1])[0]).astype(int)) // 7
    yield lambda months: _weekday(months, weekday) + 7 * week
    yield lambda months: _weekday(months + 1, weekday) - 7


def _first(months: NDArray[Any]) -> NDArray[Any]:
    return months.astype("datetime64[D]")


def _last(months: NDArray[Any]) -> NDArray[Any]:
    return (months + 1).astype("datetime64[D]") - _ONE_DAY


def _weekday(months: NDArray[Any], weekday: int) -> NDArray[Any]:
    """Return the first day in each month with this day of the week, counted from Monday as 0."""
    first = _first(months)
    return np.asarray(first + (weekday - (first.astype(int) - 4)) % 7)
