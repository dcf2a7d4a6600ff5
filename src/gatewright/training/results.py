"""What a comparison found: the table, and everything behind it for machines."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from gatewright.escaping import terminal_text
from gatewright.tasks.metric import Metric
from gatewright.tasks.registry import presentation_of
from gatewright.tasks.task import Task
from gatewright.training.loop import History
from gatewright.training.model import Model
from gatewright.training.recipe import Recipe

#: Letters of a title in a line, where a table is short of width.
NARROW = 18


@dataclass(frozen=True, slots=True)
class Trial:
    """One network, trained from one seed; or a baseline, which has none."""

    seed: int
    validation: dict[str, float]  # the metrics, of the weights that were kept
    test: dict[str, float]
    predicted: Any  # on the test part, in the task's form
    history: History | None = None
    loss: float = 0.0  # on the validation part; it decides between equals


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the comparison, with all of its trials."""

    name: str
    title: str
    about: str
    parameters: int | None  # None where it keeps the data themselves
    trials: tuple[Trial, ...]
    hidden_size: int | None = None  # None for a baseline

    @property
    def is_network(self) -> bool:
        """Whether it is a network, and not a baseline."""
        return self.hidden_size is not None

    def test(self, metric: Metric) -> list[float]:
        """One a seed."""
        return [trial.test[metric.name] for trial in self.trials]

    def validation(self, metric: Metric) -> list[float]:
        """One a seed; each seed may have a validation part of its own."""
        return [trial.validation[metric.name] for trial in self.trials]

    @property
    def seconds(self) -> float:
        """Processor time of one training, the mean over the seeds."""
        return statistics.mean(one.seconds for one in self.histories)

    @property
    def step_seconds(self) -> float:
        """Processor time of one step of training, the mean over the seeds."""
        return statistics.mean(one.step_seconds for one in self.histories)

    @property
    def step_bytes(self) -> int:
        """What a step keeps from its forward pass for its backward pass."""
        return max(one.step_bytes for one in self.histories)

    @property
    def histories(self) -> list[History]:
        """One a seed; none of a baseline."""
        return [trial.history for trial in self.trials if trial.history is not None]

    def chosen(self, metric: Metric) -> Trial:
        """The trial that did best on its validation part; the loss decides between equals."""
        return max(
            self.trials,
            key=lambda trial: (metric.goodness(trial.validation[metric.name]), -trial.loss),
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Networks trained side by side, and baselines: the same data and, for networks, seeds."""

    data: str
    about: str
    licence: str
    task: Task
    sizes: dict[str, str]  # how much there is to learn from, to choose on and to test on
    recipe: Recipe
    entries: tuple[Entry, ...]  # networks first
    shown: dict[str, Any]  # of the best model on the test part, as the report draws it
    notes: tuple[str, ...]  # how the data were read, and what was chosen
    remarks: tuple[str, ...]  # said under the table: ended by hand, a baseline left out
    versions: dict[str, str]
    directory: Path | None
    model: Model = field(repr=False)  # the best one

    @property
    def metric(self) -> Metric:
        """What decides."""
        return self.task.metrics[0]

    @property
    def networks(self) -> list[Entry]:
        """Without the baselines."""
        return [entry for entry in self.entries if entry.is_network]

    @property
    def ranked(self) -> list[Entry]:
        """The networks from the best on validation on; the loss decides between equals."""
        return sorted(
            self.networks,
            key=lambda entry: (
                -self.metric.goodness(statistics.mean(entry.validation(self.metric))),
                statistics.mean(trial.loss for trial in entry.trials),
            ),
        )

    @property
    def best(self) -> Entry:
        """The network that does best on validation; the loss decides between equals."""
        return self.ranked[0]

    @property
    def level(self) -> list[Entry]:
        """The networks whose validation reads the same as the best one's, which is among them."""
        number = self.metric.number
        reached = number(statistics.mean(self.best.validation(self.metric)))
        return [
            entry
            for entry in self.networks
            if number(statistics.mean(entry.validation(self.metric))) == reached
        ]

    @property
    def seeds(self) -> str:
        """`one seed`, `5 seeds`, or `2 to 5 seeds` where a comparison was ended by hand."""
        counts = sorted({len(entry.trials) for entry in self.networks})
        if counts == [1]:
            return "one seed"
        return " to ".join(map(str, [counts[0], counts[-1]][: len(counts)])) + " seeds"

    @property
    def chosen(self) -> Trial:
        """The trial whose weights the model has."""
        return self.best.chosen(self.metric)

    @property
    def baseline_ahead(self) -> Entry | None:
        """The best baseline on the test part, if it does better there than the best network."""
        others = [entry for entry in self.entries if not entry.is_network]
        if not others:
            return None

        def mean(entry: Entry) -> float:
            return self.metric.goodness(statistics.mean(entry.test(self.metric)))

        first = max(others, key=mean)
        return first if mean(first) > mean(self.best) else None

    def verdict(self) -> str:
        """The result in words: the network that was kept, ties, and a baseline that does better."""
        best, metric = self.best, self.metric
        reached = metric.spread(best.test(metric))
        if len(self.networks) == 1:
            text = f"{best.title}: {metric.title} {reached} on the test part."
        elif len(self.level) > 1:
            titles = [entry.title for entry in self.level]
            tie = f"{', '.join(titles[:-1])} and {titles[-1]}"
            value = statistics.mean(best.validation(metric))
            text = (
                f"On validation {tie} tie at {metric.spread([value])}. The "
                f"{best.title} is kept for its lower validation loss; on the test part its "
                f"{metric.title} is {reached}."
            )
        else:
            text = (
                f"On validation the {best.title} does best; on the test part its "
                f"{metric.title} is {reached}."
            )
        ahead = self.baseline_ahead
        return text if ahead is None else f"{text} {self._beside(ahead)}"

    def _beside(self, baseline: Entry) -> str:
        """A baseline that is ahead of the best network, and the use of that."""
        best, metric = self.best, self.metric
        title = baseline.title[0].upper() + baseline.title[1:]
        reached = metric.spread(baseline.test(metric))
        if not metric.lead(baseline.test(metric), best.test(metric)):
            return f"{title} is level with it there, with {reached}: the difference says nothing."
        worse = [
            f"its {other.title} is {other.spread(baseline.test(other))} against "
            f"{other.spread(best.test(other))}"
            for other in self.task.metrics[1:]
            if other.judges and other.lead(best.test(other), baseline.test(other)) > 0.0
        ]
        if worse:
            return (
                f"{title} does better there, with {reached}, but {', '.join(worse)}: "
                f"prefer it only where {metric.title} alone counts."
            )
        return f"{title} does better there, with {reached}: prefer it."

    def table(self, *, console: Console | None = None) -> Table:
        """The result as a table: with all of its columns, or as many as a console is wide."""
        every = len(self.headings())
        if console is None:
            return self._table(every)
        unbounded = console.options.update(max_width=10_000)
        for shown in range(every, 2, -1):
            for titles in (None, NARROW):
                table = self._table(shown, titles)
                if console.measure(table, options=unbounded).maximum <= console.width:
                    return table
        return self._table(2, NARROW)

    def _table(self, shown: int, titles: int | None = None) -> Table:
        left_out = ", ".join(one.removesuffix(", %") for one in self.headings()[shown:])
        caption = self.caption()
        if left_out:
            caption += f"; not shown for want of width: {left_out}"
        table = Table(
            title=terminal_text(f"{self.data}: {presentation_of(self.task).title}"),
            caption=terminal_text(caption),
            caption_justify="left",
        )
        for at, heading in enumerate(self.headings()[:shown]):
            table.add_column(
                heading,
                no_wrap=at > 0,
                justify="right" if at else "left",
                max_width=None if at else titles,
            )
        for entry in self.entries:
            best = "bold" if entry is self.best else None
            cells = map(terminal_text, self.row(entry)[:shown])
            table.add_row(*cells, style=best if entry.is_network else "dim")
        return table

    def headings(self) -> list[str]:
        """Of the table's columns."""
        metrics = self.task.metrics
        return [
            "test part:",
            *(metric.heading for metric in metrics),
            "validation",
            "parameters",
            "a step",
            "memory",
        ]

    def row(self, entry: Entry) -> list[str]:
        """One row of the table."""
        shown = [metric.cell(entry.test(metric)) for metric in self.task.metrics]
        costs = ["–", "–"]
        if entry.is_network:
            costs = [say_seconds(entry.step_seconds), say_bytes(entry.step_bytes)]
        count = "–" if entry.parameters is None else f"{entry.parameters:,}"
        validation = self.metric.cell(entry.validation(self.metric))
        return [entry.title, *shown, validation, count, *costs]

    def caption(self) -> str:
        """What the numbers of the table are."""
        seeds = self.seeds
        over = seeds if seeds == "one seed" else f"mean ± standard deviation over {seeds}"
        return (
            f"{over}; test part: {self.sizes['test']}, opened once, after every choice; "
            f"bold: best network on validation, {self.sizes['validation']}, which is measured by "
            f"{self.metric.heading}; a step of training: time on one core, and memory kept for "
            "its backward pass"
        )

    def to_json(self) -> str:
        """Everything that was measured, as JSON."""
        found: dict[str, Any] = {
            "data": {
                "name": self.data,
                "about": self.about,
                "licence": self.licence,
                "sizes": self.sizes,
            },
            "task": self.task.to_config(),
            "recipe": asdict(self.recipe),
            "best": {
                "network": self.best.name,
                "seed": self.chosen.seed,
                "validation": self.chosen.validation,
                "test": self.chosen.test,
                "shown": self.shown,
            },
            "networks": [self._json(entry) for entry in self.networks],
            "baselines": [self._json(entry) for entry in self.entries if not entry.is_network],
            "notes": [*self.notes, *self.remarks],
            "versions": self.versions,
        }
        return json.dumps(found, indent=1, allow_nan=False)

    def _json(self, entry: Entry) -> dict[str, Any]:
        said: dict[str, Any] = {
            "name": entry.name,
            "title": entry.title,
            "parameters": entry.parameters,
            "test": {metric.name: _summary(entry.test(metric)) for metric in self.task.metrics},
            "validation": {
                metric.name: _summary(entry.validation(metric)) for metric in self.task.metrics
            },
        }
        if not entry.is_network:
            return said
        trials = [
            {
                "seed": trial.seed,
                "test": trial.test,
                "validation": trial.validation,
                "validation_loss": trial.loss,
                "history": asdict(trial.history),
            }
            for trial in entry.trials
            if trial.history is not None
        ]
        return {
            **said,
            "hidden_size": entry.hidden_size,
            "seconds_a_seed": entry.seconds,
            "seconds_a_step": entry.step_seconds,
            "bytes_a_step": entry.step_bytes,
            "trials": trials,
        }


def say_seconds(seconds: float) -> str:
    """`3.2 ms`."""
    return f"{1000 * seconds:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def say_bytes(count: int) -> str:
    """`3.2 MB`."""
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def _summary(values: list[float]) -> dict[str, float | None]:
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "deviation": deviation}
