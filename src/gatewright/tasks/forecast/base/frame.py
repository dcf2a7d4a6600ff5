"""Windows of one target in their own units, which every simple method works on.

A value is measured from the last value of its window, in units of the window's spread, so that a
small and a large series look alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]


def window_scale(z: Tensor, smallest: Tensor) -> tuple[Tensor, Tensor]:
    """Return the last value and the spread of each window and channel, both (1, B, C).

    Args:
        z: Values (W, B, C).
        smallest: The smallest spread of each channel, (C,).
    """
    return z[-1:], z.std(0, keepdim=True, correction=0).maximum(smallest)


def scaled_past(z: Tensor, own: list[int], smallest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return z (W, B, I) with the channels `own` in units of the window, and their scale."""
    level, spread = window_scale(z[:, :, own], smallest)
    z = z.clone()
    z[:, :, own] = (z[:, :, own] - level) / spread
    return z, level[0], spread[0]


@dataclass(frozen=True, slots=True, eq=False)
class TargetFrame:
    """N windows of one target in their own units."""

    own: Array  # (N, W), the target itself
    past: Array  # (N, W, C), all channels that are read, the target among them
    ahead: Array  # (N, H, A), the channels that are known ahead, without the calendar
    static: Array  # (N, S), static values, and the calendar at the first step to predict
    level: Array  # (N,), the last value in units of the spread: 0 is the mean of the training part
    spread: Array  # (N,)
    truth: Array  # (N, H)
    weight: Array  # (N,), of each window's squared error: 1 / the squared unit of its series
    season: int
    # Of the features of regressions, by name; the penalties to choose from share them.
    decompositions: dict[tuple[object, ...], tuple[Array, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.own)

    @property
    def window(self) -> int:
        """Steps to read."""
        return int(self.own.shape[1])

    @property
    def horizon(self) -> int:
        """Steps to predict."""
        return int(self.truth.shape[1])

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> TargetFrame:
        """Return some of the windows."""
        names = ("own", "past", "ahead", "static", "level", "spread", "truth", "weight")
        taken = {name: getattr(self, name)[rows] for name in names}
        return replace(self, **taken, decompositions={})


@dataclass(frozen=True, slots=True, eq=False)
class TargetMap:
    """A simple method after its fit: a linear map from a window in its own units to H forecasts."""

    own: Array  # (W, H)
    past: Array | None  # (W, C, H); None where no other channel is read
    ahead: Array  # (A, H): each step reads only its own known values
    static: Array  # (S, H)
    mean: Array  # (H,), the pull towards the mean of the training part
    bias: Array  # (H,)

    @classmethod
    def zero(cls, frame: TargetFrame) -> TargetMap:
        """Return the map whose forecast is the last value."""
        horizon = frame.horizon
        return cls(
            np.zeros((frame.window, horizon)),
            None,
            np.zeros((frame.ahead.shape[2], horizon)),
            np.zeros((frame.static.shape[1], horizon)),
            np.zeros(horizon),
            np.zeros(horizon),
        )

    def __call__(self, frame: TargetFrame) -> Array:
        """Return the forecasts (N, H), in units of the windows."""
        point: Array = frame.own @ self.own + self.bias - frame.level[:, None] * self.mean
        if self.past is not None:
            count, window, channels = frame.past.shape
            flat = frame.past.reshape(count, window * channels)
            point = point + flat @ self.past.reshape(window * channels, -1)
        if len(self.ahead):
            point = point + np.einsum("nha,ah->nh", frame.ahead, self.ahead)
        return point + frame.static @ self.static

    def __add__(self, other: TargetMap) -> TargetMap:
        past = self.past
        if other.past is not None:
            past = other.past if past is None else past + other.past
        return TargetMap(
            self.own + other.own,
            past,
            self.ahead + other.ahead,
            self.static + other.static,
            self.mean + other.mean,
            self.bias + other.bias,
        )

    def __mul__(self, factor: Array) -> TargetMap:
        """Return the map times a factor for all steps, (), or for each, (H,)."""
        return TargetMap(
            factor * self.own,
            None if self.past is None else factor * self.past,
            factor * self.ahead,
            factor * self.static,
            factor * self.mean,
            factor * self.bias,
        )
