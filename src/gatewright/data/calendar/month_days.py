"""Days by which people mark months: the last one, the 15th, the last working day, the third Friday.

Also half months: two such days in each month.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ONE_DAY = np.timedelta64(1, "D")

# From months (datetime64[M]) to one day in each of them (datetime64[D]).
MonthDay = Callable[[NDArray[Any]], NDArray[Any]]


def month_day_of(days: NDArray[Any]) -> MonthDay | None:
    """The rule by which each of these days (datetime64[D]) is chosen in its month, or None.

    >>> rule = month_day_of(np.array(["2024-01-30", "2024-02-29"], dtype="datetime64[D]"))
    >>> rule(np.array(["2024-03"], dtype="datetime64[M]"))
    array(['2024-03-30'], dtype='datetime64[D]')
    """
    months = days.astype("datetime64[M]")
    return next((rule for rule in _rules(days, months) if (rule(months) == days).all()), None)


def half_months_of(days: NDArray[Any]) -> tuple[MonthDay, MonthDay] | None:
    """The rules of two days in each month, such as the 1st and the 15th, or None.

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
    # A fortnight apart, which tells them from two appointments in a month.
    apart = (second(months) - first(months)).astype(int)
    return (first, second) if (apart >= 13).all() and (apart <= 18).all() else None


def _rules(days: NDArray[Any], months: NDArray[Any]) -> Iterator[MonthDay]:
    """The rules that these days may follow, the most common first."""
    number = int((days - months.astype("datetime64[D]")).astype(int).max())
    yield _last
    yield lambda months: np.minimum(_first(months) + number, _last(months))
    yield lambda months: np.busday_offset(_first(months + 1), -1, roll="forward")
    yield lambda months: np.busday_offset(_first(months), 0, roll="forward")
    if len(days) < 4 or len(np.unique(np.diff(days))) == 1:  # four weeks are not a month
        return
    weekday = int((days[0].astype(int) - 4) % 7)  # since a Monday
    week = int((days[0] - _first(months[:1])[0]).astype(int)) // 7
    yield lambda months: _weekday(months, weekday) + 7 * week
    yield lambda months: _weekday(months + 1, weekday) - 7


def _first(months: NDArray[Any]) -> NDArray[Any]:
    return months.astype("datetime64[D]")


def _last(months: NDArray[Any]) -> NDArray[Any]:
    return (months + 1).astype("datetime64[D]") - _ONE_DAY


def _weekday(months: NDArray[Any], weekday: int) -> NDArray[Any]:
    """The first day of each month that is this day of the week, counted from Monday."""
    first = _first(months)
    return np.asarray(first + (weekday - (first.astype(int) - 4)) % 7)
