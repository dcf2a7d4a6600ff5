"""The forecast of time series as a task: several steps ahead at once, with quantiles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gatewright.data import Series
from gatewright.errors import ArgumentError, DataError
from gatewright.tasks.forecast.future import Future, columns
from gatewright.tasks.forecast.metrics import (
    COVERAGE,
    CRPS,
    LEVELS,
    MASE,
    MEDIAN,
    errors,
    pinball,
    scaled,
    widening,
)
from gatewright.tasks.forecast.new_series import Unknown, long_enough, series_for
from gatewright.tasks.forecast.spec import ForecastSpec
from gatewright.tasks.forecast.windows import Stretch, Windows, with_static
from gatewright.tasks.metric import Metric
from gatewright.tasks.task import Batch, Task, run_all, run_each

#: Smallest spread that a window is divided by, in standard deviations of the channel.
MIN_SPREAD = 0.1
#: Hidden units between the known values of a future step and their effect on its forecast.
AHEAD_UNITS = 16


@dataclass(frozen=True, kw_only=True)
class Forecast(ForecastSpec, Task):
    """Predict the next `horizon` steps of the targets; predictions are (N, horizon, targets, Q).

    All steps are predicted at once ("direct"), from the network's output at the last step of a
    window. Q are the quantiles at `LEVELS`; the median is the forecast, and the outer two are an
    80 % interval.
    """

    kind: ClassVar[str] = "forecast"
    metrics: ClassVar[tuple[Metric, ...]] = (MASE, CRPS, COVERAGE)
    overlap: ClassVar[bool] = True

    per_window: bool = False  # whether each window is scaled by its own last value and spread

    @property
    def inputs(self) -> int:
        return len(self.seen.channels)

    @property
    def outputs(self) -> int:
        return self.horizon * len(self.targets) * len(LEVELS)

    @property
    def reach(self) -> int:  # type: ignore[override]
        """Steps back that the window network sees: the whole window."""
        return self.window - 1

    @staticmethod
    def split(whole: Series) -> tuple[Series, Stretch]:
        cuts = [max(int(0.8 * steps), 1) for steps in whole.lengths]
        rest = whole.steps([slice(0, cut) for cut in cuts])
        return rest, Stretch(whole, tuple(cuts))

    def parts(self, training: Series, fraction: float, seed: int) -> tuple[Series, Stretch]:
        cuts = [max(int((1 - fraction) * steps), 1) for steps in training.lengths]
        rest = training.steps([slice(0, cut) for cut in cuts])
        return rest, Stretch(training, tuple(cuts))

    def half(self, training: Series) -> Series:
        """Return the later half of each series, or all where a half would hold no window."""
        least = self.window + self.horizon
        halves = [
            slice(steps // 2 if steps - steps // 2 >= least else 0, steps)
            for steps in training.lengths
        ]
        return training.steps(halves)

    def batches(self, part: Series | Stretch) -> Windows:
        return self.windows(part)

    def values(self, training: Series) -> NDArray[np.float64]:
        arrays = [with_static(training, k, values) for k, values in enumerate(training.values)]
        return np.concatenate(arrays)

    def prepare(self, z: Tensor, batch: Batch) -> tuple[Tensor, Any]:
        """Scale each window by its own last value and spread, if `per_window`.

        The context is (level, spread) of the targets, (B, K) each.
        """
        if not self.per_window:
            return z, None
        own = [k for k, name in enumerate(self.seen.channels) if self._is_scaled(name)]
        level = z[-1:, :, own]
        spread = z[:, :, own].std(0, keepdim=True, correction=0).clamp(min=MIN_SPREAD)
        z = z.clone()
        z[:, :, own] = (z[:, :, own] - level) / spread
        targets = [own.index(position) for position in self.positions(self.targets)]
        return z, (level[0, :, targets], spread[0, :, targets])

    def _is_scaled(self, channel: str) -> bool:
        # Known and static channels mean the same in every window, such as a price or an hour.
        return channel not in self.known and channel not in self.static

    def own_modules(self) -> dict[str, nn.Module]:
        """Return "ahead", from the known values of a future step to its quantiles."""
        if not self.known:
            return {}
        outputs = len(self.targets) * len(LEVELS)
        return {
            "ahead": nn.Sequential(
                nn.Linear(len(self.known), AHEAD_UNITS),
                nn.Tanh(),
                nn.Linear(AHEAD_UNITS, outputs, bias=False),
            )
        }

    def readout_offset(self, model: Any, batch: Batch) -> Tensor | float:
        """Return the effect of the known future values: each step's own, by the same function."""
        if batch.further is None:
            return 0.0
        known = self.positions(self.known)
        scaled_ahead = (batch.further - model.mean[known]) / model.scale[known]
        offset: Tensor = model.ahead(scaled_ahead)  # (B, horizon, K Q)
        return offset.flatten(1)

    def finish(self, outputs: Tensor, context: Any) -> Tensor:
        """Return sorted quantiles (B, horizon, K, Q) in the scale of the channels."""
        shape = (-1, self.horizon, len(self.targets), len(LEVELS))
        quantiles: Tensor = outputs.view(shape).sort(-1).values
        if context is None:
            return quantiles
        level, spread = (tensor[:, None, :, None] for tensor in context)
        unscaled: Tensor = quantiles * spread + level
        return unscaled

    def readout_target(self, batch: Batch, context: Any, model: Any) -> Tensor:
        targets = self.positions(self.targets)
        target: Tensor = (batch.target - model.mean[targets]) / model.scale[targets]
        if context is None:
            return target
        level, spread = (tensor[:, None] for tensor in context)
        of_window: Tensor = (target - level) / spread
        return of_window

    def mean_outputs(self, outputs: Tensor) -> Tensor:
        """Return the mean of each quantile over several models, (models, ...)."""
        return outputs.mean(0)

    def loss(self, outputs: Tensor, batch: Batch, model: Any) -> Tensor:
        return pinball(outputs, self.readout_target(batch, None, model))

    def predictions(self, pairs: Iterable[tuple[Tensor, Batch]], model: Any) -> NDArray[np.float64]:
        return self.bounded(self._unbounded(pairs, model))

    def _unbounded(self, pairs: Iterable[tuple[Tensor, Batch]], model: Any) -> NDArray[np.float64]:
        """Return widened quantiles in the units of the data."""
        targets = self.positions(self.targets)
        quantiles = torch.cat([outputs for outputs, _ in pairs])
        middle = quantiles[..., MEDIAN : MEDIAN + 1]
        quantiles = middle + (quantiles - middle) * model.widening[:, None]
        raw = quantiles * model.scale[targets, None] + model.mean[targets, None]
        unbounded: NDArray[np.float64] = raw.double().numpy()
        return unbounded

    def own_buffers(self) -> dict[str, Tensor]:
        return {"widening": torch.ones(len(self.targets))}

    def calibrate(self, model: Any, validation: Stretch) -> None:
        """Widen the intervals until they hold their share of the validation part."""
        batches = self.batches(validation)
        model.widening.fill_(1.0)
        # Without the floor: an end that was raised to it would not tell how far to stretch.
        predicted = self._unbounded(run_all(model, batches), model)
        model.widening.copy_(torch.from_numpy(widening(predicted, batches.truth)))

    def score(self, predicted: NDArray[np.float64], part: Series | Stretch) -> dict[str, float]:
        windows = self.batches(part)
        raw = errors(predicted, windows.truth)
        coverage = float(raw.pop("coverage").mean())
        means = scaled(raw, windows, self.naive_error)
        return {"mase": means["mae"], "crps": means["crps"], "coverage": coverage}

    def variants(self) -> Sequence[Self]:
        return (self, replace(self, per_window=True))

    def adapt(self, data: Series, *, unknown: Unknown = "refuse") -> tuple[Series, list[str]]:
        """Bring new series into the model's form; those that are too short are left out.

        Args:
            data: New series.
            unknown: "refuse" a category of a static column that was not in the training data, or
                forecast its series as one of no known category ("other").
        """
        series, remarks = series_for(self, data, unknown)
        series, short = long_enough(series, self.window)
        return series, [*remarks, *([f"left out: {short}"] if short else [])]

    def predict(self, model: Any, data: Series, *, horizon: int | None = None) -> list[Future]:
        """Return the forecast of the next `horizon` steps of each series.

        Args:
            model: A trained model.
            data: New series.
            horizon: At most the task's own, which is the default.

        Raises:
            DataError: if the data do not fit, or a series is too short.
        """
        steps = self._check_horizon(horizon)
        series, _ = series_for(self, data, "refuse")
        series, short = long_enough(series, self.window)
        if short:  # the forecasts would no longer be at the positions of their series
            raise DataError(f"{short}; leave them out, or use gatewright.predict, which does")
        futures = []
        for position, values in enumerate(series.values):
            past = with_static(series, position, values)[-self.window :]
            # The offset of a step depends only on its own known values, so the steps after the
            # requested ones may read anything.
            known = np.zeros((1, self.horizon, len(self.known)))
            known[0, :steps] = series.known_after(position, steps)
            batch = Batch(
                torch.tensor(past[:, None], dtype=model.mean.dtype),
                None,
                torch.zeros(1),
                torch.tensor(known, dtype=model.mean.dtype) if self.known else None,
            )
            quantiles = self.predictions(run_each(model, [batch]), model)[0, :steps]
            times = series.times_after(position, steps)
            futures.append(Future(series.ids[position], self.targets, times, quantiles))
        return futures

    def _check_horizon(self, horizon: int | None) -> int:
        if horizon is None:
            return self.horizon
        if not isinstance(horizon, int) or not 1 <= horizon <= self.horizon:
            raise ArgumentError(
                f"horizon is {horizon}; the model predicts the next {self.horizon} steps: give at "
                "most that, or train one with a longer horizon="
            )
        return horizon

    def table(
        self, model: Any, data: Series, *, horizon: int | None = None
    ) -> dict[str, list[Any]]:
        futures = self.predict(model, data, horizon=horizon)
        return columns(futures, ids=len(futures) > 1 or model.reading.get("id") is not None)
