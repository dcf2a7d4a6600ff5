"""The definition of a forecast: what the training data and the user's arguments decide.

Networks, baselines and the reading of new data all work from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gatewright.data import Series
from gatewright.data.calendar.periods import say_period, season_of
from gatewright.errors import ArgumentError, DataError
from gatewright.tasks.forecast.metrics import naive_error
from gatewright.tasks.forecast.windows import Stretch, Windows, with_static
from gatewright.tasks.training_ranges import TrainingRanges

#: Horizon where the data have no usual season.
DEFAULT_HORIZON = 8
#: Share of the training part before the part to validate on, which has to hold a horizon.
BEFORE_VALIDATION = 0.8
#: Longest season, in steps, that is taken as the horizon.
MAX_SEASONAL_HORIZON = 48
#: Smallest window that is taken unless the user gives one or the series are too short.
MIN_WINDOW = 24


@dataclass(frozen=True, kw_only=True)
class ForecastSpec:
    """The channels, steps and bounds of a forecast."""

    seen: TrainingRanges  # channels, including the calendar and static values, and their ranges
    targets: tuple[str, ...]
    known: tuple[str, ...]  # channels whose future values are known
    calendar: tuple[str, ...]  # cycles whose phases are channels, such as "day of week"
    static: tuple[str, ...]  # channels that are constant in each series
    period: str  # the step in words
    season: int  # steps; 1 where there is none
    window: int  # steps to read
    horizon: int  # steps to predict
    naive_error: tuple[tuple[float, ...], ...]  # (series, targets), the unit of MASE
    floor: tuple[float | None, ...]  # lower bound of each target's forecasts
    counts: tuple[bool, ...] = ()  # by target: whether it counts; none of a model of version 0.1

    @classmethod
    def of(cls, training: Series, *, horizon: int | None = None, window: int | None = None) -> Self:
        """Return the forecast for training series, whose calendar has been added as channels.

        Raises:
            ArgumentError: if horizon or window is below 1.
            DataError: if the steps are irregular, the series too short or a target constant.
        """
        for name, steps in (("horizon", horizon), ("window", window)):
            if steps is not None and steps < 1:
                raise ArgumentError(f"{name} is {steps}; expected at least 1")
        if training.period is None:
            raise DataError(
                f"the times of {training.name} are irregular, so a trained model could not say "
                "what it forecasts: bring them to a regular step, put missing steps in with "
                "fill='linear' or 'previous', or leave the column of times out with ignore=, "
                "which takes each row as one step"
            )
        season = training.steps_a_season or season_of(training.period) or 1
        usual = season_of(training.period)
        if usual is None:
            usual = season if 1 < season <= MAX_SEASONAL_HORIZON else DEFAULT_HORIZON
        longest = int(training.lengths.max())
        usual = min(usual, max(longest - int(BEFORE_VALIDATION * longest), 1))
        horizon = horizon or usual
        window = window or usual_window(season, usual, longest)
        Windows.of(training, window, horizon)  # refuses series that are too short
        arrays = [with_static(training, k, values) for k, values in enumerate(training.values)]
        return cls(
            seen=TrainingRanges.of_values(arrays, training.channels + training.static_names),
            targets=training.targets,
            known=training.known,
            calendar=training.calendar,
            static=training.static_names,
            period=say_period(training.period),
            season=season,
            window=window,
            horizon=horizon,
            naive_error=naive_error(training, season),
            floor=floors(training),
            counts=are_counts(training),
        )

    def inconsistency(self) -> str | None:
        """Return a contradiction between the fields, as in an edited file, or None."""
        channels, targets = set(self.seen.channels), len(self.targets)
        least = min(self.window, self.horizon, self.season)
        if least < 1:
            return f"window, horizon or season is {least}; expected at least 1"
        if not targets or len(set(self.targets)) < targets:
            return "it has no target, or one twice"
        for role in ("targets", "known", "static"):
            unknown = [name for name in getattr(self, role) if name not in channels]
            if unknown:
                return f"{role} names {unknown[0]!r}, which is none of its channels"
        if len(self.floor) != targets or any(len(row) != targets for row in self.naive_error):
            return f"floor and naive_error do not have one number for each of {targets} targets"
        if self.counts and len(self.counts) != targets:
            return f"counts does not have one entry for each of {targets} targets"
        return self.seen.inconsistency()

    def positions(self, names: Sequence[str]) -> list[int]:
        """Return the positions of these channels among all channels."""
        return [self.seen.channels.index(name) for name in names]

    def windows(self, part: Series | Stretch) -> Windows:
        """Return the windows of a part."""
        return Windows.of(part, self.window, self.horizon)

    def raised(self, quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
        """Raise quantiles (N, horizon, K, Q) to the floor of their target where they are below."""
        floor = [-np.inf if low is None else low for low in self.floor]
        raised: NDArray[np.float64] = np.maximum(quantiles, np.array(floor)[:, None])
        return raised

    def bounded(self, quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return raised quantiles, rounded where the target counts: it is never in between.

        The median of a count is a whole number. On seven kinds of simulated counts, 16 series
        each, rounding lowered the mean absolute error by 0 to 14 %, by 4 % in the mean.
        """
        raised = self.raised(quantiles)
        return np.where(np.array(self.rounds)[:, None], np.floor(raised + 0.5), raised)

    @property
    def rounds(self) -> tuple[bool, ...]:
        """By target: whether its quantiles are rounded to whole numbers."""
        return self.counts or (False,) * len(self.targets)


def usual_window(season: int, usual: int, longest: int) -> int:
    """Return the window where the user gives none, for the longest series.

    A quarter of the series at most, but two seasons and a step wherever that leaves two thirds of
    the series to predict, and one season and a step where that leaves half: without them, no
    method sees the season.
    """
    window = max(min(max(4 * usual, MIN_WINDOW), longest // 4), 2)
    if season > MAX_SEASONAL_HORIZON:  # the days of a year are too many steps to carry
        return window
    if 2 * season + 1 <= longest // 3:
        return max(window, 2 * season + 1)
    return max(window, season + 1) if season + 1 <= longest // 2 else window


def floors(training: Series) -> tuple[float | None, ...]:
    """Return the floor of each target: 0 if its minimum is exactly 0, as of rain and counts."""
    positions = training.target_positions
    lowest = np.min([values[:, positions].min(0) for values in training.values], axis=0)
    return tuple(0.0 if low == 0.0 else None for low in lowest)


def are_counts(training: Series) -> tuple[bool, ...]:
    """Return for each target whether it holds whole numbers from 0 on, and reaches 0.

    Rounding hardly matters to a count that never comes near 0.
    """
    values = np.concatenate([own[:, training.target_positions] for own in training.values])
    is_whole = (values == np.round(values)).all(0)
    return tuple((is_whole & (values.min(0) == 0.0)).tolist())
