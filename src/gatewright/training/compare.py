"""The lesson's claim as an experiment: train the networks side by side and compare them."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import torch

from gatewright.data import Recordings, load
from gatewright.errors import ArgumentError
from gatewright.files import check_vacant
from gatewright.layers.saving import save
from gatewright.training.batches import Batch
from gatewright.training.card import card
from gatewright.training.comparison import Comparison, Entry, Trial
from gatewright.training.loop import accuracy, evaluate
from gatewright.training.model import Classifier
from gatewright.training.networks import (
    NETWORKS,
    find_network,
    parameters,
    solve_hidden_size,
)
from gatewright.training.pictures import report
from gatewright.training.progress import progress_bar
from gatewright.training.recipe import RECIPES, Recipe
from gatewright.training.run import Run
from gatewright.training.workers import Outcome, perform_all


def compare(
    data: str = "vowels",
    *,
    out: str | os.PathLike[str],
    networks: Sequence[str] | None = None,
    seeds: int = 5,
    epochs: int | None = None,
    budget: int | None = None,
    progress: bool = True,
) -> Comparison:
    """Train networks side by side on one data set and keep the best model.

    >>> comparison = compare("vowels", out="runs/vowels")    # doctest: +SKIP
    >>> rich.print(comparison.table())                       # doctest: +SKIP

    Every network gets the same data, the same seeds, the same batches and as nearly as
    possible the same number of parameters. Each seed takes its own validation part off
    the training part; the weights to keep, the best network and the best model are chosen
    on it. The test part is opened once, after all of that.

    Args:
        data: Name of a bundled data set.
        out: New directory for config.json, model.safetensors (the best model), README.md,
            report.html and results.json; it appears whole, at the end, or not at all.
        networks: Names from `NETWORKS`; all of them unless given.
        seeds: How often each network is trained; the seeds are 0, 1, ...
        epochs: Passes over the data; the data set's recipe says unless given.
        budget: Parameters of each network, likewise.
        progress: Whether a progress bar is shown on the error stream.

    Raises:
        ArgumentError, DataError: before anything is computed.
        TrainingError: if a loss is no longer finite.
    """
    chosen = _checked(networks, seeds=seeds, epochs=epochs, budget=budget)
    split = load(data)
    target = check_vacant(out)
    recipe = RECIPES.get(data, Recipe())
    recipe = replace(recipe, epochs=epochs or recipe.epochs, budget=budget or recipe.budget)
    sizes = {name: _hidden_size(name, split.train, recipe) for name in chosen}
    runs = [Run(data, name, sizes[name], seed, recipe) for seed in range(seeds) for name in chosen]
    with progress_bar(runs, shown=progress) as on_epoch:
        outcomes = perform_all(runs, on_epoch=on_epoch)
    comparison, models = _opened(data, outcomes, split.test, recipe, target)
    best = comparison.best
    pages = {
        "README.md": card(comparison),
        "report.html": report(comparison, models, split.test),
        "results.json": comparison.to_json() + "\n",
    }
    save(
        models[best.network],
        target,
        files={name: text.encode() for name, text in pages.items()},
    )
    return comparison


def _opened(
    data: str, outcomes: Sequence[Outcome], test: Recordings, recipe: Recipe, target: Path
) -> tuple[Comparison, dict[str, Classifier]]:
    """Everything is trained: now the test part. The comparison, and each network's best model."""
    batch = Batch.of(test)
    trials: dict[str, list[Trial]] = {}
    models: dict[tuple[str, int], Classifier] = {}
    for outcome in outcomes:
        run = outcome.run
        training, validation = run.parts()
        model = run.model(training)
        model.load_state_dict(outcome.weights)
        _, predicted = evaluate(model, batch)
        models[run.network, run.seed] = model
        trials.setdefault(run.network, []).append(
            Trial(
                run.seed,
                outcome.history,
                test_accuracy=accuracy(predicted, batch.labels),
                predicted=predicted.tolist(),
            )
        )
    entries = tuple(
        Entry(
            name,
            NETWORKS[name].title,
            NETWORKS[name].about,
            hidden_size=models[name, 0].hidden_size,
            parameters=parameters(models[name, 0]),
            trials=tuple(tried),
        )
        for name, tried in trials.items()
    )
    comparison = Comparison(
        data=data,
        about=test.about,
        licence=test.licence,
        classes=test.classes,
        labels=batch.labels.tolist(),
        sizes={"training": len(training), "validation": len(validation), "test": len(test)},
        recipe=recipe,
        entries=entries,
        versions={
            "gatewright": version("gatewright"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        directory=target,
    )
    return comparison, {
        entry.network: models[entry.network, entry.chosen.seed] for entry in entries
    }


def _hidden_size(name: str, training: Recordings, recipe: Recipe) -> int:
    def build(size: int) -> Classifier:
        return Classifier(name, training.channels, size, training.classes)

    return solve_hidden_size(name, build, recipe.budget)


def _checked(
    networks: Sequence[str] | None, *, seeds: int, epochs: int | None, budget: int | None
) -> list[str]:
    """The names of the networks, once all arguments are known to be usable."""
    for what, given in (("seeds", seeds), ("epochs", epochs), ("budget", budget)):
        if given is not None and (not isinstance(given, int) or given < 1):
            raise ArgumentError(f"{what} is {given!r}; expected a whole number from 1")
    if isinstance(networks, str):
        raise ArgumentError(f"networks is {networks!r}; expected a list of names: [{networks!r}]")
    chosen = list(NETWORKS) if networks is None else list(networks)
    for name in chosen:
        find_network(name)
    if not chosen:
        raise ArgumentError(f"no network was given; there are: {', '.join(NETWORKS)}")
    if len(set(chosen)) < len(chosen):
        raise ArgumentError(f"networks are {chosen}; expected each name once")
    return chosen
