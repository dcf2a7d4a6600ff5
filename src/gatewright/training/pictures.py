"""From a comparison to the data of its report: numbers, words and traces, no markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gatewright.data import Recordings
from gatewright.draw.heatmap import HeatMap, unit_order
from gatewright.draw.passage import Gate, Passage
from gatewright.draw.report import Report, Row, report_page
from gatewright.training.batches import Batch
from gatewright.training.comparison import Comparison, Entry, spread
from gatewright.training.gates import GATES, Named
from gatewright.training.model import Classifier

QUANTITIES = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")


def report(comparison: Comparison, models: Mapping[str, Classifier], test: Recordings) -> str:
    """`report.html` of a comparison; `models` holds the best model of each network."""
    best = comparison.best
    count = {1: "One network", 2: "Two networks", 3: "Three networks", 4: "Four networks"}
    many = count.get(len(comparison.entries), "Five networks")
    return report_page(
        Report(
            title=f"{many} on {comparison.data}",
            about=comparison.about,
            verdict=_verdict(comparison),
            rows=[_row(entry) for entry in comparison.entries],
            best=comparison.entries.index(best),
            caption=comparison.caption(),
            classes=comparison.classes,
            confusion=comparison.confusion,
            confusion_caption=(
                f"The best model, {best.title} with seed {best.chosen.seed}, on the test part, "
                f"n = {comparison.sizes['test']}. Colour: share of the row."
            ),
            passage=_passage(comparison, models, test),
            method=_method(comparison),
            licence=comparison.licence,
            made_with="Made with " + ", ".join(f"{k} {v}" for k, v in comparison.versions.items()),
        )
    )


def _verdict(comparison: Comparison) -> str:
    best = comparison.best
    if len(comparison.entries) == 1:
        return f"{best.title}: {spread(best.test_accuracies)} on the test part."
    return (
        f"On validation the {best.title} does best; on the test part it reaches "
        f"{spread(best.test_accuracies)}."
    )


def _row(entry: Entry) -> Row:
    return Row(
        title=entry.title,
        about=entry.about,
        test=entry.test_accuracies,
        shown_test=spread(entry.test_accuracies),
        shown_validation=spread(entry.validation_accuracies),
        parameters=entry.parameters,
        seconds=entry.seconds,
        history={
            quantity: [getattr(trial.history, quantity) for trial in entry.trials]
            for quantity in QUANTITIES
        },
    )


def _method(comparison: Comparison) -> list[tuple[str, str]]:
    recipe, sizes = comparison.recipe, comparison.sizes
    seeds = len(comparison.entries[0].trials)
    return [
        (
            "fairness",
            f"The same recordings, batches, noise and {seeds} seed{'s' * (seeds > 1)} for every "
            f"network, and as nearly as possible {recipe.budget:,} parameters each.",
        ),
        (
            "data",
            f"{sizes['training']} recordings to learn from and {sizes['validation']} to choose "
            "on, drawn anew from the training part for each seed, class by class; "
            f"{sizes['test']} to test on, opened once, after every choice. Each channel is "
            "scaled by mean and deviation of the recordings to learn from.",
        ),
        (
            "training",
            f"AdamW, {recipe.epochs} epochs, batches of {recipe.batch_size}, learning rate "
            f"{recipe.learning_rate:g} falling to zero along a cosine, weight decay "
            f"{recipe.weight_decay:g}, gradients clipped at norm {recipe.clip:g}, dropout "
            f"{recipe.dropout:g} before the readout.",
        ),
        (
            "noise",
            f"While learning, every value gets noise of {recipe.noise:g} and every channel of a "
            f"recording a shift of {recipe.shift:g} standard deviations.",
        ),
        (
            "choice",
            f"Of the epochs after {recipe.keep_from:.0%} of all, the one with the lowest "
            "validation loss is kept; the best network and model are those with the highest "
            "validation accuracy.",
        ),
        ("reading", "A recurrent network is read at a recording's last step."),
    ]


def _passage(
    comparison: Comparison, models: Mapping[str, Classifier], test: Recordings
) -> Passage | None:
    """The first recording of the test part, through the first network here that has gates."""
    name = next((name for name in GATES if name in models), None)
    if name is None:
        return None
    model, (order_by, order_words, gates) = models[name], GATES[name]
    entry = next(one for one in comparison.entries if one.network == name)
    batch = Batch.of(test.take([0]))
    with torch.no_grad():
        z = model.eval().standardise(batch.x)
        body: Any = model.body
        traces: dict[str, Tensor] = body.trace(z, lengths=batch.lengths)
        output, _ = body(z, lengths=batch.lengths)
        belief = model.readout(output[:, 0]).softmax(-1)
    order = unit_order(_listed(traces[order_by]))
    true, said = int(batch.labels[0]), int(belief[-1].argmax())
    verdict = "rightly" if true == said else f"wrongly, it is {test.classes[true]}"
    return Passage(
        heading=f"One recording on its way through the {entry.title}",
        about=(
            f"One recording: the first of the test part, {len(z)} steps, class "
            f"{test.classes[true]}. The model is the {entry.title} of seed {entry.chosen.seed}, "
            f"{model.hidden_size} units; it says {test.classes[said]}, {verdict}."
        ),
        diagram=body.cell.svg(title=False),
        event=HeatMap("x", "event", "signed", _listed(z)),
        gates=[
            Gate(
                gate.title,
                gate.equation,
                gate.says,
                [_map(named, traces[named.name], order) for named in gate.values],
            )
            for gate in gates
        ],
        belief=belief.tolist(),
        classes=test.classes,
        true=true,
        order=order_words,
    )


def _map(named: Named, trace: Tensor, order: Sequence[int]) -> HeatMap:
    values = [[step[unit] for unit in order] for step in _listed(trace)]
    return HeatMap(named.name, named.meaning, named.kind, values)


def _listed(trace: Tensor) -> list[list[float]]:
    """(T, 1, H) as [time][unit]."""
    listed: list[list[float]] = trace[:, 0].tolist()
    return listed
