"""`README.md` of a model directory: what the model is, what it is worth, how to use it."""

from __future__ import annotations

from gatewright.escaping import markdown
from gatewright.tasks.registry import presentation_of
from gatewright.training.results import Comparison


def card(comparison: Comparison) -> str:
    """The card of the best model of a comparison, as Markdown."""
    best, sizes, recipe, task = (
        comparison.best,
        comparison.sizes,
        comparison.recipe,
        comparison.task,
    )
    chosen = comparison.chosen
    data, about_network = markdown(comparison.data), markdown(best.about)
    words = presentation_of(task)
    says, limits = markdown(words.summary()), markdown(words.limits())
    verdict = markdown(comparison.verdict())
    worth = "\n".join(
        f"| {metric.title} | {metric.spread([chosen.test[metric.name]])} | "
        f"{metric.spread([chosen.validation[metric.name]])} |"
        for metric in task.metrics
    )
    headings = comparison.headings()
    lines = [_line(headings), "| " + " | ".join("---" for _ in headings) + " |"]
    for entry in comparison.entries:
        cells = [markdown(cell) for cell in comparison.row(entry)]
        lines.append(_line([f"**{one}**" for one in cells] if entry is best else cells))
    rows = "\n".join(lines)
    about = comparison.about or (
        f"{data} is not bundled with Gatewright: say here what it is, where it is from "
        "and under which terms."
    )
    notes = "".join(f"- {markdown(note)}\n" for note in (*comparison.notes, *comparison.remarks))
    return f"""# {markdown(best.title)} on {data}

{says} {best.hidden_size} units, {best.parameters:,} parameters. {about_network}

## Use

```python
import gatewright as gw

model = gw.load("this directory")
{words.usage()}
```

or `gatewright predict THIS-DIRECTORY NEW-DATA --out predictions.csv`.

`model.safetensors` holds the weights and the scaling of the channels, `config.json` all else,
with a checksum of either: what was changed is not loaded. Nothing is unpickled and no code from
here is run.

## What it is worth

| | test: {sizes["test"]} | validation: {sizes["validation"]} |
| --- | --- | --- |
{worth}

It is seed {chosen.seed} of the network that did best on validation. {verdict}
The comparison that it comes from, {markdown(comparison.caption())}:

{rows}

`report.html` shows the learning curves and the model at work; `results.json` has every number,
with the settings.

## Data

{about}

Learned from: {sizes["training"]}. Chosen on (the weights to keep, the network and the seed):
{sizes["validation"]}. Opened once, at the end: {sizes["test"]}. Scaling is that of the data that
were learned from. Training: at most {recipe.epochs} epochs of AdamW, learning rate
{recipe.learning_rate:g}.

{notes}
{comparison.licence}

## Limits

{limits} It was trained on {sizes["training"]} from one source: how it does on data from
elsewhere was not measured.
"""


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
