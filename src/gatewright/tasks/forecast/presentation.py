"""The words and figures of a forecast: errors target by target, and windows with their truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from gatewright.data import Series
from gatewright.draw.page.page import Section
from gatewright.draw.plots.forecasts import DrawnForecast, forecast_section
from gatewright.tasks.forecast.base.base import method_shares
from gatewright.tasks.forecast.future import time_labels
from gatewright.tasks.forecast.metrics import errors
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.forecast.windows import Stretch, stretch
from gatewright.tasks.presentation import Example, Presentation

#: Targets and windows that a report draws.
MAX_TARGETS, MAX_WINDOWS = 4, 3
#: The transforms of a base in words.
NAMES = {"log": "logarithm", "root": "square root"}


@dataclass(frozen=True, slots=True)
class ForecastPresentation(Presentation):
    """The words and figures of one forecast."""

    title: ClassVar[str] = "a forecast"
    splitting: ClassVar[str] = (
        "In order of time: the last fifth is the test part, and the last fifth of the rest the "
        "validation part. Channels are scaled by their mean and deviation in the training part. "
        "The intervals have the width of the base's errors at rolling origins inside the training "
        "part, where it had not seen the truth; where the network changes the forecasts, they are "
        "stretched towards holding 80 % of the validation part, step by step of the horizon."
    )
    readout: ClassVar[str] = (
        "The network adds its readout at the last step of the window, together with the known "
        "values of the steps ahead, to the base, which is a simple method. Errors are those of "
        "every origin in the test part, one after the other. MASE and CRPS are means over the "
        "series; a series that never changed in the training part counts in neither."
    )

    task: Forecast

    @property
    def variant(self) -> str:
        if self.task.per_window:
            return "Each window is scaled by its own last value and spread"
        return "Each window is not scaled"

    def summary(self) -> str:
        task = self.task
        return (
            f"It forecasts {', '.join(task.targets)} for the next {task.horizon} steps of "
            f"{task.period}, from the last {task.window}: nine quantiles, of which the outer two "
            f"are an 80 % interval. {self.base()}"
        ).rstrip()

    def base(self) -> str:
        """Describe what the network starts from, in a sentence; "" for a model without a base."""
        base = self.task.base
        if base is None:
            return ""
        parts = []
        for target, members, transform in zip(
            self.task.targets, base.members, base.transforms, strict=True
        ):
            blend = ", ".join(
                f"{100 * share:.0f} % {method}" for method, share in method_shares(members).items()
            )
            of_target = f" of {target}" if len(self.task.targets) > 1 else ""
            words = "" if transform == "none" else f", of its {NAMES[transform]}"
            parts.append(f"{blend}{of_target}{words}")
        return (
            f"Its base is {'; '.join(parts[:MAX_TARGETS])}"
            f"{' and so on' if len(parts) > MAX_TARGETS else ''}: chosen at rolling origins inside "
            "the training part, fitted to all of it at the end."
        )

    def usage(self) -> str:
        return (
            "forecast = model.predict(gw.read(new_data).data)[0]  # of the first series\n"
            "forecast.times, forecast.median, forecast.low, forecast.high  # (horizon, targets)"
        )

    def limits(self) -> str:
        limits = (
            "It assumes that the future behaves like the past. Its intervals hold as often as "
            "stated only while its errors are like those inside the training part, and in the mean "
            "over many origins; the table shows how often they held on the test part."
        )
        targets, floor = self.task.targets, self.task.floor
        held = [name for name, low in zip(targets, floor, strict=True) if low is not None]
        if held:
            limits += (
                f" {', '.join(held)} went down to 0 and never below in the training data: no "
                "forecast goes below 0 either. Their column with _mean is the mean forecast, to "
                "be summed; the median of a target that is often 0 is too low for that."
            )
        return limits

    def part_size(self, part: Series | Stretch) -> str:
        whole = stretch(part)
        steps = int((whole.series.lengths - np.array(whole.starts)).sum())
        count = f" of {len(whole.series)} series" if len(whole.series) > 1 else ""
        return f"{steps:,} steps{count}"

    def figures(self, predicted: NDArray[np.float64], part: Series | Stretch) -> dict[str, Any]:
        task, windows, series = self.task, self.task.batches(part), stretch(part).series
        times = np.concatenate(series.times)
        means = errors(predicted, windows.truth)
        rows = np.linspace(0, len(windows) - 1, num=min(MAX_WINDOWS, len(windows))).astype(int)
        drawn = windows.take(rows)
        forecasts = []
        for k, target in enumerate(task.targets[:MAX_TARGETS]):
            channel = task.positions([target])[0]
            for number, row in enumerate(rows):
                origin = int(windows.origins[row])
                span = times[origin - task.window : origin + task.horizon]
                forecasts.append(
                    {
                        "target": target,
                        "series": series.ids[windows.series[row]] if len(series) > 1 else "",
                        "times": time_labels(span),
                        "past": drawn.past[number, :, channel].tolist(),
                        "truth": drawn.truth[number, :, k].tolist(),
                        "quantiles": predicted[row, :, k].T.tolist(),
                    }
                )
        return {
            "targets": {
                target: {metric: float(values[:, k].mean()) for metric, values in means.items()}
                for k, target in enumerate(task.targets)
            },
            "forecasts": forecasts,
        }

    def sections(self, figures: Mapping[str, Any], subject: str) -> list[Section]:
        drawn = [DrawnForecast(**forecast) for forecast in figures["forecasts"]]
        return [forecast_section(drawn, figures["targets"], subject)]

    def example(self, model: Any, part: Series | Stretch) -> Example:
        task, windows = self.task, self.task.batches(part)
        origin = int(windows.origins[0])
        times = np.concatenate(stretch(part).series.times)[origin - task.window : origin]
        return Example(
            windows.batch(torch.tensor([0])),
            f"One window: the first of the test part, {task.window} steps.",
            channels=task.seen.channels,
            steps=tuple(time_labels(times)),
        )
