"""The model card, `README.md` of a model directory: the model, its use, its results, its data."""

from __future__ import annotations

from gatewright.escaping import markdown
from gatewright.tasks.registry import presentation_of
from gatewright.training.results import Comparison


def card(comparison: Comparison) -> str:
    """The card of the best model of a comparison, as Markdown."""
    best, chosen, recipe = comparison.best, comparison.chosen, comparison.recipe
    sizes, task = comparison.sizes, comparison.task
    presentation = presentation_of(task)
    data, about_network = markdown(comparison.data), markdown(best.about)
    summary, limits = markdown(presentation.summary()), markdown(presentation.limits())
    verdict = markdown(comparison.verdict())
    model = comparison.distilled or comparison.ensemble or chosen
    origin = (
        f"It is seed {chosen.seed} of the network that did best on validation."
        if comparison.ensemble is None
        else f"It is the mean of the {len(best.trials)} networks of the kind that did best on "
        "validation, from different seeds; the validation figure is the mean over them."
    )
    if comparison.distilled is not None:
        origin = (
            f"It is one network that learned from the mean of {len(best.trials)} networks of the "
            "kind that did best on validation."
        )
    measured = "\n".join(
        f"| {metric.title} | {metric.spread([model.test[metric.name]])} | "
        f"{metric.spread([model.validation[metric.name]])} |"
        for metric in task.metrics
    )
    metrics = "\n".join(f"- {metric.title}: {metric.about}" for metric in task.metrics)
    advice = "".join(f"- {markdown(sentence)}\n" for sentence in comparison.advice)
    advice = f"\n{advice}" if advice else ""
    headings = comparison.headings()
    lines = [_line(headings), "| " + " | ".join("---" for _ in headings) + " |"]
    for entry in comparison.entries:
        cells = [markdown(cell) for cell in comparison.row(entry)]
        lines.append(_line([f"**{cell}**" for cell in cells] if entry is best else cells))
        for row in comparison.further_rows() if entry is best else []:
            lines.append(_line([f"**{cell}**" for cell in row]))
    rows = "\n".join(lines)
    about = comparison.about or (
        f"{data} is not bundled with Gatewright: describe here what it is, where it is from "
        "and under which terms it may be used."
    )
    notes = "".join(f"- {markdown(note)}\n" for note in (*comparison.notes, *comparison.remarks))
    return f"""# {markdown(best.title)} on {data}

{summary} {best.hidden_size} units, {best.parameters:,} parameters. {about_network}

## Use

```python
import gatewright as gw

model = gw.load("this directory")
{presentation.usage()}
```

or `gatewright predict THIS-DIRECTORY NEW-DATA --out predictions.csv`.

`model.safetensors` holds the weights and the scaling of the channels, `config.json` everything
else, with checksums of both: a changed file is not loaded. Nothing is unpickled and no code from
this directory is run.

## What it is worth

| | test: {sizes["test"]} | validation: {sizes["validation"]} |
| --- | --- | --- |
{measured}

{metrics}

{origin} {verdict}
{advice}
The comparison that it was chosen from:

{rows}

{markdown(comparison.caption())}

`report.html` shows the learning curves and the model at work; `results.json` has every number,
with the settings. `gatewright look THIS-DIRECTORY DATA` runs a recurrent model in the browser.

## Data

{about}

Learned from: {sizes["training"]}. Chosen on (the weights to keep, the network and the seed):
{sizes["validation"]}. Opened once, at the end: {sizes["test"]}. The scaling is computed from the
data that were learned from. Training: at most {recipe.epochs} epochs of AdamW, learning rate
{recipe.learning_rate:g}. The network's design: {recipe.design.words()}.

{notes}
{comparison.licence}

## Limits

{limits} It was trained on {sizes["training"]} from one source: its quality on data from
other sources was not measured.
"""


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
