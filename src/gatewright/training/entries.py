"""The rows of a comparison: networks and baselines, each with its trials, and their ranking."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gatewright.tasks.metric import Metric
from gatewright.training.history import History


@dataclass(frozen=True, slots=True)
class Trial:
    """One training of a network, from one seed; or the fit of a baseline, which has no seed."""

    seed: int
    validation: dict[str, float]  # metrics of the weights in the model
    test: dict[str, float]
    predicted: Any  # on the test part, in the task's form
    history: History | None = None
    loss: float = 0.0  # on the validation part; it decides ties


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the comparison: a network or a baseline, with all of its trials."""

    name: str
    title: str
    about: str
    parameters: int | None  # None for a method that stores the data
    trials: tuple[Trial, ...]
    hidden_size: int | None = None  # None for a baseline
    predicts: bool = True  # False for a compressor, which is only a yardstick

    @property
    def is_network(self) -> bool:
        """True for a network, False for a baseline."""
        return self.hidden_size is not None

    def test(self, metric: Metric) -> list[float]:
        """The metric on the test part, for each seed."""
        return [trial.test[metric.name] for trial in self.trials]

    def validation(self, metric: Metric) -> list[float]:
        """The metric on validation, for each seed, which may have a validation part of its own."""
        return [trial.validation[metric.name] for trial in self.trials]

    @property
    def seconds(self) -> float:
        """Processor time of one training, the mean over the seeds."""
        return statistics.mean(history.seconds for history in self.histories)

    @property
    def step_seconds(self) -> float:
        """Processor time of one step of training, the mean over the seeds."""
        return statistics.mean(history.step_seconds for history in self.histories)

    @property
    def step_bytes(self) -> int:
        """Bytes that the forward pass of a step saves for its backward pass."""
        return max(history.step_bytes for history in self.histories)

    @property
    def histories(self) -> list[History]:
        """The history of each seed; empty for a baseline."""
        return [trial.history for trial in self.trials if trial.history is not None]

    def chosen(self, metric: Metric) -> Trial:
        """The trial that did best on its validation part; the loss decides ties."""
        return max(
            self.trials,
            key=lambda trial: (metric.goodness(trial.validation[metric.name]), -trial.loss),
        )


def rank(networks: Sequence[Entry], metric: Metric) -> list[Entry]:
    """The networks by their mean metric on validation, the best first; the loss decides ties."""
    return sorted(
        networks,
        key=lambda entry: (
            -metric.goodness(statistics.mean(entry.validation(metric))),
            statistics.mean(trial.loss for trial in entry.trials),
        ),
    )
