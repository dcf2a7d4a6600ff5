"""What a report shows of forecasts: errors target by target, and a few windows with their truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data import Series
from gatewright.tasks.forecast.future import said_times
from gatewright.tasks.forecast.quantiles import errors
from gatewright.tasks.forecast.windows import Windows

if TYPE_CHECKING:
    from gatewright.tasks.forecast.task import Forecast

#: Targets and windows that are drawn.
TARGETS, WINDOWS = 4, 3


def shown_forecasts(
    task: Forecast, predicted: NDArray[np.float64], windows: Windows, series: Series
) -> dict[str, Any]:
    """In JSON's types, from predictions (N, horizon, K, Q) of windows of these series."""
    times = np.concatenate(series.times)
    found = errors(predicted, windows.truth)
    picked = np.linspace(0, len(windows) - 1, num=min(WINDOWS, len(windows))).astype(int)
    chosen = windows.take(picked)
    drawn = []
    for which, channel in enumerate(task.targets[:TARGETS]):
        position = task.positions([channel])[0]
        for at, row in enumerate(picked):
            origin = int(windows.origins[row])
            span = times[origin - task.window : origin + task.horizon]
            drawn.append(
                {
                    "target": channel,
                    "series": series.ids[windows.series[row]] if len(series) > 1 else "",
                    "times": said_times(span),
                    "past": chosen.past[at, :, position].tolist(),
                    "truth": chosen.truth[at, :, which].tolist(),
                    "quantiles": predicted[row, :, which].T.tolist(),
                }
            )
    return {
        "targets": {
            name: {metric: float(values[:, at].mean()) for metric, values in found.items()}
            for at, name in enumerate(task.targets)
        },
        "forecasts": drawn,
    }
