"""The result of a search: its trials as a table, as a page with pictures, and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from rich.table import Table

from gatewright.draw.page.elements import escape
from gatewright.draw.page.page import Section, page, table
from gatewright.draw.plots.chart import Axis, Line, chart
from gatewright.escaping import terminal_text
from gatewright.tasks.metric import Metric
from gatewright.training.tuning.study import BEST, CONFIG, ERROR, METRICS

PAGE, TRIALS = "report.html", "trials.json"
#: Trials in the table on the screen, and curves in the picture.
MAX_SHOWN, MAX_CURVES = 5, 100
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "RUNNING": "at work", "FAIL": "failed"}


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial.

    Attributes:
        point: What was drawn, by name.
        loss: The mean of its best validation losses; None unless it is complete.
        losses: Validation losses of its first training, by epoch.
        metrics: On validation.
    """

    number: int
    state: str
    point: Mapping[str, Any]
    config: Mapping[str, Any]
    loss: float | None
    losses: Sequence[float]
    metrics: Mapping[str, float]
    error: str = ""

    @classmethod
    def of(cls, trial: Any) -> Self:
        """A trial of Optuna."""
        return cls(
            number=trial.number,
            state=STATES[trial.state.name],
            point=dict(trial.params),
            config=trial.user_attrs.get(CONFIG, {}),
            loss=trial.value if trial.state.name == "COMPLETE" else None,
            losses=[trial.intermediate_values[step] for step in sorted(trial.intermediate_values)],
            metrics=trial.user_attrs.get(METRICS, {}),
            error=trial.user_attrs.get(ERROR, ""),
        )


@dataclass(frozen=True, slots=True)
class Tuned:
    """The trials of a search.

    Attributes:
        data: The name of the data.
        directory: Has the study, best.json, trials.json and report.html.
        metric: The task's first, for the table.
        trials: In the order of their beginnings, without those that were stopped.
        searched: The names of what was searched.
        remarks: What the user has to know about the end of the search.
    """

    data: str
    directory: Path
    metric: Metric
    trials: Sequence[TrialRow]
    searched: Sequence[str]
    remarks: tuple[str, ...] = ()

    @property
    def complete(self) -> list[TrialRow]:
        """The complete trials, the best first."""
        done = [trial for trial in self.trials if trial.loss is not None]
        return sorted(done, key=lambda trial: trial.loss or 0.0)

    @property
    def best(self) -> TrialRow:
        """The complete trial with the lowest loss."""
        return self.complete[0]

    @property
    def config(self) -> Mapping[str, Any]:
        """The config of the best trial, as best.json has it."""
        return self.best.config

    def sentence(self) -> str:
        """The result in words."""
        first = next((trial for trial in self.complete if trial.number == 0), None)
        line = f"Trial {self.best.number} is the best: validation loss {self.best.loss:.4g}"
        if first is not None and first is not self.best:
            line += f"; the task's own settings, trial 0, have {first.loss:.4g}"
        return line + ". The test part was not used."

    def table(self) -> Table:
        """The best trials as a table, with a column for each."""
        shown = self.complete[:MAX_SHOWN]
        result = Table(
            title=terminal_text(f"{self.data}: {self._counts()}"),
            caption=terminal_text(f"loss and {self.metric.heading} on validation; the best first"),
            caption_justify="left",
        )
        names, *rows = zip(self.headings(), *map(self._cells, shown), strict=True)
        result.add_column(names[0])
        for position, number in enumerate(names[1:]):
            result.add_column(number, justify="right", style=None if position else "bold")
        for row in rows:
            result.add_row(*map(terminal_text, row))
        return result

    def headings(self) -> list[str]:
        """The names of what is shown of a trial."""
        return ["trial", "loss", self.metric.heading, *map(_words, self.searched)]

    def _cells(self, trial: TrialRow) -> list[str]:
        loss = "–" if trial.loss is None else f"{trial.loss:.4g}"
        metric = trial.metrics.get(self.metric.name)
        drawn = [_text(trial.point[name]) if name in trial.point else "–" for name in self.searched]
        return [
            str(trial.number),
            loss,
            "–" if metric is None else self.metric.number(metric),
            *drawn,
        ]

    def _counts(self) -> str:
        parts = []
        for state in STATES.values():
            count = sum(trial.state == state for trial in self.trials)
            if count:
                parts.append(f"{count} {state}")
        return f"trials: {', '.join(parts)}"

    def to_json(self) -> str:
        """Everything about the trials, as JSON."""
        values = {
            "data": self.data,
            "best": {"trial": self.best.number, "loss": self.best.loss, "file": BEST},
            "config": self.config,
            "trials": [asdict(trial) for trial in self.trials],
            "remarks": list(self.remarks),
        }
        return json.dumps(_finite(values), indent=1, allow_nan=False)

    def page(self) -> str:
        """The page with the pictures of the trials' progress."""
        rows = [[*map(escape, self._cells(trial))] for trial in self.complete]
        listed = table(
            [*map(escape, self.headings())], rows, "Complete trials, the best first.", "trials"
        )
        sections = [
            Section("search", "The best so far", self._search(), "By the number of the trial."),
            Section(
                "epochs",
                "Validation loss by epoch",
                self._epochs(),
                "The first training of each trial; dashed: pruned, since it was worse than the "
                "others at the same epoch.",
            ),
            Section("trials", "The trials", listed),
        ]
        return page(
            f"Search for settings on {self.data}",
            "gatewright tune",
            self._counts(),
            self.sentence(),
            sections,
            f"The best settings are in {BEST}: gatewright train DATA --config {BEST}",
        )

    def _search(self) -> str:
        done = [trial for trial in self.trials if trial.loss is not None]
        best, low = [], math.inf
        for trial in done:
            low = min(low, trial.loss or 0.0)
            best.append((float(trial.number), low))
        dots = [
            Line(f"trial {t.number}: {t.loss:.4g}", "n2", [(t.number, t.loss or 0.0)], dots=True)
            for t in done
        ]
        lines = [*dots, Line("the best so far", "n1", best)]
        last = max(float(self.trials[-1].number), 1.0)
        losses = [trial.loss or 0.0 for trial in done]
        return chart(lines, Axis(0.0, last, "trial"), _loss_axis(losses), "Loss of each trial")

    def _epochs(self) -> str:
        shown = [trial for trial in self.trials if trial.losses][-MAX_CURVES:]
        if self.best not in shown and self.best.losses:
            shown.append(self.best)
        lines = [
            Line(
                f"trial {trial.number}",
                "n1" if trial is self.best else "n2",
                [*enumerate(trial.losses, 1)],
                dashed=trial.state == "pruned",
                dots=len(trial.losses) == 1,
            )
            for trial in sorted(shown, key=lambda trial: trial is self.best)
        ]
        last = max([2, *(len(trial.losses) for trial in shown)])
        losses = [loss for trial in shown for loss in trial.losses]
        return chart(lines, Axis(1.0, last, "epoch"), _loss_axis(losses), "Loss by epoch")


def _loss_axis(losses: Sequence[float]) -> Axis:
    """An axis that ends at the losses of most trials: some are far off."""
    finite = sorted(loss for loss in losses if math.isfinite(loss)) or [0.0, 1.0]
    low, high = finite[0], finite[int(0.9 * (len(finite) - 1))]
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    return Axis(low - margin, high + margin, "validation loss")


def _words(name: str) -> str:
    return name.replace("_", " ")


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    """JSON's types, with None for a number that is not finite."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
