"""One time series or many, of several channels: what a forecast is made from."""

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
from gatewright.data.columns.number_column import LARGEST
from gatewright.errors import ArgumentError, DataError


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """N time series with the same channels, each with times and a length of its own.

    Every value is a finite number and every time lies after the one before it. A series
    is never changed: each method returns another one, and no values are copied by it.

    >>> import numpy as np
    >>> days = np.arange("2024-01-01", "2024-01-11", dtype="datetime64[D]")
    >>> one = Series(
    ...     ids=("oslo",),
    ...     times=(days.astype("datetime64[ns]"),),
    ...     values=(np.arange(20.0).reshape(10, 2),),
    ...     channels=("temperature", "wind"),
    ...     period=np.timedelta64(1, "D"),
    ...     steps_a_season=7,
    ... )
    >>> one
    Series('series', n=1, steps=10, channels=2, period=1 day)
    >>> one.cut(stop=np.datetime64("2024-01-04")).values[0][:, 0]
    array([0., 2., 4.])
    >>> one.with_calendar().channels[2:]
    ('day of week (sin)', 'day of week (cos)')
    >>> one.times_after(0, steps=2).astype("datetime64[D]").astype(str)
    array(['2024-01-11', '2024-01-12'], dtype='<U28')
    """

    ids: tuple[str, ...]  # N names
    times: tuple[NDArray[Any], ...]  # N arrays (T_i,): datetime64[ns], or int64/float64 steps
    values: tuple[NDArray[np.float64], ...]  # N arrays (T_i, C)
    channels: tuple[str, ...]  # C names
    targets: tuple[str, ...] = ()  # of the channels, what to forecast; () is all but the known
    known: tuple[str, ...] = ()  # of the channels, those whose future is known
    # The known channels, without the calendar, after the last step: N arrays (F_i, K).
    future: tuple[NDArray[np.float64], ...] | None = None
    calendar: tuple[str, ...] = ()  # the cycles of which the last known channels are waves
    static: NDArray[np.float64] | None = None  # (N, S), what does not change over time
    static_names: tuple[str, ...] = ()  # S names
    # The regular step: a timedelta64 (in "M" for months), "weekday" for Monday to Friday, a
    # number; None where irregular.
    period: Period = None
    steps_a_season: int | None = None  # 24 for hours, 7 for days, 12 for months
    name: str = "series"
    about: str = ""  # a sentence or two for a report
    licence: str = ""  # the terms, with the source to be cited

    def __post_init__(self) -> None:
        """Check that the parts fit, so that nothing later has to."""
        if not self.targets:
            left = tuple(channel for channel in self.channels if channel not in self.known)
            object.__setattr__(self, "targets", left)
        self._check_names()
        for at, (times, values) in enumerate(zip(self.times, self.values, strict=True)):
            self._check_one(self.ids[at], times, values)
        if self.future is not None:
            for one, values in zip(self.ids, self.future, strict=True):
                given = len(self.known) - 2 * len(self.calendar)
                self._check_values(f"the future of series {one}", values, given)
        if self.static is not None:
            expected = (len(self), len(self.static_names))
            if self.static.shape != expected or not np.isfinite(self.static).all():
                raise DataError(
                    f"the static values of {self.name} have shape {self.static.shape}; expected "
                    f"{expected} = (series, static names), all of them finite"
                )

    def _check_names(self) -> None:
        if not self.ids or not len(self.ids) == len(self.times) == len(self.values):
            raise DataError(
                f"{self.name} has {len(self.ids)} ids, {len(self.times)} arrays of times and "
                f"{len(self.values)} of values; expected as many of each, and at least one"
            )
        for what, names in (("id", self.ids), ("channel", self.channels)):
            name, count = Counter(names).most_common(1)[0] if names else ("", 1)
            if count > 1:
                raise DataError(f"{self.name} has the {what} {name} twice; rename one of them")
        channels = set(self.channels)
        for what, names in (("target", self.targets), ("known", self.known)):
            for name in names:
                if name not in channels:
                    raise DataError(
                        f"{self.name} has no channel {name}, which is to be {what}; "
                        f"its channels are: {', '.join(self.channels)}"
                    )
        if not self.targets:
            raise DataError(f"every channel of {self.name} is known: nothing is left to forecast")
        for name in self.targets:
            if name in self.known:
                raise DataError(
                    f"channel {name} of {self.name} is to be forecast and is known in the "
                    "future as well; take it out of one of the two"
                )
        if self.steps_a_season is not None and self.steps_a_season < 1:
            raise DataError(f"steps_a_season is {self.steps_a_season}; expected at least 1")

    def _check_one(self, one: str, times: NDArray[Any], values: NDArray[np.float64]) -> None:
        where = f"series {one} of {self.name}"
        self._check_values(where, values, len(self.channels))
        if times.shape != values.shape[:1]:
            raise DataError(
                f"{where} has {len(values)} steps and times of shape {times.shape}; "
                "expected one time a step"
            )
        if times.dtype.kind not in "iufM":
            raise DataError(f"the times of {where} are {times.dtype}; expected dates or numbers")
        if len(times) > 1 and not (times[1:] > times[:-1]).all():
            at = int(np.flatnonzero(~(times[1:] > times[:-1]))[0])
            raise DataError(
                f"the times of {where} do not rise: step {at} is at {times[at]} and the next "
                f"one at {times[at + 1]}; sort the steps and keep one of each time"
            )

    @staticmethod
    def _check_values(where: str, values: NDArray[np.float64], channels: int) -> None:
        if values.ndim != 2 or values.shape[1] != channels:
            raise DataError(
                f"{where} has values of shape {values.shape}; expected (time, {channels})"
            )
        usable = np.abs(values) <= LARGEST
        if not usable.all():
            step, channel = (int(at) for at in np.argwhere(~usable)[0])
            raise DataError(
                f"{where} has {values[step, channel]} at step {step}, channel {channel}; "
                "expected finite numbers of less than 1e30: fill or leave out what is missing"
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
        """(N,), how many steps each series has."""
        return np.array([len(times) for times in self.times], dtype=np.int64)

    @property
    def target_positions(self) -> list[int]:
        """Where the targets stand among the channels."""
        places = {name: at for at, name in enumerate(self.channels)}
        return [places[name] for name in self.targets]

    @property
    def known_positions(self) -> list[int]:
        """Where the known channels stand among the channels."""
        return [self.channels.index(name) for name in self.known]

    def take(self, series: Iterable[int]) -> Series:
        """The series at these positions, in this order."""
        chosen = [int(at) for at in series]
        return replace(
            self,
            ids=tuple(self.ids[at] for at in chosen),
            times=tuple(self.times[at] for at in chosen),
            values=tuple(self.values[at] for at in chosen),
            future=None if self.future is None else tuple(self.future[at] for at in chosen),
            static=None if self.static is None else self.static[chosen],
        )

    def cut(self, start: Any = None, stop: Any = None) -> Series:
        """The steps from the time `start` on and before the time `stop`, of every series.

        The future is kept only where nothing is cut off before it. A series of which
        nothing is left is refused.
        """
        parts = []
        for one, times in zip(self.ids, self.times, strict=True):
            first = 0 if start is None else int(np.searchsorted(times, start, side="left"))
            last = len(times) if stop is None else int(np.searchsorted(times, stop, side="left"))
            if first >= last:
                raise ArgumentError(
                    f"series {one} of {self.name} has no step in what is cut out "
                    f"({'its start' if start is None else start} to "
                    f"{'its end' if stop is None else stop}); "
                    f"it runs from {times[0]} to {times[-1]}"
                )
            parts.append(slice(first, last))
        return self.steps(parts)

    def steps(self, parts: Iterable[slice]) -> Series:
        """These steps of each series: one slice a series, by position."""
        chosen = list(parts)
        times = tuple(t[part] for t, part in zip(self.times, chosen, strict=True))
        future = self.future
        if future is not None and any(
            part.indices(len(t))[1] < len(t) for t, part in zip(self.times, chosen, strict=True)
        ):
            future = None  # it would no longer follow the last step
        return replace(
            self,
            times=times,
            values=tuple(v[part] for v, part in zip(self.values, chosen, strict=True)),
            future=future,
        )

    def times_after(self, series: int, steps: int) -> NDArray[Any]:
        """(steps,), the times that follow the last one of this series, in regular steps."""
        if self.period is None:
            raise DataError(
                f"the times of {self.name} are irregular, so what follows the last one is "
                "not known; bring the series to a regular step"
            )
        return times_after(self.times[series], self.period, steps)

    def with_calendar(self, cycles: tuple[str, ...] | None = None) -> Series:
        """The same with calendar features as further known channels, sine and cosine of each.

        `cycles` says which: "hour of day", "day of week", "day of year". Without it, those
        of which a series shows a whole round in at least two steps; give what the training
        data had (`series.calendar`) for data that come later. Where the times are plain
        numbers there is no calendar, and the series comes back as it is.
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
        """(steps, len(known)), the known channels in the steps that follow the last one.

        The calendar is known for ever; of the other known channels the data must hold the
        future (rows after the last one with a value of a target).
        """
        given = len(self.known) - 2 * len(self.calendar)
        parts = [np.empty((steps, 0))]
        if given:
            held = 0 if self.future is None else len(self.future[series])
            if self.future is None or held < steps:
                raise DataError(
                    f"{', '.join(self.known[:given])} of series {self.ids[series]} "
                    f"{'are' if given > 1 else 'is'} given for {held} steps after the last "
                    f"one; expected at least {steps}: add rows with the future's values, "
                    f"and {', '.join(self.targets)} left empty"
                )
            parts.append(self.future[series][:steps])
        if self.calendar:
            parts.append(calendar_values(self.times_after(series, steps), self.calendar))
        return np.hstack(parts)
