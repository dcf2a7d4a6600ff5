"""The plan of an experiment: everything that is decided before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from gatewright.data.catalogue import BUNDLED
from gatewright.errors import ArgumentError
from gatewright.language.cell import Cell
from gatewright.tasks.baseline import Baseline
from gatewright.tasks.registry import baselines_for, missing_baselines
from gatewright.tasks.task import Task
from gatewright.training.job import TrainingJob, build_model
from gatewright.training.model import Model
from gatewright.training.networks import (
    NETWORKS,
    Network,
    find_network,
    parameters,
    solve_hidden_size,
)
from gatewright.training.recipe import RECIPES, Recipe
from gatewright.training.source import Source, open_source

#: Smallest hidden size when the user gives neither a size nor a budget.
MIN_HIDDEN_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentPlan:
    """Data, task, networks with their sizes, recipe and baselines of one experiment.

    All variants of a task have the same inputs and outputs, so one hidden size of each network
    holds for all of them.
    """

    data: str  # the name of the data
    training: Any  # the part for learning and for every choice
    test: Any  # the part that is opened once, after every choice
    task: Task
    networks: Mapping[str, Network]
    hidden_sizes: Mapping[str, int]  # by network
    baselines: Sequence[Baseline]
    seeds: int
    recipe: Recipe
    reading: Mapping[str, Any]  # arguments that read new data in the same way
    notes: tuple[str, ...]  # on the data and the training, for the card and the report
    remarks: tuple[str, ...] = ()  # on what is missing from the table
    limits: Mapping[str, float] = field(default_factory=dict)  # seconds of a training, by network
    deadline: float | None = None  # in `time.monotonic()`; no slow baseline is fitted after it

    def jobs(self) -> list[TrainingJob]:
        """Every network from every seed."""
        cells = {
            name: network.stored(self.task, self.hidden_sizes[name])
            for name, network in self.networks.items()
        }
        return [
            TrainingJob(
                task=self.task,
                network=name,
                hidden_size=self.hidden_sizes[name],
                seed=seed,
                recipe=replace(self.recipe, seconds=self.limits.get(name)),
                cell=cells[name],
            )
            for seed in range(self.seeds)
            for name in self.networks
        ]

    def parts(self) -> tuple[Any, Any]:
        """The training part as seed 0 divides it: (data to learn from, validation data)."""
        return self.task.parts(self.training, self.recipe.validation, 0)

    def untrained(self, name: str) -> Model:
        """The network before its first step, as seed 0 starts it, scaled to its data.

        The caller's random numbers stay as they are.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build_model(
                self.task, name, self.networks[name], self.hidden_sizes[name], self.recipe
            )
        model.fit_scaling(self.parts()[0])
        return model


def make_plan(
    data: Any,
    cells: Sequence[str | Cell | type[Cell]],
    *,
    seeds: int,
    epochs: int | None = None,
    budget: int | None = None,
    hidden_size: int | None = None,
    memory: int | None = None,
    say: Callable[[str], None],
    reading: Mapping[str, Any],
) -> ExperimentPlan:
    """Check the arguments of `compare` and `train`, read the data and size the networks."""
    networks = find_networks(cells)
    check_counts(seeds=seeds, epochs=epochs, budget=budget, hidden_size=hidden_size, memory=memory)
    if memory is not None and list(networks) == ["window"]:
        raise ArgumentError(
            f"memory is {memory}, and the network window has none to start: leave it out, or take "
            "a recurrent cell"
        )
    source = open_source(data, **reading)
    for line in source.notes:
        say(line)
    recipe = _recipe(source)
    if budget is None and hidden_size is None:
        budget = _default_budget(source.task, networks, recipe)
    recipe = replace(recipe, epochs=epochs or recipe.epochs, budget=budget or recipe.budget)
    return ExperimentPlan(
        data=source.name,
        training=source.training,
        test=source.test,
        task=source.task,
        networks=networks,
        hidden_sizes=_hidden_sizes(source.task, networks, recipe, hidden_size),
        baselines=baselines_for(source.task),
        seeds=seeds,
        recipe=replace(recipe, memory=memory),
        notes=source.notes,
        remarks=tuple(missing_baselines(source.task)),
        reading=source.reading,
    )


def find_networks(cells: Sequence[str | Cell | type[Cell]]) -> dict[str, Network]:
    """The networks by name, in the order of `cells`."""
    if isinstance(cells, str):
        raise ArgumentError(f"cells is {cells!r}; expected a list: [{cells!r}]")
    networks = [find_network(cell) for cell in cells]
    if not networks:
        raise ArgumentError(f"no network was given; there are: {', '.join(NETWORKS)}")
    if len(dict(networks)) < len(networks):
        names = ", ".join(name for name, _ in networks)
        raise ArgumentError(f"networks are {names}; expected each name once")
    return dict(networks)


def check_counts(**counts: int | None) -> None:
    """Refuse a value that is not a whole number from 1; None means that none was given."""
    for name, value in counts.items():
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ArgumentError(f"{name} is {value!r}; expected a whole number from 1")


def _recipe(source: Source) -> Recipe:
    """The recipe of the data set or of its task, fitted to the amount of data."""
    # A user's own file may be called vowels.csv; only the bundled set, which has a licence, gets
    # the recipe that was chosen for it.
    is_bundled = source.name in BUNDLED and source.training.licence
    recipe = RECIPES.get(source.name if is_bundled else "", RECIPES[source.task.kind])
    training, validation = source.task.parts(source.training, recipe.validation, 0)
    source.task.batches(validation)  # refuses data too few for a validation part
    return recipe.fitted(source.task.batches(training))


def _default_budget(task: Task, networks: Mapping[str, Network], recipe: Recipe) -> int:
    """The recipe's budget, or more where a readout with many outputs would exceed it."""
    name, network = next(iter(networks.items()))
    with torch.random.fork_rng(devices=[]):
        smallest = build_model(task, name, network, MIN_HIDDEN_SIZE, recipe)
    return max(recipe.budget, parameters(smallest))


def _hidden_sizes(
    task: Task, networks: Mapping[str, Network], recipe: Recipe, hidden_size: int | None
) -> dict[str, int]:
    """`hidden_size` for every network, or the size of each that comes nearest to the budget."""
    if hidden_size is not None:
        return dict.fromkeys(networks, hidden_size)

    def size_of(name: str, network: Network) -> int:
        def build(size: int) -> Model:
            return build_model(task, name, network, size, recipe)

        return solve_hidden_size(name, build, recipe.budget)

    return {name: size_of(name, network) for name, network in networks.items()}
