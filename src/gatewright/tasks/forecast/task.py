"""The forecast of time series as a task: several steps ahead at once, with quantiles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gatewright.data import Series
from gatewright.errors import ArgumentError, DataError
from gatewright.tasks.forecast.base.base import Base
from gatewright.tasks.forecast.base.choice import choose_base
from gatewright.tasks.forecast.base.fit import fit_map, fit_quantiles, forecast, shapes
from gatewright.tasks.forecast.base.frame import scaled_past
from gatewright.tasks.forecast.base.intervals import independent
from gatewright.tasks.forecast.base.reading import Places
from gatewright.tasks.forecast.base.rolling import MIN_WINDOWS
from gatewright.tasks.forecast.base.transform import backward, transformed, transformed_array
from gatewright.tasks.forecast.future import Future, columns
from gatewright.tasks.forecast.means import mean_factors, means
from gatewright.tasks.forecast.metrics import (
    BIAS,
    COVERAGE,
    CRPS,
    LEVELS,
    MASE,
    MEDIAN,
    bias_of_sums,
    errors,
    pinball,
    scaled,
    step_widening,
    widening,
)
from gatewright.tasks.forecast.new_series import Unknown, long_enough, series_for
from gatewright.tasks.forecast.shares import network_shares
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
    data_type: ClassVar[type[Any]] = Series
    takes: ClassVar[str] = "a Series of gw.read"
    metrics: ClassVar[tuple[Metric, ...]] = (MASE, CRPS, COVERAGE, BIAS)
    overlap: ClassVar[bool] = True

    per_window: bool = False  # whether each window is scaled by its own last value and spread
    # The best simple method, which the network starts from; models of version 0.1 have none.
    base: Base | None = None

    @classmethod
    def of(cls, training: Series, *, horizon: int | None = None, window: int | None = None) -> Self:
        task = super().of(training, horizon=horizon, window=window)
        return replace(task, base=choose_base(task, training))

    @property
    def places(self) -> Places:
        """Positions of the channels by their part in the base."""
        return Places.of(self)

    @property
    def start_counts(self) -> bool:
        return self.base is not None

    @property
    def inputs(self) -> int:
        return len(self.seen.channels)

    @property
    def channels(self) -> tuple[str, ...]:
        return self.seen.channels

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
        windows = self.windows(part)
        if self.base is None:
            return windows
        units = np.array(self.base.units)
        if len(units) != len(windows.begins):  # other series than those of training
            units = np.tile(units.mean(0), (len(windows.begins), 1))
        # A series that never changed in the training part has no unit, and does not count.
        weights = np.divide(1.0, units, out=np.zeros_like(units), where=units > 0.0)
        return replace(windows, weights=weights[windows.series])

    def values(self, training: Series) -> NDArray[np.float64]:
        arrays = [with_static(training, k, values) for k, values in enumerate(training.values)]
        values = np.concatenate(arrays)
        if self.base is None:
            return values
        return transformed_array(values, self.places.targets, self.base.transforms, self.seen.low)

    def transform(self, x: Tensor) -> Tensor:
        """Return raw values (..., I) with the targets transformed as the base asks for."""
        if self.base is None:
            return x
        return transformed(x, self.places.targets, self.base.transforms, self.seen.low)

    def prepare(self, z: Tensor, batch: Batch) -> tuple[Tensor, Any]:
        """Scale each window by its own last value and spread, if `per_window`.

        The context is (level, spread) of the targets, (B, K) each; None where neither the
        network nor a base reads the window in its own units.
        """
        if self.base is None and not self.per_window:
            return z, None
        scaled, level, spread = self._scaled(z)
        return scaled if self.per_window else z, (level, spread)

    def _scaled(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return events in units of their window, and (level, spread) of the targets, (B, K)."""
        # Known and static channels mean the same in every window, such as a price or an hour.
        own = self.places.own
        smallest = (MIN_SPREAD,) * len(own) if self.base is None else self.base.smallest_spread
        scaled, level, spread = scaled_past(z, own, z.new_tensor(smallest))
        targets = [own.index(position) for position in self.places.targets]
        return scaled, level[:, targets], spread[:, targets]

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
        """Return the base, plus the effect of each step's own known values."""
        offset: Tensor | float = 0.0
        ahead = None
        if batch.further is not None:
            known = self.positions(self.known)
            ahead = (batch.further - model.mean[known]) / model.scale[known]
            offset = model.ahead(ahead).flatten(1)  # (B, horizon K Q)
        if self.base is None:
            return offset
        past, *scale = self._scaled(model.encode(batch.x))
        buffers = {name: getattr(model, name) for name in shapes(self, self.base)}
        quantiles = forecast(buffers, past, ahead, self.places, (scale[0], scale[1]))
        return quantiles.flatten(1) + offset

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
        targets = self.places.targets
        values = batch.target
        if self.base is not None:
            low = [self.seen.low[position] for position in targets]
            values = transformed(values, range(len(targets)), self.base.transforms, low)
        target: Tensor = (values - model.mean[targets]) / model.scale[targets]
        if context is None:
            return target
        level, spread = (tensor[:, None] for tensor in context)
        of_window: Tensor = (target - level) / spread
        return of_window

    def mean_outputs(self, outputs: Tensor) -> Tensor:
        """Return the mean of each quantile over several models, (models, ...)."""
        return outputs.mean(0)

    def loss(self, outputs: Tensor, batch: Batch, model: Any) -> Tensor:
        target = self.readout_target(batch, None, model)
        weights = batch.weights
        if weights is not None:  # 1 / the unit of each series, in units of the data
            weights = weights * model.scale[self.places.targets]
        return pinball(outputs, target, weights)

    def taught_loss(self, outputs: Tensor, taught: Tensor, batch: Batch, model: Any) -> Tensor:
        """Return the mean distance of the quantiles from those of a model that teaches."""
        distance = (outputs - taught).abs()
        if batch.weights is None:
            return distance.mean()
        weights = batch.weights * model.scale[self.places.targets]
        mean: Tensor = (distance * weights[:, None, :, None]).mean()
        return mean

    def predictions(self, pairs: Iterable[tuple[Tensor, Batch]], model: Any) -> NDArray[np.float64]:
        return self.bounded(self._unbounded(pairs, model))

    def _unbounded(self, pairs: Iterable[tuple[Tensor, Batch]], model: Any) -> NDArray[np.float64]:
        """Return widened quantiles in the units of the data."""
        outputs = torch.cat([outputs for outputs, _ in pairs])
        quantiles = self._in_units(self._widened(outputs, model).double())
        unbounded: NDArray[np.float64] = quantiles.cpu().numpy()
        return unbounded

    def _widened(self, quantiles: Tensor, model: Any) -> Tensor:
        """Return widened quantiles in the units of the transformed data."""
        targets = self.places.targets
        middle = quantiles[..., MEDIAN : MEDIAN + 1]
        # One factor for each target, (K, 1), or for each step of the horizon too, (H, K, 1).
        quantiles = middle + (quantiles - middle) * model.widening[..., None]
        raw: Tensor = quantiles * model.scale[targets, None] + model.mean[targets, None]
        return raw

    def _in_units(self, quantiles: Tensor) -> Tensor:
        """Return quantiles (N, horizon, K, Q) of the transformed data in the data's own units."""
        transforms = () if self.base is None else self.base.transforms
        if all(transform == "none" for transform in transforms):
            return quantiles
        targets = [backward(quantiles[:, :, k], own) for k, own in enumerate(transforms)]
        return torch.stack(targets, 2)

    def answers(self, outputs: Tensor, batch: Batch, model: Any) -> dict[str, Tensor]:
        """Return "y", the quantiles, and "y_mean", (B, horizon, K), of targets with a floor."""
        quantiles = self._in_units(self._widened(outputs, model))
        if any(low is not None for low in self.floor):
            floor = [-math.inf if low is None else low for low in self.floor]
            quantiles = quantiles.maximum(quantiles.new_tensor(floor)[:, None])
        answers = {"y": quantiles}
        if any(self.rounds):
            rounds = torch.tensor(self.rounds, device=quantiles.device)[:, None]
            answers["y"] = torch.where(rounds, (quantiles + 0.5).floor(), quantiles)
        if self.has_means:
            past = batch.x[:, :, self.places.targets].transpose(0, 1)
            answers["y_mean"] = means(quantiles, past, model.mean_factors)
        return answers

    @property
    def has_means(self) -> bool:
        """True if there are mean forecasts: of targets that are never below 0."""
        return self.base is not None and any(low is not None for low in self.floor)

    def own_buffers(self) -> dict[str, Tensor]:
        if self.base is None:
            return {"widening": torch.ones(len(self.targets))}
        return {
            "widening": torch.ones(self.horizon, len(self.targets)),
            "mean_factors": torch.zeros(2, len(self.targets)),
            **{name: torch.zeros(shape) for name, shape in shapes(self, self.base).items()},
        }

    def start(self, model: Any, training: Series) -> None:
        """Fit the base, and let the network add nothing to it yet."""
        if self.base is None:
            return
        self.fit_map_of(model, training)
        self._store(model, fit_quantiles(self, self.base, training))
        self._scale_network(model, 0.0)

    def fit_map_of(self, model: Any, training: Series) -> None:
        """Fit the linear map of the base to these series, in place."""
        assert self.base is not None
        scaling = (model.mean.double().cpu().numpy(), model.scale.double().cpu().numpy())
        self._store(model, fit_map(self, self.base, training, scaling))

    @staticmethod
    def _store(model: Any, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            getattr(model, name).copy_(tensor)

    def calibrate(self, model: Any, validation: Stretch) -> bool:
        """Widen the intervals until they hold their share of the validation part.

        Where there is a base, first reduce what the network adds to it to the share that so many
        data can support. Where nothing is left of it, the intervals are those of the base, from
        its errors at rolling origins. Return whether the network counts.
        """
        batches = self.batches(validation)
        if self.base is None:
            model.widening.fill_(1.0)
            # Without the floor: an end that was raised to it would not tell how far to stretch.
            predicted = self._unbounded(run_all(model, batches), model)
            model.widening.copy_(torch.from_numpy(widening(predicted, batches.truth)))
            return True
        model.widening.fill_(1.0)
        self._store(model, fit_quantiles(self, self.base, validation.series))
        learned = self._scale_network(model, 0.0)
        by_base = self._unbounded(run_all(model, batches), model)
        self._scale_network(model, 1.0, learned)
        by_network = self._unbounded(run_all(model, batches), model)
        shares = self._shares(by_base, by_network, batches)
        self._scale_network(model, shares)
        predicted = self._unbounded(run_all(model, batches), model)
        helps = bool(shares.any())
        if helps:
            count = independent(len(batches), self.horizon)
            factors = step_widening(predicted, by_base, batches.truth, count)
            model.widening.copy_(torch.from_numpy(factors))
            predicted = self._unbounded(run_all(model, batches), model)
        past = batches.past[:, :, self.places.targets]
        factors = mean_factors(self.raised(predicted), past, batches.truth)
        model.mean_factors.copy_(torch.from_numpy(factors))
        return helps

    def _shares(
        self,
        by_base: NDArray[np.float64],
        by_network: NDArray[np.float64],
        windows: Windows,
    ) -> NDArray[np.float64]:
        """Return the share of the network's part that counts, for each target, (K,)."""
        units = np.array(self.naive_error)[windows.series][:, None]
        units = np.where(units > 0.0, units, np.inf)
        base, network = (self.raised(own)[..., MEDIAN] / units for own in (by_base, by_network))
        # That is the count for the shape of a distribution, which the steps share: twice as many.
        count = 0.5 * independent(len(windows), self.horizon)
        return network_shares(base, network, windows.truth / units, count)

    def calibrate_mean(self, model: Any, members: Iterable[Any], validation: Stretch) -> None:
        """Take the mean of what the members were corrected by.

        Their bases have learned from the validation part by now, so it can judge no interval.
        """
        if self.base is None:
            self.calibrate(model, validation)
            return
        for name in ("widening", "mean_factors"):
            own = [getattr(member, name) for member in members]
            getattr(model, name).copy_(torch.stack(own).mean(0))

    def _scale_network(
        self,
        model: Any,
        shares: NDArray[np.float64] | float,
        weights: Sequence[Tensor] | None = None,
    ) -> list[Tensor]:
        """Multiply all that is added to the base, in place; return the weights before that.

        Args:
            shares: A factor for each target, (K,), or for all.
            weights: Weights to take instead of the model's own.
        """
        own = [model.readout.weight, model.readout.bias]
        own += [model.ahead[-1].weight] if self.known else []
        before = [tensor.detach().clone() for tensor in own]
        by_target = np.broadcast_to(np.asarray(shares, np.float64), len(self.targets))
        by_output = torch.from_numpy(np.repeat(by_target, len(LEVELS)))  # of one step, (K Q,)
        with torch.no_grad():
            for tensor, source in zip(own, weights or before, strict=True):
                factor = by_output.to(tensor).repeat(len(tensor) // len(by_output))
                tensor.copy_(source * factor.view(-1, *(1,) * (tensor.dim() - 1)))
        return before

    def refit(self, model: Any, validation: Stretch) -> None:
        """Fit the base again, to training and validation part together."""
        if self.base is not None:
            self.fit_map_of(model, validation.series)

    def score(self, predicted: NDArray[np.float64], part: Series | Stretch) -> dict[str, float]:
        windows = self.batches(part)
        raw = errors(predicted, windows.truth)
        coverage = float(raw.pop("coverage").mean())
        scores = scaled(raw, windows, self.naive_error)
        return {
            "mase": scores["mae"],
            "crps": scores["crps"],
            "coverage": coverage,
            "bias": bias_of_sums(predicted, windows.truth),
        }

    def variants(self) -> Sequence[Self]:
        # The base knows the level; in a network, levels only invite it to learn the dates.
        if self.base is not None:
            return (replace(self, per_window=True),)
        return (self, replace(self, per_window=True))

    def with_longer_window(self, training: Series, validation: float) -> Self | None:
        window = 2 * self.window
        # All origins of the validation part stay, and some windows to learn from.
        least = window + self.horizon + MIN_WINDOWS
        if int((1 - validation) * training.lengths.min()) < least:
            return None
        task = self.of(training, horizon=self.horizon, window=window)
        return replace(task, per_window=self.per_window)

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
        series = self.predictable(data)
        futures = []
        for position in range(len(series)):
            batch = self.latest(series, position, steps, model.mean.dtype)
            unbounded = self._unbounded(run_each(model, [batch]), model)[0, :steps]
            quantiles = self.bounded(unbounded)
            times = series.times_after(position, steps)
            past = with_static(series, position, series.values[position])[-self.window :]
            sums = self._means(model, self.raised(unbounded), past)
            futures.append(Future(series.ids[position], self.targets, times, quantiles, sums))
        return futures

    def predictable(self, data: Series) -> Series:
        """Return new series in the model's form.

        Raises:
            DataError: if the data do not fit, or a series is too short.
        """
        series, _ = series_for(self, data, "refuse")
        series, short = long_enough(series, self.window)
        if short:  # the forecasts would no longer be at the positions of their series
            raise DataError(f"{short}; leave them out, or use gatewright.predict, which does")
        return series

    def latest(self, series: Series, position: int, steps: int, dtype: torch.dtype) -> Batch:
        """Return the last window of a series and the known values of the next `steps` steps."""
        past = with_static(series, position, series.values[position])[-self.window :]
        # The offset of a step depends only on its own known values, so the steps after the
        # requested ones may read anything.
        known = np.zeros((1, self.horizon, len(self.known)))
        known[0, :steps] = series.known_after(position, steps)
        return Batch(
            torch.tensor(past[:, None], dtype=dtype),
            None,
            torch.zeros(1),
            torch.tensor(known, dtype=dtype) if self.known else None,
        )

    def _means(
        self, model: Any, quantiles: NDArray[np.float64], past: NDArray[np.float64]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the mean forecasts (horizon,) of the targets that are never below 0."""
        if self.base is None:
            return {}
        factors = model.mean_factors.double().cpu().numpy()
        forecasts = means(quantiles[None], past[None][:, :, self.places.targets], factors)[0]
        return {
            target: forecasts[:, k]
            for k, (target, low) in enumerate(zip(self.targets, self.floor, strict=True))
            if low is not None
        }

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
