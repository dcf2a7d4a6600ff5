"""One or several time series of several channels: the data of a forecast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.calendar.periods import (
    Period,
    calendar_names,
    calendar_values,
    cycles_of,
    say_period,
    times_after,
)
from gatewright.data.columns.number_column import LARGEST_NUMBER
from gatewright.errors import ArgumentError, DataError


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """N time series with the same channels and individual times and lengths.

    Every value is a finite number and every time is later than the one before it. A `Series`
    never changes: its methods return a new one, and only `with_calendar` copies values.

    >>> import numpy as np
    >>> days = np.arange("2024-01-01", "2024-01-11", dtype="datetime64[D]")
    >>> weather = Series(
    ...     ids=("oslo",),
    ...     times=(days.astype("datetime64[ns]"),),
    ...     values=(np.arange(20.0).reshape(10, 2),),
    ...     channels=("temperature", "wind"),
    ...     period=np.timedelta64(1, "D"),
    ...     steps_a_season=7,
    ... )
    >>> weather
    Series('series', n=1, steps=10, channels=2, period=1 day)
    >>> weather.cut(stop=np.datetime64("2024-01-04")).values[0][:, 0]
    array([0., 2., 4.])
    >>> weather.with_calendar().channels[2:]
    ('day of week (sin)', 'day of week (cos)')
    >>> weather.times_after(0, steps=2).astype("datetime64[D]").astype(str)
    array(['2024-01-11', '2024-01-12'], dtype='<U28')
    """

    ids: tuple[str, ...]  # N names
    times: tuple[NDArray[Any], ...]  # N arrays (T_i,): datetime64[ns], or int64/float64 steps
    values: tuple[NDArray[np.float64], ...]  # N arrays (T_i, C)
    channels: tuple[str, ...]  # C names
    targets: tuple[str, ...] = ()  # the channels to forecast; () means all that are not known
    known: tuple[str, ...] = ()  # the channels whose future is known
    # The known channels, without the calendar, after the last step: N arrays (F_i, K).
    future: tuple[NDArray[np.float64], ...] | None = None
    calendar: tuple[str, ...] = ()  # cycles; the last known channels are their sines and cosines
    static: NDArray[np.float64] | None = None  # (N, S), values that do not change over time
    static_names: tuple[str, ...] = ()  # S names
    # The regular step: a timedelta64 (in "M" for months), "weekday" for Monday to Friday, a
    # number; None if the times are irregular.
    period: Period = None
    steps_a_season: int | None = None  # 24 for hours, 7 for days, 12 for months
    name: str = "series"
    about: str = ""  # one or two sentences for a report
    licence: str = ""  # the terms, and the source to cite

    def __post_init__(self) -> None:
        """Check that the parts fit together, so that no later code has to."""
        if not self.targets:
            targets = tuple(channel for channel in self.channels if channel not in self.known)
            object.__setattr__(self, "targets", targets)
        self._check_names()
        for id, times, values in zip(self.ids, self.times, self.values, strict=True):
            self._check_series(id, times, values)
        if self.future is not None:
            for id, values in zip(self.ids, self.future, strict=True):
                self._check_values(f"the future of series {id}", values, self._known_from_data)
        if self.static is not None:
            expected = (len(self), len(self.static_names))
            if self.static.shape != expected or not np.isfinite(self.static).all():
                raise DataError(
                    f"the static values of {self.name} have shape {self.static.shape}; expected "
                    f"{expected} = (series, static names), all of them finite"
                )

    @property
    def _known_from_data(self) -> int:
        """The number of known channels that are not computed from the calendar."""
        return len(self.known) - 2 * len(self.calendar)

    def _check_names(self) -> None:
        if not self.ids or not len(self.ids) == len(self.times) == len(self.values):
            raise DataError(
                f"{self.name} has {len(self.ids)} ids, {len(self.times)} arrays of times and "
                f"{len(self.values)} of values; expected as many of each, and at least one"
            )
        for kind, names in (("id", self.ids), ("channel", self.channels)):
            name, count = Counter(names).most_common(1)[0] if names else ("", 1)
            if count > 1:
                raise DataError(f"{self.name} has the {kind} {name} twice; rename one of them")
        channels = set(self.channels)
        for role, names in (("target", self.targets), ("known", self.known)):
            for name in names:
                if name not in channels:
                    raise DataError(
                        f"{self.name} has no channel {name}, which is listed as {role}; "
                        f"its channels are: {', '.join(self.channels)}"
                    )
        if not self.targets:
            raise DataError(
                f"every channel of {self.name} is known: nothing is left to forecast; take at "
                "least one out of known"
            )
        for name in self.targets:
            if name in self.known:
                raise DataError(
                    f"channel {name} of {self.name} is a target and its future is known; take it "
                    "out of targets or out of known"
                )
        if self.steps_a_season is not None and self.steps_a_season < 1:
            raise DataError(f"steps_a_season is {self.steps_a_season}; expected at least 1")

    def _check_series(self, id: str, times: NDArray[Any], values: NDArray[np.float64]) -> None:
        series = f"series {id} of {self.name}"
        self._check_values(series, values, len(self.channels))
        if times.shape != values.shape[:1]:
            raise DataError(
                f"{series} has {len(values)} steps and times of shape {times.shape}; "
                "expected one time per step"
            )
        if times.dtype.kind not in "iufM":
            raise DataError(f"the times of {series} are {times.dtype}; expected dates or numbers")
        if len(times) > 1 and not (times[1:] > times[:-1]).all():
            step = int(np.flatnonzero(~(times[1:] > times[:-1]))[0])
            raise DataError(
                f"the times of {series} do not increase: step {step} is at {times[step]} and the "
                f"next one at {times[step + 1]}; sort the steps and keep one of each time"
            )

    @staticmethod
    def _check_values(owner: str, values: NDArray[np.float64], channels: int) -> None:
        if values.ndim != 2 or values.shape[1] != channels:
            raise DataError(
                f"{owner} has values of shape {values.shape}; expected (time, {channels})"
            )
        usable = np.abs(values) <= LARGEST_NUMBER  # False for NaN
        if not usable.all():
            step, channel = map(int, np.argwhere(~usable)[0])
            raise DataError(
                f"{owner} has {values[step, channel]} at step {step}, channel {channel}; "
                f"expected finite numbers up to {LARGEST_NUMBER:g}: fill missing values or leave "
                "them out"
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        shortest, longest = self.lengths.min(), self.lengths.max()
        steps = f"{longest}" if shortest == longest else f"{shortest}..{longest}"
        return (
            f"Series({self.name!r}, n={len(self)}, steps={steps}, "
            f"channels={len(self.channels)}, period={say_period(self.period)})"
        )

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Return the number of steps of each series, (N,)."""
        return np.array([len(times) for times in self.times], dtype=np.int64)

    @property
    def target_positions(self) -> list[int]:
        """Return the positions of the targets among the channels."""
        return self._positions(self.targets)

    @property
    def known_positions(self) -> list[int]:
        """Return the positions of the known channels among the channels."""
        return self._positions(self.known)

    def _positions(self, names: Iterable[str]) -> list[int]:
        positions = {name: position for position, name in enumerate(self.channels)}
        return [positions[name] for name in names]

    def take(self, series: Iterable[int]) -> Series:
        """Return the series at these positions, in this order."""
        chosen = [int(index) for index in series]
        return replace(
            self,
            ids=tuple(self.ids[index] for index in chosen),
            times=tuple(self.times[index] for index in chosen),
            values=tuple(self.values[index] for index in chosen),
            future=None if self.future is None else tuple(self.future[index] for index in chosen),
            static=None if self.static is None else self.static[chosen],
        )

    def cut(self, start: Any = None, stop: Any = None) -> Series:
        """Return the steps of every series from the time `start` up to `stop`, which is excluded.

        The future stays only if every series keeps its last step. Raises `ArgumentError` if a
        series would have no step left.
        """
        parts = []
        for id, times in zip(self.ids, self.times, strict=True):
            first = 0 if start is None else int(np.searchsorted(times, start, side="left"))
            last = len(times) if stop is None else int(np.searchsorted(times, stop, side="left"))
            if first >= last:
                raise ArgumentError(
                    f"series {id} of {self.name} has no step from "
                    f"{'its start' if start is None else start} to "
                    f"{'its end' if stop is None else stop}; "
                    f"expected times between {times[0]} and {times[-1]}"
                )
            parts.append(slice(first, last))
        return self.steps(parts)

    def steps(self, parts: Iterable[slice]) -> Series:
        """Return some steps of each series: one slice of positions per series."""
        slices = list(parts)
        times = tuple(own[part] for own, part in zip(self.times, slices, strict=True))
        future = self.future
        if future is not None and any(
            part.indices(len(own))[1] < len(own)
            for own, part in zip(self.times, slices, strict=True)
        ):
            future = None  # it would no longer follow the last step
        return replace(
            self,
            times=times,
            values=tuple(own[part] for own, part in zip(self.values, slices, strict=True)),
            future=future,
        )

    def times_after(self, series: int, steps: int) -> NDArray[Any]:
        """Return the next times (steps,) after the last one of this series, in regular steps."""
        if self.period is None:
            raise DataError(
                f"the times of {self.name} are irregular, so the times after the last one are "
                "not known; resample the series to a regular step"
            )
        return times_after(self.times[series], self.period, steps)

    def with_calendar(self, cycles: tuple[str, ...] | None = None) -> Series:
        """Add calendar features as further known channels: sine and cosine of each cycle.

        `cycles` can have "hour of day", "day of week" and "day of year". The default is all
        cycles that last at least two steps and fit into a series; for later data pass those of
        the training data (`series.calendar`). Series whose times are plain numbers have no
        calendar and are returned unchanged.
        """
        if self.calendar or self.times[0].dtype.kind != "M":
            return self
        if cycles is None:
            cycles = cycles_of(self.period, max(times[-1] - times[0] for times in self.times))
        names = calendar_names(cycles)
        return replace(
            self,
            values=tuple(
                np.hstack([values, calendar_values(times, cycles)])
                for times, values in zip(self.times, self.values, strict=True)
            ),
            channels=self.channels + names,
            known=self.known + names,
            calendar=cycles,
        )

    def known_after(self, series: int, steps: int) -> NDArray[np.float64]:
        """Return the known channels in the steps after the last one, (steps, len(known)).

        The calendar is computed for any time. The future of other known channels must be in
        the data: as rows after the last one that has a value of a target.
        """
        from_data = self._known_from_data
        parts = [np.empty((steps, 0))]
        if from_data:
            available = 0 if self.future is None else len(self.future[series])
            if self.future is None or available < steps:
                raise DataError(
                    f"{', '.join(self.known[:from_data])} of series {self.ids[series]} "
                    f"{'are' if from_data > 1 else 'is'} given for {available} steps after the "
                    f"last one; expected at least {steps}: add rows with the future values, and "
                    f"leave {', '.join(self.targets)} empty there"
                )
            parts.append(self.future[series][:steps])
        if self.calendar:
            parts.append(calendar_values(self.times_after(series, steps), self.calendar))
        return np.hstack(parts)
