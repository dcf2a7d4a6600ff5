"""The results of a comparison: its table, its verdict, and all numbers as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gatewright.escaping import terminal_text
from gatewright.tasks.metric import Metric
from gatewright.tasks.registry import presentation_of
from gatewright.tasks.task import Task
from gatewright.training.entries import Entry, Trial, rank
from gatewright.training.model import Model
from gatewright.training.networks import count_parameters
from gatewright.training.recipe import Recipe

#: Letters of a title in a line of a narrow table.
MAX_TITLE_WIDTH = 18
#: The headings of what an entry costs, and the sentences that explain them.
COSTS = {
    "parameters": "",
    "a step": "A step: the time of a training step on one core.",
    "memory": "Memory: what a training step keeps for its backward pass.",
}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Networks that were trained side by side on the same data and seeds, and baselines."""

    data: str
    about: str
    licence: str
    task: Task
    sizes: dict[str, str]  # amounts of training, validation and test data, in words
    recipe: Recipe
    entries: tuple[Entry, ...]  # networks first
    shown: dict[str, Any]  # the best model on the test part, for the report
    notes: tuple[str, ...]  # on how the data were read, and the choices made
    remarks: tuple[str, ...]  # printed under the table: ended by hand, a baseline left out
    versions: dict[str, str]
    directory: Path | None
    model: Model = field(repr=False)  # the best one
    advice: tuple[str, ...] = ()  # what would help, from measurements of this run
    ensemble: Trial | None = None  # the mean of the best network's seeds, which is the model then
    distilled: Trial | None = None  # the network that this mean has taught, which is the model then
    to_resume: str = ""  # how to go on, where Ctrl-C left something out

    @property
    def metric(self) -> Metric:
        """The task's first metric, which decides."""
        return self.task.metrics[0]

    @property
    def networks(self) -> list[Entry]:
        """The entries without the baselines."""
        return [entry for entry in self.entries if entry.is_network]

    @property
    def ranked(self) -> list[Entry]:
        """The networks, the best on validation first."""
        return rank(self.networks, self.metric)

    @property
    def best(self) -> Entry:
        """The network that does best on validation."""
        return self.ranked[0]

    @property
    def level(self) -> list[Entry]:
        """The networks whose printed validation metric equals that of the best, itself included."""
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
        """The best trial of the best network; the model, or the first of those it averages."""
        return self.best.chosen(self.metric)

    @property
    def baseline_ahead(self) -> Entry | None:
        """The best baseline on the test part, if it beats the best network there."""
        others = [entry for entry in self.entries if not entry.is_network and entry.predicts]
        if not others:
            return None

        def mean(entry: Entry) -> float:
            return self.metric.goodness(statistics.mean(entry.test(self.metric)))

        first = max(others, key=mean)
        return first if mean(first) > mean(self.best) else None

    def verdict(self) -> str:
        """The result in words: the chosen network, ties, and a baseline that does better.

        `advice` has what would help, a sentence for each measured change.
        """
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
        if self.ensemble is not None:
            mean = metric.spread([self.ensemble.test[metric.name]])
            if self.distilled is None:
                text += f" The model is the mean of its {len(best.trials)} networks, with {mean}."
            else:
                text += (
                    f" The mean of its {len(best.trials)} networks, with {mean}, has taught the "
                    "model, one network with "
                    f"{metric.spread([self.distilled.test[metric.name]])}."
                )
        ahead = self.baseline_ahead
        recommendation = [] if ahead is None else [self._recommendation(ahead)]
        return " ".join([text, *recommendation])

    def _recommendation(self, baseline: Entry) -> str:
        """Advice on a baseline that is ahead of the best network on the test part."""
        best, metric = self.best, self.metric
        title = baseline.title[0].upper() + baseline.title[1:]
        reached = metric.spread(baseline.test(metric))
        if not metric.lead(baseline.test(metric), best.test(metric)):
            return (
                f"{title} is level with it there, with {reached}: so small a difference means "
                "nothing."
            )
        worse = [
            f"its {other.title} is {other.spread(baseline.test(other))} against "
            f"{other.spread(best.test(other))}"
            for other in self.task.metrics[1:]
            if other.judges and other.lead(best.test(other), baseline.test(other)) > 0.0
        ]
        if worse:
            return (
                f"{title} does better there, with {reached}, but {', '.join(worse)}: "
                f"prefer it only if {metric.title} is all that counts."
            )
        return f"{title} does better there, with {reached}: prefer it."

    def table(self, *, console: Console | None = None) -> Table:
        """The result as a table, with all columns or as many as fit into a console."""
        all_columns = len(self.headings())
        if console is None:
            return self._table(all_columns)
        unbounded = console.options.update(max_width=10_000)
        for columns in range(all_columns, 2, -1):
            for title_width in (None, MAX_TITLE_WIDTH):
                table = self._table(columns, title_width)
                if console.measure(table, options=unbounded).maximum <= console.width:
                    return table
        return self._table(2, MAX_TITLE_WIDTH)

    def _table(self, columns: int, title_width: int | None = None) -> Table:
        """The first columns of the table, with titles of at most `title_width` letters."""
        headings, hidden = self.headings()[:columns], self.headings()[columns:]
        left_out = ", ".join(heading.removesuffix(", %") for heading in hidden)
        notes = [f"{self.metric.title}: {self.metric.about}", *self._notes(headings)]
        if left_out:
            notes.append(f"Left out because the terminal is narrow: {left_out}.")
        table = Table(
            title=terminal_text(f"{self.data}: {presentation_of(self.task).title}"),
            caption=Text("\n").join(map(terminal_text, notes)),
            caption_justify="left",
        )
        for column, heading in enumerate(headings):
            table.add_column(
                heading,
                no_wrap=column > 0,
                justify="right" if column else "left",
                max_width=None if column else title_width,
            )
        for entry in self.entries:
            best = "bold" if entry is self.best else None
            cells = map(terminal_text, self.row(entry)[:columns])
            table.add_row(*cells, style=best if entry.is_network else "dim")
            for row in self.further_rows() if entry is self.best else []:
                table.add_row(*map(terminal_text, row[:columns]), style="bold")
        return table

    def headings(self) -> list[str]:
        """The headings of the table's columns; those of `COSTS` are the last ones."""
        metrics = self.task.metrics
        return ["test part:", *(metric.heading for metric in metrics), "validation", *COSTS]

    def row(self, entry: Entry) -> list[str]:
        """The texts of a row of the table."""
        metrics = [metric.cell(entry.test(metric)) for metric in self.task.metrics]
        costs = ["–", "–"]
        if entry.is_network:
            costs = [seconds_text(entry.step_seconds), bytes_text(entry.step_bytes)]
        count = "–" if entry.parameters is None else f"{entry.parameters:,}"
        validation = self.metric.cell(entry.validation(self.metric))
        return [entry.title, *metrics, validation, count, *costs]

    def further_rows(self) -> list[list[str]]:
        """The rows of the mean of the best network's seeds, and of the network that it taught."""
        count = len(self.best.trials)
        rows = []
        if self.ensemble is not None:
            total = count * (self.best.parameters or 0)
            rows.append(self._further_row(f"mean of these {count}", self.ensemble, total))
        if self.distilled is not None:
            total = count_parameters(self.model)
            rows.append(self._further_row("one network taught by it", self.distilled, total))
        return rows

    def _further_row(self, title: str, trial: Trial, parameters: int) -> list[str]:
        metrics = [metric.cell([trial.test[metric.name]]) for metric in self.task.metrics]
        return [title, *metrics, "–", f"{parameters:,}", "–", "–"]

    def caption(self, headings: Sequence[str] | None = None) -> str:
        """The explanation of the numbers in the columns of some headings; by default of all."""
        return " ".join(self._notes(self.headings() if headings is None else headings))

    def _notes(self, headings: Sequence[str]) -> list[str]:
        """The sentences of `caption`."""
        seeds = self.seeds
        over = seeds if seeds == "one seed" else f"mean ± standard deviation over {seeds}"
        return [
            f"Numbers: {over}, on the test part ({self.sizes['test']}), which was opened once, "
            "after every choice.",
            f"Highlighted: the best network by {self.metric.title} on the validation part "
            f"({self.sizes['validation']}).",
            *(note for heading, note in COSTS.items() if note and heading in headings),
        ]

    def to_json(self) -> str:
        """All measurements and settings, as JSON."""
        values: dict[str, Any] = {
            "data": {
                "name": self.data,
                "about": self.about,
                "licence": self.licence,
                "sizes": self.sizes,
            },
            "task": self.task.to_config(),
            "recipe": self.recipe.to_config(),
            "best": {
                "network": self.best.name,
                "seed": self.chosen.seed,
                "validation": self.chosen.validation,
                "test": self.chosen.test,
                "ensemble": None if self.ensemble is None else {"test": self.ensemble.test},
                "distilled": None if self.distilled is None else {"test": self.distilled.test},
                "shown": self.shown,
            },
            "networks": [self._json(entry) for entry in self.networks],
            "baselines": [self._json(entry) for entry in self.entries if not entry.is_network],
            "advice": list(self.advice),
            "notes": [*self.notes, *self.remarks],
            "versions": self.versions,
        }
        return json.dumps(values, indent=1, allow_nan=False)

    def _json(self, entry: Entry) -> dict[str, Any]:
        values: dict[str, Any] = {
            "name": entry.name,
            "title": entry.title,
            "parameters": entry.parameters,
            "test": {metric.name: _summary(entry.test(metric)) for metric in self.task.metrics},
            "validation": {
                metric.name: _summary(entry.validation(metric)) for metric in self.task.metrics
            },
        }
        if not entry.is_network:
            return values
        trials = [
            {
                "seed": trial.seed,
                "test": trial.test,
                "validation": trial.validation,
                "validation_loss": trial.loss,
                "history": trial.history.to_json(),
            }
            for trial in entry.trials
            if trial.history is not None
        ]
        return {
            **values,
            "hidden_size": entry.hidden_size,
            "seconds_a_seed": entry.seconds,
            "seconds_a_step": entry.step_seconds,
            "bytes_a_step": entry.step_bytes,
            "trials": trials,
        }


def seconds_text(seconds: float) -> str:
    """`3.2 ms`."""
    return f"{1000 * seconds:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def bytes_text(count: int) -> str:
    """`3.2 MB`."""
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def _summary(values: list[float]) -> dict[str, float | None]:
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "deviation": deviation}
