"""What a comparison found: the table, and everything behind it for machines."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from gatewright.training.loop import History
from gatewright.training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Trial:
    """One network, trained from one seed."""

    seed: int
    history: History
    test_accuracy: float
    predicted: list[int]  # the class of each recording of the test part

    @property
    def validation_accuracy(self) -> float:
        """Of the weights that were kept."""
        return self.history.validation_accuracy[self.history.kept]

    @property
    def validation_loss(self) -> float:
        """Of the weights that were kept."""
        return self.history.validation_loss[self.history.kept]


@dataclass(frozen=True, slots=True)
class Entry:
    """One network of the comparison, with all of its trials."""

    network: str
    title: str
    about: str
    hidden_size: int
    parameters: int
    trials: tuple[Trial, ...]

    @property
    def test_accuracies(self) -> list[float]:
        """One a seed."""
        return [trial.test_accuracy for trial in self.trials]

    @property
    def validation_accuracies(self) -> list[float]:
        """One a seed; each seed has a validation part of its own."""
        return [trial.validation_accuracy for trial in self.trials]

    @property
    def validation_losses(self) -> list[float]:
        """One a seed."""
        return [trial.validation_loss for trial in self.trials]

    @property
    def seconds(self) -> float:
        """Processor time of one training, the mean over the seeds."""
        return statistics.mean(trial.history.seconds for trial in self.trials)

    @property
    def chosen(self) -> Trial:
        """The trial that did best on its validation part; the loss decides between equals."""
        return max(
            self.trials, key=lambda trial: (trial.validation_accuracy, -trial.validation_loss)
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Networks trained side by side: the same data, seeds and number of parameters."""

    data: str
    about: str
    licence: str
    classes: tuple[str, ...]
    labels: list[int]  # the true class of each recording of the test part
    sizes: dict[str, int]  # recordings to learn from, to choose on and to test on
    recipe: Recipe
    entries: tuple[Entry, ...]
    versions: dict[str, str]
    directory: Path

    @property
    def best(self) -> Entry:
        """The network with the best mean validation accuracy; the loss decides between equals."""
        return max(
            self.entries,
            key=lambda entry: (
                statistics.mean(entry.validation_accuracies),
                -statistics.mean(entry.validation_losses),
            ),
        )

    @property
    def confusion(self) -> list[list[int]]:
        """Of the best model on the test part: [true class][predicted class], counts."""
        counts = [[0] * len(self.classes) for _ in self.classes]
        for true, predicted in zip(self.labels, self.best.chosen.predicted, strict=True):
            counts[true][predicted] += 1
        return counts

    def table(self) -> Table:
        """The result as a table for the terminal, one network a row."""
        table = Table(
            title=f"Networks on {self.data}", caption=self.caption(), caption_justify="left"
        )
        table.add_column("network", no_wrap=True)
        table.add_column("test accuracy", justify="right")
        table.add_column("validation", justify="right")
        table.add_column("parameters", justify="right")
        table.add_column("time", justify="right")
        for entry in self.entries:
            table.add_row(
                entry.title,
                spread(entry.test_accuracies),
                spread(entry.validation_accuracies),
                f"{entry.parameters:,}",
                f"{entry.seconds:.1f} s",
                style="bold" if entry is self.best else None,
            )
        return table

    def caption(self) -> str:
        """What the numbers of the table are."""
        seeds = len(self.entries[0].trials)
        over = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
        return (
            f"{over}; test part n = {self.sizes['test']}, opened once, after every choice; "
            f"bold: best on validation, n = {self.sizes['validation']} a seed; "
            "time: one training on one core"
        )

    def to_json(self) -> str:
        """Everything that was measured, as JSON."""
        best = self.best
        found: dict[str, Any] = {
            "data": {
                "name": self.data,
                "about": self.about,
                "licence": self.licence,
                "classes": list(self.classes),
                "recordings": self.sizes,
            },
            "recipe": asdict(self.recipe),
            "best": {
                "network": best.network,
                "seed": best.chosen.seed,
                "validation_accuracy": best.chosen.validation_accuracy,
                "test_accuracy": best.chosen.test_accuracy,
                "confusion": self.confusion,
            },
            "networks": [_entry_json(entry) for entry in self.entries],
            "versions": self.versions,
        }
        return json.dumps(found, indent=1, allow_nan=False)


def spread(accuracies: list[float]) -> str:
    """`97.1 ± 0.4 %`: mean and standard deviation, where there is more than one."""
    mean = f"{100 * statistics.mean(accuracies):.1f}"
    if len(accuracies) == 1:
        return f"{mean} %"
    return f"{mean} ± {100 * statistics.stdev(accuracies):.1f} %"


def _entry_json(entry: Entry) -> dict[str, Any]:
    return {
        "network": entry.network,
        "title": entry.title,
        "hidden_size": entry.hidden_size,
        "parameters": entry.parameters,
        "seconds_a_seed": entry.seconds,
        "test_accuracy": _summary(entry.test_accuracies),
        "validation_accuracy": _summary(entry.validation_accuracies),
        "trials": [
            {
                "seed": trial.seed,
                "test_accuracy": trial.test_accuracy,
                "validation_accuracy": trial.validation_accuracy,
                "validation_loss": trial.validation_loss,
                "history": asdict(trial.history),
            }
            for trial in entry.trials
        ],
    }


def _summary(values: list[float]) -> dict[str, float | None]:
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "deviation": deviation}
