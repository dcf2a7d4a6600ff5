"""`README.md` of a model directory: what the model is, what it is worth, how to use it."""

from __future__ import annotations

from gatewright.training.comparison import Comparison, spread


def card(comparison: Comparison) -> str:
    """The card of the best model of a comparison, as Markdown."""
    best, sizes, recipe = comparison.best, comparison.sizes, comparison.recipe
    chosen = best.chosen
    rows = "\n".join(
        f"| {_bold(entry.title, entry is best)} | {spread(entry.test_accuracies)} | "
        f"{spread(entry.validation_accuracies)} | {entry.parameters:,} | {entry.seconds:.1f} s |"
        for entry in comparison.entries
    )
    return f"""# {best.title} on {comparison.data}

A classifier of sequences with {len(comparison.classes)} classes:
{", ".join(comparison.classes)}. {best.hidden_size} units, {best.parameters:,} parameters.
{best.about}

## Use

```python
import gatewright as gw

model = gw.load("this directory")
probabilities = model.predict(sequences)      # arrays (time, channels), as they were recorded
names = [model.classes[at] for at in probabilities.argmax(-1)]
```

`model.safetensors` holds the weights and the scaling of the channels, `config.json` all else,
with the checksum of the weights. Nothing is unpickled and no code from here is run.

## What it is worth

| | accuracy | n |
| --- | --- | --- |
| test | {100 * chosen.test_accuracy:.1f} % | {sizes["test"]} |
| validation | {100 * chosen.validation_accuracy:.1f} % | {sizes["validation"]} |

It is seed {chosen.seed} of the network that did best on validation. The comparison that it
comes from, {comparison.caption()}:

| network | test accuracy | validation | parameters | time a seed |
| --- | --- | --- | --- | --- |
{rows}

`report.html` shows the learning curves, the confusion matrix and the gates at work;
`results.json` has every number, with the settings.

## Data

{comparison.about}

{sizes["training"]} recordings were learned from, {sizes["validation"]} chosen on (the weights
to keep, the network and the seed), and {sizes["test"]} opened once, at the end. Scaling is that
of the recordings that were learned from. Training: {recipe.epochs} epochs of AdamW, with noise
({recipe.noise:g}) and shifts ({recipe.shift:g}) of the recordings.

{comparison.licence}

## Limits

It knows these {len(comparison.classes)} classes and gives every recording to one of them, a
stranger's too. It was trained on {sizes["training"]} recordings from one source: another
microphone, room or way of computing the channels is another task. Its probabilities were not
calibrated.
"""


def _bold(text: str, bold: bool) -> str:
    return f"**{text}**" if bold else text
