"""Windows of time series: what a forecast reads, and what it is to say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewright.data import Series
from gatewright.errors import DataError
from gatewright.tasks.task import Batch, evenly


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Time series of which the steps from `starts` on are to be forecast; the rest is history."""

    series: Series
    starts: tuple[int, ...]  # one a series

    @property
    def name(self) -> str:
        """Of the data."""
        return self.series.name

    @property
    def about(self) -> str:
        """Of the data."""
        return self.series.about

    @property
    def licence(self) -> str:
        """Of the data."""
        return self.series.licence


def stretch(part: Series | Stretch) -> Stretch:
    """A part of a forecast; of series alone everything is to be forecast."""
    return part if isinstance(part, Stretch) else Stretch(part, (0,) * len(part))


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Every place in a stretch where `window` steps lie behind and `horizon` ahead."""

    values: NDArray[np.float64]  # (all steps, I), series after series, static values repeated
    origins: NDArray[np.int64]  # (N,), the row of the first step to forecast
    series: NDArray[np.int64]  # (N,), which series it is of
    begins: NDArray[np.int64]  # (S,), the row where each series begins
    window: int
    horizon: int
    targets: tuple[int, ...]  # channels
    known: tuple[int, ...]  # channels

    @classmethod
    def of(cls, part: Series | Stretch, window: int, horizon: int) -> Windows:
        """The windows of a part, one at every step.

        Raises:
            DataError: if there is none.
        """
        given = stretch(part)
        check_long_enough(given, window, horizon)
        series = given.series
        rows, origins, of, begins, begin = [], [], [], [], 0
        for at, values in enumerate(series.values):
            rows.append(with_static(series, at, values))
            low, high = max(window, given.starts[at]), len(values) - horizon
            here = np.arange(begin + low, begin + high + 1)
            origins.append(here)
            of.append(np.full(len(here), at))
            begins.append(begin)
            begin += len(values)
        return cls(
            np.concatenate(rows),
            np.concatenate(origins),
            np.concatenate(of),
            np.array(begins),
            window,
            horizon,
            tuple(series.target_positions),
            tuple(series.known_positions),
        )

    def __len__(self) -> int:
        return len(self.origins)

    def take(self, at: NDArray[np.integer]) -> Windows:
        """The windows at these positions."""
        return replace(self, origins=self.origins[at], series=self.series[at])

    @property
    def first(self) -> NDArray[np.int64]:
        """(N,), the row where the series of each window begins."""
        first: NDArray[np.int64] = self.begins[self.series]
        return first

    @property
    def past(self) -> NDArray[np.float64]:
        """(N, window, I), what is read."""
        past: NDArray[np.float64] = self.values[self.origins[:, None] + np.arange(-self.window, 0)]
        return past

    @property
    def truth(self) -> NDArray[np.float64]:
        """(N, horizon, K), what is to be said of the K targets."""
        return self.ahead(self.targets)

    def ahead(self, channels: tuple[int, ...]) -> NDArray[np.float64]:
        """(N, horizon, channels) of the steps to forecast."""
        rows = self.origins[:, None] + np.arange(self.horizon)
        ahead: NDArray[np.float64] = self.values[:, list(channels)][rows]
        return ahead

    def batch(self, at: Tensor) -> Batch:
        """The windows at these positions, for a network."""
        chosen = self.take(at.numpy())
        further = chosen.ahead(self.known)
        return Batch(
            torch.tensor(chosen.past.swapaxes(0, 1), dtype=torch.float32),
            None,
            torch.tensor(chosen.truth, dtype=torch.float32),
            torch.tensor(further, dtype=torch.float32) if self.known else None,
            items=len(at),
        )

    def steps(self, size: int) -> int:
        """How many batches an epoch has."""
        return -(-len(self) // size)

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Every window once, in random order, in batches of `size`."""
        return map(self.batch, torch.randperm(len(self), generator=generator).split(size))

    def ordered(self, size: int) -> Iterator[Batch]:
        """Every window once, in its order."""
        return map(self.batch, torch.arange(len(self)).split(size))

    def spread(self, count: int) -> Batch:
        """At most `count` windows from all over the part, in their order."""
        return self.batch(evenly(len(self), count))


def check_long_enough(part: Series | Stretch, window: int, horizon: int) -> None:
    """Refuse a part without a single window, by the lengths of its series alone.

    Raises:
        DataError: with the bound that it misses.
    """
    measured = stretch(part)
    lengths, starts = measured.series.lengths, np.array(measured.starts)
    if (lengths - horizon < np.maximum(window, starts)).all():
        raise DataError(_too_short(measured, window, horizon))


def _too_short(part: Stretch, window: int, horizon: int) -> str:
    series = part.series
    longest = int(series.lengths.max())
    remedy = "Give more steps, or make one of them smaller (window=, horizon=)"
    if longest < window + horizon:
        return (
            f"the longest series of {series.name} has {longest} steps to learn from; expected at "
            f"least {window + horizon}: the window of {window} that is read and the horizon of "
            f"{horizon}. {remedy}"
        )
    ahead = int((series.lengths - np.array(part.starts)).max())
    return (
        f"the last {ahead} of {longest} steps of {series.name} are put aside to measure on; "
        f"expected at least {horizon}, the horizon. Give more steps, or make the horizon smaller "
        "(horizon=)"
    )


def with_static(series: Series, at: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, I), the channels of a series with its static values beside them at every step."""
    if series.static is None:
        return values
    return np.hstack([values, np.tile(series.static[at], (len(values), 1))])
