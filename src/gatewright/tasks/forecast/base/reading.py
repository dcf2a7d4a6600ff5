"""From windows of a forecast to the frames of its targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from gatewright.data import Series
from gatewright.data.calendar.periods import calendar_names
from gatewright.tasks.forecast.base.frame import Array, TargetFrame, scaled_past
from gatewright.tasks.forecast.base.transform import Transform, transformed_array
from gatewright.tasks.forecast.metrics import naive_error
from gatewright.tasks.forecast.spec import ForecastSpec
from gatewright.tasks.forecast.windows import Windows, with_static

#: Smallest spread of a window, as a share of the usual one of the calmest series.
MIN_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Places:
    """Positions among the channels of a forecast, by their part in the base."""

    targets: list[int]
    own: list[int]  # scaled by the window: all that are neither known nor static
    lagged: list[int]  # read at each step of the window: these and the known ones but the calendar
    ahead: list[int]  # among the known channels: those but the calendar
    calendar: list[int]  # among the known channels
    static: list[int]

    @classmethod
    def of(cls, spec: ForecastSpec) -> Places:
        """Find the positions in the channels of a forecast."""
        calendar = set(calendar_names(spec.calendar))
        names = spec.seen.channels
        own = [k for k, name in enumerate(names) if name not in (*spec.known, *spec.static)]
        ahead = [k for k, name in enumerate(spec.known) if name not in calendar]
        return cls(
            targets=spec.positions(spec.targets),
            own=own,
            lagged=own + spec.positions([spec.known[k] for k in ahead]),
            ahead=ahead,
            calendar=[k for k, name in enumerate(spec.known) if name in calendar],
            static=spec.positions(spec.static),
        )


def scaling_of(
    spec: ForecastSpec, training: Series, transforms: Sequence[Transform]
) -> tuple[Array, Array]:
    """Return mean and deviation of each channel, (I,) each, as `Model.fit_scaling` has them."""
    arrays = [with_static(training, k, values) for k, values in enumerate(training.values)]
    values = _transformed(spec, np.concatenate(arrays), transforms)
    deviation = values.std(0)
    deviation[deviation == 0.0] = 1.0
    return values.mean(0), deviation


def _transformed(spec: ForecastSpec, values: Array, transforms: Sequence[Transform]) -> Array:
    return transformed_array(values, spec.positions(spec.targets), transforms, spec.seen.low)


def units_of(
    spec: ForecastSpec,
    training: Series,
    transforms: Sequence[Transform],
    *,
    common_spread: bool = False,
) -> tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]:
    """Return the unit of each series and target, (S, K), and the smallest spreads, (own,).

    A unit is the naive error of transformed values; the smallest spread is in deviations of the
    channel, as the network reads it.

    Args:
        common_spread: Whether the smallest spread is the largest of a window in training, which
            all windows then share: effects of the calendar are the same in all of them.
    """
    places = Places.of(spec)
    arrays = [with_static(training, k, values) for k, values in enumerate(training.values)]
    values = [_transformed(spec, own, transforms) for own in arrays]
    channels = len(training.channels)
    changed = replace(training, values=tuple(own[:, :channels] for own in values), future=None)
    units = naive_error(changed, spec.season, refuse=False)
    deviation = np.concatenate(values).std(0)
    deviation[deviation == 0.0] = 1.0
    smallest = []
    for channel in places.own:
        if common_spread:
            least = max(_largest_spread(own[:, channel], spec.window) for own in values)
        else:
            spreads = [_usual_spread(own[:, channel], spec.window) for own in values]
            least = MIN_SHARE * min((spread for spread in spreads if spread > 0.0), default=0.0)
        smallest.append(float(least / deviation[channel]) or MIN_SHARE)
    return units, tuple(smallest)


def _usual_spread(values: Array, window: int) -> float:
    """Return the mean deviation in windows that do not overlap."""
    count = max(len(values) // window, 1)
    parts = values[: count * window].reshape(count, -1) if len(values) >= window else values[None]
    return float(parts.std(1).mean())


def _largest_spread(values: Array, window: int) -> float:
    """Return the largest deviation in a window."""
    windows = sliding_window_view(values, min(window, len(values)))
    return float(windows.std(-1).max())


def frames(
    spec: ForecastSpec,
    windows: Windows,
    scaling: tuple[Array, Array],
    transforms: Sequence[Transform],
    units: Sequence[Sequence[float]],
    smallest: Sequence[float],
) -> list[TargetFrame]:
    """Return the windows as each target sees them.

    Args:
        scaling: Mean and deviation of each channel.
        units, smallest: From `units_of`.
    """
    places = Places.of(spec)
    z = (_transformed(spec, windows.values, transforms) - scaling[0]) / scaling[1]
    scaled = replace(windows, values=z)
    past, level, spread = scaled_past(
        torch.from_numpy(scaled.past.swapaxes(0, 1)), places.own, torch.tensor(smallest).double()
    )
    read = past.numpy().swapaxes(0, 1)
    known = scaled.ahead(scaled.known)
    common = np.hstack([read[:, -1, places.static], known[:, 0, places.calendar]])
    unit = np.array(units)[windows.series] / scaling[1][places.targets]
    result = []
    for k, position in enumerate(places.targets):
        column = places.own.index(position)
        levels, spreads = level[:, column].numpy(), spread[:, column].numpy()
        weight = np.zeros(len(windows))
        moves = unit[:, k] > 0.0
        weight[moves] = np.square(spreads[moves] / unit[moves, k])
        if not moves.any():  # nothing has changed so far
            weight[:] = 1.0
        result.append(
            TargetFrame(
                own=np.ascontiguousarray(read[:, :, position]),
                past=read[:, :, places.lagged],
                ahead=known[:, :, places.ahead],
                static=common,
                level=levels / spreads,
                spread=spreads,
                truth=(scaled.truth[:, :, k] - levels[:, None]) / spreads[:, None],
                weight=weight,
                season=spec.season,
            )
        )
    return result
