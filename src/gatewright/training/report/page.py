"""Collect the data of a report from a comparison: numbers, words and traces, no markup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewright.designs.design import PLAIN
from gatewright.draw.report import Panel, Report, Row, report_page
from gatewright.tasks.metric import Metric
from gatewright.tasks.registry import presentation_of
from gatewright.training.entries import Entry
from gatewright.training.model import Model
from gatewright.training.report.example import passage
from gatewright.training.results import COSTS, Comparison

ABOUT_MEAN = "The answers of the networks above, averaged: this is the model that is kept."
ABOUT_TEACHER = "The answers of the networks above, averaged; it taught the network below."
ABOUT_TAUGHT = "It learned from the truth and from the mean above: this is the model that is kept."


def report(comparison: Comparison, models: Mapping[str, Model], test: Any) -> str:
    """The text of `report.html`; `models` holds the best model of each network."""
    metric = comparison.metric
    best, chosen = comparison.best, comparison.chosen
    words = (best.title, "Two networks", "Three networks", "Four networks", "Five networks")
    several = len(comparison.networks) > 1
    count = dict(enumerate(words, 1)).get(
        len(comparison.networks), f"{len(comparison.networks)} networks"
    )
    kind = (
        f"{best.title} with seed {chosen.seed}"
        if comparison.ensemble is None
        else f"the mean of {len(best.trials)} networks {best.title}"
    )
    if comparison.distilled is not None:
        kind = f"one network taught by {kind}"
    whose = f"The best model, {kind}, on the test part: {comparison.sizes['test']}."
    return report_page(
        Report(
            title=f"{count} on {comparison.data}",
            kind="a comparison" if several else "a trained model",
            about=comparison.about,
            verdict=comparison.verdict(),
            metric=metric.title,
            percent=metric.percent,
            advice=comparison.advice,
            headings=comparison.headings()[1 : -len(COSTS)],
            costs=list(COSTS),
            costs_caption=" ".join(filter(None, COSTS.values())),
            rows=_rows(comparison),
            best=comparison.entries.index(best),
            caption=comparison.caption(comparison.headings()[: -len(COSTS)]),
            meanings=[(metric.title, metric.about) for metric in comparison.task.metrics],
            panels=_panels(metric),
            sections=presentation_of(comparison.task).sections(comparison.shown, whose),
            passage=passage(comparison, models, test),
            method=_method(comparison),
            licence=comparison.licence,
            made_with="Made with " + ", ".join(f"{k} {v}" for k, v in comparison.versions.items()),
        )
    )


def _rows(comparison: Comparison) -> list[Row]:
    """A row for each entry, and one for the mean of the best network's seeds, where it is kept."""
    rows = []
    for entry in comparison.entries:
        rows.append(_row(comparison, entry))
        if entry is not comparison.best:
            continue
        trials = [trial for trial in (comparison.ensemble, comparison.distilled) if trial]
        abouts = [ABOUT_TEACHER, ABOUT_TAUGHT] if len(trials) == 2 else [ABOUT_MEAN][: len(trials)]
        for row, trial, about in zip(comparison.further_rows(), trials, abouts, strict=True):
            title, *cells = row
            reached = [trial.test[comparison.metric.name]]
            rows.append(Row(title, about, reached, *_split(cells), history=None))
    return rows


def _row(comparison: Comparison, entry: Entry) -> Row:
    metric = comparison.metric
    histories = entry.histories
    cells, costs = _split(comparison.row(entry)[1:])
    return Row(
        title=entry.title,
        about=entry.about,
        test=entry.test(metric),
        cells=cells,
        costs=costs,
        history={
            "train_loss": [history.train_loss for history in histories],
            "validation_loss": [history.validation_loss for history in histories],
            "metric": [
                [values[metric.name] for values in history.validation] for history in histories
            ],
        }
        if entry.is_network
        else None,
    )


def _split(cells: list[str]) -> tuple[list[str], list[str]]:
    """The cells of a row without its title: the results, and the costs."""
    return cells[: -len(COSTS)], cells[-len(COSTS) :]


def _panels(metric: Metric) -> list[Panel]:
    title = metric.title[0].upper() + metric.title[1:]
    return [
        Panel("train_loss", "Loss while learning", "with noise and dropout", "loss"),
        Panel("validation_loss", "Loss on validation", "as the network is used", "loss"),
        Panel(
            "metric",
            f"{title} on validation",
            "as it is used",
            "share" if metric.percent else "plain",
        ),
    ]


def _method(comparison: Comparison) -> list[tuple[str, str]]:
    recipe, sizes = comparison.recipe, comparison.sizes
    presentation = presentation_of(comparison.task)
    ends = f", or {recipe.patience} epochs without a better loss," if recipe.patience else ""
    lines = [
        (
            "fairness",
            f"The same data, batches, noise and {comparison.seeds} for every network"
            + _sizes(comparison),
        ),
        (
            "data",
            f"Learned from: {sizes['training']}. Chosen on: {sizes['validation']}. Opened once, "
            f"after every choice: {sizes['test']}. {presentation.splitting}",
        ),
        (
            "training",
            f"AdamW, {recipe.epochs} epochs{ends} batches of {recipe.batch_size}, learning rate "
            f"{recipe.learning_rate:g} falling to zero along a cosine, weight decay "
            f"{recipe.weight_decay:g}, gradients clipped at norm {recipe.clip:g}, dropout "
            f"{recipe.dropout:g} before the readout.",
        ),
    ]
    if recipe.noise or recipe.shift or recipe.magnitude:
        lines.append(
            (
                "noise",
                f"While learning, every value gets noise of {recipe.noise:g} and every channel of "
                f"a sequence a shift of {recipe.shift:g} standard deviations; a whole sequence is "
                f"multiplied by a random factor with a spread of {recipe.magnitude:g}.",
            )
        )
    late = f"Of the epochs after {recipe.keep_from:.0%} of all" if recipe.keep_from else "Of all"
    lines += [
        (
            "choice",
            f"{late}, the one with the lowest validation loss is kept; the best network and "
            f"model are those with the best {comparison.metric.title} on validation.",
        ),
    ]
    if recipe.design == PLAIN:
        lines.append(("reading", presentation.readout))
    else:
        lines.append(("design", f"Of every network but the window: {recipe.design.words()}."))
    if comparison.best.name != "window":
        lines.append(
            (
                "look inside",
                "gatewright look, with the directory of this report and the data, runs the best "
                "network in the browser, with every gate at every step.",
            )
        )
    lines += [("note", note) for note in (*comparison.notes, *comparison.remarks)]
    return lines


def _sizes(comparison: Comparison) -> str:
    """The end of the sentence on fairness: the parameters, where networks have about as many."""
    counts = [entry.parameters or 0 for entry in comparison.networks]
    if len(counts) == 1 or max(counts) > 1.2 * min(counts):
        return "."
    return f", and as nearly as possible {comparison.recipe.parameters:,} parameters each."
