"""One trial: train networks with the settings of a point, each on a validation part of its own."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gatewright.training.config import read_config, to_config
from gatewright.training.job import perform
from gatewright.training.loop import LoopState
from gatewright.training.networks import DEFAULT_CELL
from gatewright.training.plan import ExperimentPlan, make_plan
from gatewright.training.source import Source
from gatewright.training.tuning.space import Settings

#: Called after an epoch of the first training: with its number from 1, and the validation loss.
OnEpoch = Callable[[int, float], None]


@dataclass(slots=True)
class Trials:
    """Performs trials on one training part.

    Attributes:
        source: The data; the test part is never read.
        folds: Trainings of a trial, with the seeds 0, 1, ... as `gw.train` has them.
        computing: Further arguments of `gw.train` for all of them, such as a device.
        sources: The source again with the task for each window, made at its first use.
    """

    source: Source
    folds: int
    computing: Mapping[str, Any] = field(default_factory=dict)
    sources: dict[int, Source] = field(default_factory=dict)

    def config_of(self, settings: Settings) -> dict[str, Any]:
        """The config with which `gw.train` trains the networks of a trial."""
        further = dict(self.computing)
        if settings.window is not None:
            further["horizon"] = self.source.task.horizon  # type: ignore[attr-defined]
            further["window"] = settings.window
        return to_config(
            cell=settings.cell,
            hidden_size=settings.hidden_size,
            recipe=settings.recipe,
            **further,
        )

    def plan_of(self, config: Mapping[str, Any]) -> ExperimentPlan:
        """The plan that `gw.train` makes of a config."""
        arguments = read_config(config)
        cell, window = arguments.pop("cell", DEFAULT_CELL), arguments.pop("window", None)
        arguments.pop("horizon", None)
        arguments["seeds"] = self.folds
        source = self._with_window(window)
        return make_plan(source, [cell], **arguments, say=lambda line: None, reading={})

    def perform(
        self, config: Mapping[str, Any], on_epoch: OnEpoch, stop: Callable[[], bool]
    ) -> tuple[float, dict[str, float]]:
        """Train: the mean of the best validation losses, and of the metrics that belong to them.

        Args:
            stop: Asked before every step; what it raises ends the trial.
        """
        histories = []
        for fold, job in enumerate(self.plan_of(config).jobs()):

            def report(state: LoopState, is_first: bool = fold == 0) -> None:
                if is_first:
                    on_epoch(state.epoch, state.history.validation_loss[-1])

            histories.append(perform(job, self.source.training, report, stop)[1])
        names = histories[0].best
        return (
            statistics.fmean(history.best_loss for history in histories),
            {name: statistics.fmean(own.best[name] for own in histories) for name in names},
        )

    def _with_window(self, window: int | None) -> Source:
        """The source with a task of this window, as it is made where the user asks for it."""
        if window is None:
            return self.source
        if window not in self.sources:
            task: Any = self.source.task
            task = type(task).of(self.source.training, horizon=task.horizon, window=window)
            self.sources[window] = replace(self.source, task=task)
        return self.sources[window]


def start_settings(plan: ExperimentPlan, cell: str) -> Settings:
    """The settings of a plan's first variant."""
    (hidden_size,) = plan.hidden_sizes.values()
    window = getattr(plan.task, "window", None)
    return Settings(cell, hidden_size, plan.recipe, window)
