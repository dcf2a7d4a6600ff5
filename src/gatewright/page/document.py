"""The document that the page reads: models, examples and measurements, as one JSON object.

`docs/page-format.md` describes it. `VERSION` goes up whenever a page of an earlier version would
read it wrongly.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

from gatewright.errors import ArgumentError
from gatewright.escaping import printable
from gatewright.exports.network import Chains
from gatewright.layers.recurrent import Recurrent
from gatewright.page.cell import cell_part
from gatewright.page.curves import SEQUENCES, memory_curves
from gatewright.page.examples import COUNT, examples, sequence_of
from gatewright.page.stages import layer_stages, network_stages
from gatewright.tasks.classify import Classify
from gatewright.tasks.forecast.metrics import LEVELS
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.tag import Tag
from gatewright.tasks.text.task import NextSymbol, white_space
from gatewright.training.model import Model

FORMAT, VERSION = "gatewright-page", 1


def page_document(
    models: Mapping[str, Any],
    data: Any = None,
    *,
    chains: Callable[[Model], Chains],
    count: int = COUNT,
    curves: bool = True,
) -> dict[str, Any]:
    """The document of one model, or of several that do the same task side by side.

    Args:
        models: Layers or trained models, by the names that the page shows.
        data: The examples, as `examples` takes them.
        chains: From a trained model to the stages that exports are written from.
        count: The number of examples, at most.
        curves: Whether memory curves are measured on the examples.

    Raises:
        ArgumentError: if the models do not go together, or have no recurrent layers.
        DataError: if the data do not fit.
    """
    first = next(iter(models.values()))
    check_together(models)
    chosen = examples(first, data, count)
    sequences = [sequence_of(first, example) for example in chosen[:SEQUENCES]]
    return {
        "format": FORMAT,
        "version": VERSION,
        "title": printable(" and ".join(models)),
        "made_with": f"gatewright {version('gatewright')}",
        "task": task_part(first),
        "models": [
            model_part(model, printable(name), f"gw-cell-{k}", chains)
            for k, (name, model) in enumerate(models.items())
        ],
        "data": chosen,
        "memory": [
            curve
            for name, model in (models.items() if curves else ())
            for curve in memory_curves(model, printable(name), sequences)
        ],
    }


def check_together(models: Mapping[str, Any]) -> None:
    """Refuse models that cannot read the same examples.

    Raises:
        ArgumentError: naming the models and the difference.
    """
    for name, model in models.items():
        if not isinstance(model, Recurrent | Model):
            raise ArgumentError(
                f"{name} is a {type(model).__name__}; expected a layer of gatewright or a model "
                "that was trained with it"
            )
    (name, first), *others = models.items()
    for other, model in others:
        own, theirs = _reads(first), _reads(model)
        if own != theirs:
            raise ArgumentError(
                f"{name} and {other} cannot be shown side by side: {name} reads {_words(own)}, "
                f"{other} {_words(theirs)}; give two models of the same data"
            )


def _reads(model: Any) -> tuple[Any, ...]:
    """The task of a model, its inputs and its outputs."""
    if isinstance(model, Recurrent):
        return ("layer", model.input_size, tuple(model.graph.equations.inputs))
    task = model.task
    if isinstance(task, NextSymbol):
        return (task.kind, task.vocabulary)
    if isinstance(task, Forecast):
        return (task.kind, task.seen.channels, task.targets, task.horizon, task.window)
    assert isinstance(task, Classify | Tag)
    return (task.kind, task.seen.channels, task.classes)


def _words(reads: tuple[Any, ...]) -> str:
    kind, first, *further = reads
    if kind == "layer":
        return f"{first} values a step{' and ' + ', '.join(further[0]) if further[0] else ''}"
    if kind == "next symbol":
        return f"a text of {len(first)} symbols"
    return f"{len(first)} channels for the task {kind}"


def task_part(model: Any) -> dict[str, Any]:
    """Describe the inputs and outputs of a model, with the names that people know."""
    if isinstance(model, Recurrent):
        return {
            "kind": "layer",
            "inputs": model.input_size,
            "channels": [f"input {k}" for k in range(model.input_size)],
            "labels": [],
        }
    task = model.task
    if isinstance(task, NextSymbol):
        pairs = task.pairs
        return {
            "kind": "text",
            "inputs": 1,
            "channels": [],
            "labels": list(task.vocabulary),
            "alphabet": list(task.alphabet),
            "unit": task.unit,
            "joined": [list(pair) for pair in pairs.joined],
            "white": sorted(white_space(task.alphabet)),
        }
    part: dict[str, Any] = {
        "kind": "forecast" if isinstance(task, Forecast) else task.kind,
        "inputs": task.inputs,
        "channels": list(task.seen.channels),
        "low": list(task.seen.low),
        "high": list(task.seen.high),
        "labels": [],
    }
    if isinstance(task, Forecast):
        part |= {
            "targets": list(task.targets),
            "known": list(task.known),
            "period": task.period,
            "window": task.window,
            "horizon": task.horizon,
            "levels": [float(level) for level in LEVELS],
        }
    else:
        assert isinstance(task, Classify | Tag)
        part["labels"] = list(task.classes)
    return part


def model_part(model: Any, name: str, id: str, chains: Callable[[Model], Chains]) -> dict[str, Any]:
    """One model: its cell, layers, stages and numbers."""
    layers = layers_of(model)
    network = model
    if is_mean_of_texts(model):
        network, layers = model.members[0], layers[:1]
    training = model.training
    model.eval()
    try:
        if isinstance(model, Recurrent):
            stages = layer_stages(model)
        else:
            stages = network_stages(chains(network), layers)
    finally:
        model.train(training)
    return {
        "name": name,
        "about": about(model),
        "cell": cell_part(layers[0].graph, id),
        "hidden_size": layers[0].hidden_size,
        "layers": stages.layers,
        "stages": stages.stages,
        "scores": stages.scores,
        "tensors": stages.blob.tensors,
        "weights": stages.blob.text(),
        "bytes_each": stages.blob.bytes_each,
        "notes": notes(model) + stages.blob.notes(),
    }


def layers_of(model: Any) -> list[Recurrent]:
    """The recurrent layers of a layer or of a model, one entry for each network of a mean.

    Raises:
        ArgumentError: if there are none.
    """
    if isinstance(model, Recurrent):
        return [model]
    layers = [member.recurrent for member in getattr(model, "members", [model])]
    if any(own is None for own in layers):
        raise ArgumentError(
            f"the network {model.network} has no recurrent layers to look into; train a recurrent "
            "cell, such as cell='gru'"
        )
    return layers


def about(model: Any) -> str:
    """A sentence on the size of a model."""
    numbers = sum(parameter.numel() for parameter in model.parameters())
    if isinstance(model, Recurrent):
        return f"{model.graph.equations.name}, {model.hidden_size} units, {numbers:,} weights."
    members = len(getattr(model, "members", ()))
    several = f", the mean of {members} networks" if members > 1 else ""
    return f"{model.network}, {model.hidden_size} units, {numbers:,} weights{several}."


def notes(model: Any) -> list[str]:
    """Differences between what the page computes and what `predict` answers."""
    if isinstance(model, Recurrent):
        return []
    differences = []
    if is_mean_of_texts(model):
        differences.append(f"takes the mean of {len(model.members)} networks like this one")
    if model.completion is not None:
        differences.append("mixes in counts of the training text")
    if not differences:
        return []
    return [f"This is one network alone; gatewright predict {' and '.join(differences)}."]


def is_mean_of_texts(model: Any) -> bool:
    """Tell if a model is the mean of several networks of a text.

    The page shows the best of them: of the default size, each is 3.6 MB in the page.
    """
    return isinstance(getattr(model, "task", None), NextSymbol) and hasattr(model, "members")


def to_text(document: Mapping[str, Any]) -> str:
    """The document as JSON in which no text can end the element of the page that holds it.

    >>> to_text({"label": "</script>"})
    '{"label":"\\\\u003c/script\\\\u003e"}'

    Raises:
        ValueError: if a number is not finite.
    """
    text = json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
