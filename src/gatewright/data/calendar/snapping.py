"""Uneven times that lie around even ones: sensors that jitter, and days within their quarters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Share of a step that a time may be off.
_MAX_OFF = 0.25
_MONTH = np.timedelta64(1, "M")
_FROM_MONTHS = np.timedelta64(20, "D")
#: Even steps below a month, in seconds.
_STEPS = np.array(
    [
        *(0.001 * k for k in (1, 2, 4, 5, 8, 10, 20, 25, 40, 50, 100, 125, 200, 250, 500)),
        *(1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30),
        *(60 * k for k in (1, 2, 3, 4, 5, 6, 10, 12, 15, 16, 20, 30)),
        *(3600 * k for k in (1, 2, 3, 4, 6, 8, 12)),
        *(86_400 * k for k in (1, 2, 3, 5, 7, 8, 10, 14, 16)),
    ]
)


def snapped(times: Sequence[NDArray[Any]]) -> list[NDArray[Any]] | None:
    """Return the even times next to those of each series; None if they are not that close.

    Steps may be missing, but no two times may come to be the same.

    >>> minutes = np.array(["2024-01-01T00:00:01", "2024-01-01T00:01:00", "2024-01-01T00:01:59"])
    >>> snapped([minutes.astype("datetime64[ns]")])[0].astype("datetime64[s]").tolist()[-1].minute
    2
    """
    long = [own for own in times if len(own) > 1]
    if not long or any(own.dtype.kind != "M" for own in times):
        return None
    step = np.median(np.concatenate([np.diff(own) for own in long]))
    even = _months(times, step) if step >= _FROM_MONTHS else _clock(times, step)
    if even is None or any((np.diff(own).astype(np.int64) <= 0).any() for own in even):
        return None
    return even


def _months(times: Sequence[NDArray[Any]], step: np.timedelta64) -> list[NDArray[Any]]:
    """Move each time to the start of its month, quarter, half-year or year."""
    days = step / np.timedelta64(1, "D")
    count = min((1, 2, 3, 4, 6, 12), key=lambda months: abs(30.44 * months - days))
    result = []
    for own in times:
        months = own.astype("datetime64[M]").astype(np.int64)
        start = (months // count * count).astype("datetime64[M]")
        result.append(start.astype("datetime64[ns]"))
    return result


def _clock(times: Sequence[NDArray[Any]], step: np.timedelta64) -> list[NDArray[Any]] | None:
    """Move each time to the next multiple of the even step that is closest to the usual one."""
    seconds = step / np.timedelta64(1, "s")
    nearest = float(_STEPS[np.argmin(np.abs(np.log(_STEPS / max(seconds, 1e-9))))])
    size = round(nearest * 1e9)  # in nanoseconds, as all numbers below
    result = []
    for own in times:
        elapsed = own.view(np.int64)
        if len(own):
            # The mean place within a step, as an angle, since it may be around its end.
            turns = np.exp(2j * np.pi * ((elapsed - elapsed[0]) % size) / size)
            start = int(elapsed[0]) + round(float(np.angle(turns.mean())) / (2 * np.pi) * size)
            unit = next(unit for unit in (10**9, 10**6, 1) if 5 * unit <= size)
            start = round(start / unit) * unit
            even = start + (elapsed - start + size // 2) // size * size
            if (np.abs(elapsed - even) > _MAX_OFF * size).any():
                return None
            elapsed = even
        result.append(elapsed.view("datetime64[ns]"))
    return result
