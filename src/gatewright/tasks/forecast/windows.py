"""Windows of time series: the steps that a forecast reads and those that it predicts."""

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
    """Time series whose steps from `starts` on are to be forecast; earlier ones are history."""

    series: Series
    starts: tuple[int, ...]  # one per series

    @property
    def name(self) -> str:
        """The name of the data."""
        return self.series.name

    @property
    def about(self) -> str:
        """The description of the data."""
        return self.series.about

    @property
    def licence(self) -> str:
        """The licence of the data."""
        return self.series.licence


def stretch(part: Series | Stretch) -> Stretch:
    """Return a part as a stretch; of plain series, every step is to be forecast."""
    return part if isinstance(part, Stretch) else Stretch(part, (0,) * len(part))


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """All windows of a stretch: `window` steps to read and `horizon` steps to predict.

    The origin of a window is its first step to predict.
    """

    values: NDArray[np.float64]  # (all steps, I), series after series, static values repeated
    origins: NDArray[np.int64]  # (N,), rows of `values`
    series: NDArray[np.int64]  # (N,), positions of the series
    begins: NDArray[np.int64]  # (S,), the first row of each series
    window: int
    horizon: int
    targets: tuple[int, ...]  # channels
    known: tuple[int, ...]  # channels
    weights: NDArray[np.float64] | None = None  # (N, K), of each window's targets in the loss

    @classmethod
    def of(cls, part: Series | Stretch, window: int, horizon: int) -> Windows:
        """Return the windows of a part, one per possible origin.

        Raises:
            DataError: if there is none.
        """
        whole = stretch(part)
        check_long_enough(whole, window, horizon)
        series = whole.series
        rows, origins, positions, begins, begin = [], [], [], [], 0
        for position, values in enumerate(series.values):
            rows.append(with_static(series, position, values))
            first, last = max(window, whole.starts[position]), len(values) - horizon
            own = np.arange(begin + first, begin + last + 1)  # empty where the series is too short
            origins.append(own)
            positions.append(np.full(len(own), position))
            begins.append(begin)
            begin += len(values)
        return cls(
            np.concatenate(rows),
            np.concatenate(origins),
            np.concatenate(positions),
            np.array(begins),
            window,
            horizon,
            tuple(series.target_positions),
            tuple(series.known_positions),
        )

    def __len__(self) -> int:
        return len(self.origins)

    def take(self, positions: NDArray[np.integer]) -> Windows:
        """Return the windows at these positions."""
        return replace(
            self,
            origins=self.origins[positions],
            series=self.series[positions],
            weights=None if self.weights is None else self.weights[positions],
        )

    def thinned(self, most: int) -> Windows:
        """Return at most so many of the windows, evenly spaced."""
        if len(self) <= most:
            return self
        return self.take(np.linspace(0, len(self) - 1, most).astype(int))

    @property
    def first(self) -> NDArray[np.int64]:
        """The first row of each window's series, (N,)."""
        first: NDArray[np.int64] = self.begins[self.series]
        return first

    @property
    def past(self) -> NDArray[np.float64]:
        """The values to read, (N, window, I)."""
        past: NDArray[np.float64] = self.values[self.origins[:, None] + np.arange(-self.window, 0)]
        return past

    @property
    def truth(self) -> NDArray[np.float64]:
        """The values of the K targets to predict, (N, horizon, K)."""
        return self.ahead(self.targets)

    def ahead(self, channels: tuple[int, ...]) -> NDArray[np.float64]:
        """Return the values of these channels at the steps to predict, (N, horizon, channels)."""
        rows = self.origins[:, None] + np.arange(self.horizon)
        ahead: NDArray[np.float64] = self.values[:, list(channels)][rows]
        return ahead

    def batch(self, positions: Tensor) -> Batch:
        """Return the windows at these positions as a batch for a network."""
        chosen = self.take(positions.numpy())
        further = chosen.ahead(self.known)
        return Batch(
            torch.tensor(chosen.past.swapaxes(0, 1), dtype=torch.float32),
            None,
            torch.tensor(chosen.truth, dtype=torch.float32),
            torch.tensor(further, dtype=torch.float32) if self.known else None,
            items=len(positions),
            weights=None
            if chosen.weights is None
            else torch.tensor(chosen.weights, dtype=torch.float32),
        )

    def steps(self, size: int) -> int:
        """Return the number of batches in an epoch."""
        return -(-len(self) // size)

    def shuffled(self, size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield every window once, in random order, in batches of `size`."""
        return map(self.batch, torch.randperm(len(self), generator=generator).split(size))

    def ordered(self, size: int) -> Iterator[Batch]:
        """Yield every window once, in order of time, series after series."""
        return map(self.batch, torch.arange(len(self)).split(size))

    def excerpt(self, count: int) -> Batch:
        """Return at most `count` windows, evenly spaced over the part, in order."""
        return self.batch(evenly(len(self), count))


def check_long_enough(part: Series | Stretch, window: int, horizon: int) -> None:
    """Refuse a part that has no window, from the lengths of its series.

    Raises:
        DataError: with the length that was expected.
    """
    whole = stretch(part)
    lengths, starts = whole.series.lengths, np.array(whole.starts)
    if (lengths - horizon < np.maximum(window, starts)).all():
        raise DataError(_too_short(whole, window, horizon))


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


def with_static(series: Series, position: int, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the channels of a series followed by its static values at every step, (T, I)."""
    if series.static is None:
        return values
    return np.hstack([values, np.tile(series.static[position], (len(values), 1))])
