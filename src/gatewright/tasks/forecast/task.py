"""What comes next in time series: several steps ahead, directly, with intervals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gatewright.data import Series
from gatewright.data.calendar.periods import say_period, season_of
from gatewright.draw.page.page import Section
from gatewright.draw.plots.forecasts import Drawn, forecast_section
from gatewright.errors import ArgumentError, DataError
from gatewright.tasks.forecast.future import Future, columns, said_times
from gatewright.tasks.forecast.lags import boosting_left_out, lag_baselines
from gatewright.tasks.forecast.naive import naive_baselines
from gatewright.tasks.forecast.new_series import Unknown, long_enough, series_for
from gatewright.tasks.forecast.quantiles import (
    COVERAGE,
    CRPS,
    LEVELS,
    MASE,
    MEDIAN,
    errors,
    pinball,
    widening,
)
from gatewright.tasks.forecast.scaled import floors, naive_error, scaled
from gatewright.tasks.forecast.shown_forecasts import shown_forecasts
from gatewright.tasks.forecast.windows import Stretch, Windows, stretch, with_static
from gatewright.tasks.task import (
    Baseline,
    Batch,
    Example,
    Metric,
    Task,
    run_all,
    run_each,
)
from gatewright.tasks.training_ranges import Seen

#: The smallest spread, in deviations of a channel, that a window is divided by.
LEAST_SPREAD = 0.1
#: Units between what is known of a step and what it changes in the forecast.
AHEAD = 16


@dataclass(frozen=True, kw_only=True)
class Forecast(Task):
    """Tell the next `horizon` steps of the targets; predictions are (N, horizon, targets, Q).

    One answer for all steps ("direct"), read at the last step of a window of the past. Q are
    the quantiles at `LEVELS`; the median is the forecast, the outer two are an interval for 80 %.
    """

    kind: ClassVar[str] = "forecast"
    title: ClassVar[str] = "a forecast"
    metrics: ClassVar[tuple[Metric, ...]] = (MASE, CRPS, COVERAGE)
    reading: ClassVar[str] = (
        "A network is read at the last step of its window, together with what is known of the "
        "steps ahead; errors are those of every origin in the test part, one after the other. "
        "MASE: error of the median over that of the seasonal naive forecast inside the training "
        "part of the same series; the mean over the series. CRPS: of nine quantiles, over the "
        "same. A series that did not change there counts in neither."
    )
    division: ClassVar[str] = (
        "In order of time: the last fifth is the test part, and the last fifth of the rest the "
        "validation part. Channels are scaled by mean and deviation of what was learned from. "
        "The intervals are stretched to hold 80 % of the validation part."
    )

    overlap: ClassVar[bool] = True

    seen: Seen  # channels, with the calendar and the static values, and their ranges
    targets: tuple[str, ...]
    known: tuple[str, ...]
    calendar: tuple[str, ...]
    static: tuple[str, ...]
    period: str  # in words
    season: int  # steps; 1 where there is none
    window: int  # steps that are read
    horizon: int  # steps that are told
    naive_error: tuple[tuple[float, ...], ...]  # (series, targets), what MASE divides by
    floor: tuple[float | None, ...]  # of each target, what it never falls below
    per_window: bool = False  # whether each window is scaled by its own last value and spread

    def inconsistency(self) -> str | None:
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
        return self.seen.inconsistency()

    @classmethod
    def of(cls, training: Series, *, horizon: int | None = None, window: int | None = None) -> Self:
        """The task that these series set: with their calendar already beside them."""
        for what, given in (("horizon", horizon), ("window", window)):
            if given is not None and given < 1:
                raise ArgumentError(f"{what} is {given}; expected at least 1")
        if training.period is None:
            raise DataError(
                f"the times of {training.name} are irregular, so a trained model could not say "
                "what it forecasts: bring them to a regular step, put missing steps in with "
                "fill='linear' or 'previous', or leave the column of times out with ignore=, "
                "which takes each row as one step"
            )
        season = training.steps_a_season or season_of(training.period) or 1
        usual = season_of(training.period) or (season if 1 < season <= 48 else 8)
        horizon = horizon or usual
        longest = int(training.lengths.max())
        window = window or max(min(max(4 * usual, 24), longest // 4), 2)
        Windows.of(training, window, horizon)  # refuses what is too short
        arrays = [with_static(training, at, one) for at, one in enumerate(training.values)]
        return cls(
            seen=Seen.of_values(arrays, training.channels + training.static_names),
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
        )

    @property
    def inputs(self) -> int:
        return len(self.seen.channels)

    @property
    def outputs(self) -> int:
        return self.horizon * len(self.targets) * len(LEVELS)

    @property
    def reach(self) -> int:  # type: ignore[override]
        """The network without a memory sees the whole window."""
        return self.window - 1

    def positions(self, names: Sequence[str]) -> list[int]:
        """Where these stand among the channels."""
        return [self.seen.channels.index(name) for name in names]

    @staticmethod
    def split(whole: Series) -> tuple[Series, Stretch]:
        cuts = [max(int(0.8 * steps), 1) for steps in whole.lengths]
        rest = whole.steps([slice(0, cut) for cut in cuts])
        return rest, Stretch(whole, tuple(cuts))

    def parts(self, training: Series, fraction: float, seed: int) -> tuple[Series, Stretch]:
        cuts = [max(int((1 - fraction) * steps), 1) for steps in training.lengths]
        rest = training.steps([slice(0, cut) for cut in cuts])
        return rest, Stretch(training, tuple(cuts))

    def batches(self, part: Series | Stretch) -> Windows:
        return Windows.of(part, self.window, self.horizon)

    def values(self, training: Series) -> NDArray[np.float64]:
        arrays = [with_static(training, at, one) for at, one in enumerate(training.values)]
        return np.concatenate(arrays)

    def prepare(self, z: Tensor, batch: Batch) -> tuple[Tensor, Any]:
        if not self.per_window:
            return z, None
        own = [at for at, name in enumerate(self.seen.channels) if self._moves(name)]
        level = z[-1:, :, own]
        spread = z[:, :, own].std(0, keepdim=True, correction=0).clamp(min=LEAST_SPREAD)
        z = z.clone()
        z[:, :, own] = (z[:, :, own] - level) / spread
        at = [own.index(position) for position in self.positions(self.targets)]
        return z, (level[0, :, at], spread[0, :, at])

    def _moves(self, channel: str) -> bool:
        return channel not in self.known and channel not in self.static

    def own_modules(self) -> dict[str, nn.Module]:
        if not self.known:
            return {}
        outputs = len(self.targets) * len(LEVELS)
        return {
            "ahead": nn.Sequential(
                nn.Linear(len(self.known), AHEAD), nn.Tanh(), nn.Linear(AHEAD, outputs, bias=False)
            )
        }

    def beside(self, model: Any, batch: Batch) -> Tensor | float:
        """What is known of each step ahead speaks for that step, in the same way for all."""
        if batch.further is None:
            return 0.0
        at = self.positions(self.known)
        spoken: Tensor = model.ahead((batch.further - model.mean[at]) / model.scale[at])
        return spoken.flatten(1)

    def finish(self, outputs: Tensor, kept: Any) -> Tensor:
        shape = (-1, self.horizon, len(self.targets), len(LEVELS))
        quantiles: Tensor = outputs.view(shape).sort(-1).values
        if kept is None:
            return quantiles
        level, spread = (one[:, None, :, None] for one in kept)
        spanned: Tensor = quantiles * spread + level
        return spanned

    def aim(self, batch: Batch, kept: Any, model: Any) -> Tensor:
        at = self.positions(self.targets)
        scaled: Tensor = (batch.target - model.mean[at]) / model.scale[at]
        if kept is None:
            return scaled
        level, spread = (one[:, None] for one in kept)
        spanned: Tensor = (scaled - level) / spread
        return spanned

    def loss(self, outputs: Tensor, batch: Batch, model: Any) -> Tensor:
        return pinball(outputs, self.aim(batch, None, model))

    def predictions(self, pairs: Iterable[tuple[Tensor, Batch]], model: Any) -> NDArray[np.float64]:
        return self.bounded(self._unbounded(pairs, model))

    def bounded(self, quantiles: NDArray[np.float64]) -> NDArray[np.float64]:
        """Quantiles (N, horizon, K, Q), none of them below the floor of its target."""
        floor = [-np.inf if one is None else one for one in self.floor]
        bounded: NDArray[np.float64] = np.maximum(quantiles, np.array(floor)[:, None])
        return bounded

    def _unbounded(self, pairs: Iterable[tuple[Tensor, Batch]], model: Any) -> NDArray[np.float64]:
        at = self.positions(self.targets)
        scaled = torch.cat([outputs for outputs, _ in pairs])
        middle = scaled[..., MEDIAN : MEDIAN + 1]
        scaled = middle + (scaled - middle) * model.widening[:, None]
        raw = scaled * model.scale[at, None] + model.mean[at, None]
        found: NDArray[np.float64] = raw.double().numpy()
        return found

    def own_buffers(self) -> dict[str, Tensor]:
        return {"widening": torch.ones(len(self.targets))}

    def calibrate(self, model: Any, validation: Stretch) -> None:
        batches = self.batches(validation)
        # Of unbounded ones: an end that lies at the floor would not say how far to stretch.
        predicted = self._unbounded(run_all(model, batches), model)
        model.widening.copy_(torch.from_numpy(widening(predicted, batches.truth)))

    def score(self, predicted: NDArray[np.float64], part: Series | Stretch) -> dict[str, float]:
        windows = self.batches(part)
        found = errors(predicted, windows.truth)
        coverage = float(found.pop("coverage").mean())
        measured = scaled(found, windows, self.naive_error)
        return {"mase": measured["mae"], "crps": measured["crps"], "coverage": coverage}

    def shown(self, predicted: NDArray[np.float64], part: Series | Stretch) -> dict[str, Any]:
        return shown_forecasts(self, predicted, self.batches(part), stretch(part).series)

    def sections(self, shown: Mapping[str, Any], whose: str) -> list[Section]:
        drawn = [Drawn(**one) for one in shown["forecasts"]]
        return [forecast_section(drawn, shown["targets"], whose)]

    def example(self, model: Any, part: Series | Stretch) -> Example:
        windows = self.batches(part)
        origin = int(windows.origins[0])
        times = np.concatenate(stretch(part).series.times)[origin - self.window : origin]
        return Example(
            windows.batch(torch.tensor([0])),
            f"One window: the first of the test part, {self.window} steps.",
            channels=self.seen.channels,
            steps=tuple(said_times(times)),
        )

    def ready(self, data: Series, *, unknown: Unknown = "refuse") -> tuple[Series, list[str]]:
        """See `Task.ready`; series that are too short are left out, with a remark on each.

        Args:
            unknown: "refuse" a category of a static column that was not learned, or forecast
                its series as one of none of them ("other").
        """
        series, remarks = series_for(self, data, unknown)
        series, short = long_enough(series, self.window)
        return series, [*remarks, *([f"left out: {short}"] if short else [])]

    def predict(self, model: Any, data: Series, *, horizon: int | None = None) -> list[Future]:
        """The next `horizon` steps of each series, those of the model unless given.

        Raises:
            DataError: where the data do not fit, or a series is too short.
        """
        steps = self._steps_ahead(horizon)
        series, _ = series_for(self, data, "refuse")
        series, short = long_enough(series, self.window)
        if short:  # answers would no longer stand at the places of their series
            raise DataError(f"{short}; leave them out, or use gatewright.predict, which does")
        futures = []
        for at, values in enumerate(series.values):
            past = with_static(series, at, values)[-self.window :]
            # Each step ahead is told by what is known of it alone, so those that are not asked
            # for may read anything.
            known = np.zeros((1, self.horizon, len(self.known)))
            known[0, :steps] = series.known_after(at, steps)
            batch = Batch(
                torch.tensor(past[:, None], dtype=model.mean.dtype),
                None,
                torch.zeros(1),
                torch.tensor(known, dtype=model.mean.dtype) if self.known else None,
            )
            quantiles = self.predictions(run_each(model, [batch]), model)[0, :steps]
            times = series.times_after(at, steps)
            futures.append(Future(series.ids[at], self.targets, times, quantiles))
        return futures

    def _steps_ahead(self, horizon: int | None) -> int:
        """The steps that are asked for, checked."""
        if horizon is None:
            return self.horizon
        if not isinstance(horizon, int) or not 1 <= horizon <= self.horizon:
            raise ArgumentError(
                f"horizon is {horizon}; the model tells the next {self.horizon} steps: give at "
                "most that, or train one with a longer horizon="
            )
        return horizon

    def table(
        self, model: Any, data: Series, *, horizon: int | None = None
    ) -> dict[str, list[Any]]:
        futures = self.predict(model, data, horizon=horizon)
        return columns(futures, ids=len(futures) > 1 or model.reading.get("id") is not None)

    def says(self) -> str:
        return (
            f"It forecasts {', '.join(self.targets)} for the next {self.horizon} steps of "
            f"{self.period}, from the last {self.window}: nine quantiles, of which the outer two "
            "are an interval for 80 % of what comes."
        )

    def usage(self) -> str:
        return (
            "forecast = model.predict(gw.read(new_data).data)[0]  # of the first series\n"
            "forecast.times, forecast.median, forecast.low, forecast.high  # (horizon, targets)"
        )

    def limits(self) -> str:
        held = [name for name, one in zip(self.targets, self.floor, strict=True) if one is not None]
        end = ""
        if held:
            end = (
                f" {', '.join(held)} went down to 0 and never below in what was learned from: no "
                "forecast goes below it either."
            )
        return (
            "It forecasts as if what made the past went on. Intervals hold as often as stated "
            "only while new data are like the validation part; the table says how often they "
            f"held on the test part.{end}"
        )

    def counted(self, part: Series | Stretch) -> str:
        given = stretch(part)
        steps = int((given.series.lengths - np.array(given.starts)).sum())
        count = f" of {len(given.series)} series" if len(given.series) > 1 else ""
        return f"{steps:,} steps{count}"

    def baselines(self) -> Sequence[Baseline]:
        return (*naive_baselines(self), *lag_baselines(self))

    def left_out(self) -> Sequence[str]:
        return boosting_left_out()

    def variants(self) -> Sequence[Self]:
        return (self, replace(self, per_window=True))

    def settled_on(self, loss: float, other: float) -> str:
        what = "is scaled by its own last value and spread" if self.per_window else "is not scaled"
        return (
            f"Each window {what}: after a short training the validation loss was {loss:.3f}, "
            f"and {other:.3f} the other way."
        )
