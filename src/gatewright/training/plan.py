"""The plan of an experiment: everything that is decided before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch

from gatewright.backends.recompute import check_recompute
from gatewright.data.catalogue import BUNDLED
from gatewright.designs.design import Design, find_design
from gatewright.devices import find_device
from gatewright.errors import ArgumentError
from gatewright.language.cell import Cell
from gatewright.tasks.baseline import Baseline
from gatewright.tasks.registry import baselines_for, missing_baselines
from gatewright.tasks.task import Task
from gatewright.training.choose_device import check_training_precision, choose_device
from gatewright.training.free_memory import free_memory
from gatewright.training.job import TrainingJob, build_model
from gatewright.training.long_sequences import choose_chunk, chunk_note, chunk_problem
from gatewright.training.model import Model
from gatewright.training.networks import (
    NETWORKS,
    UNTRAINED,
    Network,
    count_parameters,
    find_network,
    solve_hidden_size,
)
from gatewright.training.recipe import (
    FEW_SEQUENCES,
    RECIPES,
    TRIED,
    UNTRAINED_FOLDS,
    Recipe,
)
from gatewright.training.source import Source, open_source
from gatewright.training.variants import Effort, Variant, find_effort

#: Smallest hidden size when the user gives neither a size nor a number of parameters.
MIN_HIDDEN_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentPlan:
    """Data, networks, variants and baselines of one experiment.

    Before a choice, task, recipe and sizes are those of the first variant.
    """

    data: str  # the name of the data
    training: Any  # the part for learning and for every choice
    test: Any  # the part that is opened once, after every choice
    variants: Sequence[Variant]  # the simplest first; one is left after the choice
    networks: Mapping[str, Network]
    baselines: Sequence[Baseline]
    seeds: int
    effort: Effort
    reading: Mapping[str, Any]  # arguments that read new data in the same way
    notes: tuple[str, ...]  # on the data and the training, for the card and the report
    distil: bool = False  # whether the mean of the seeds teaches the one network that is kept
    short_losses: tuple[float, ...] = ()  # of the chosen variant's short trainings, by seed
    remarks: tuple[str, ...] = ()  # on what is missing from the table
    limits: Mapping[str, float] = field(default_factory=dict)  # seconds of a training, by network
    deadline: float | None = None  # in `time.monotonic()`; no slow baseline is fitted after it

    @property
    def task(self) -> Task:
        """The task, in its first formulation."""
        return self.variants[0].task

    @property
    def recipe(self) -> Recipe:
        """The settings of the trainings."""
        return self.variants[0].recipe

    @property
    def hidden_sizes(self) -> Mapping[str, int]:
        """The hidden size of each network."""
        return self.variants[0].hidden_sizes

    def short(self, variant: Variant, share: float, seeds: int) -> ExperimentPlan:
        """The plan of short trainings: the last network, on one variant, from so many seeds."""
        name = list(self.networks)[-1]
        return replace(
            self,
            networks={name: self.networks[name]},
            seeds=seeds,
            variants=[variant.with_share(share)],
        )

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
    cells: Sequence[str | Cell | type[Cell]] | None,
    *,
    seeds: int | None = None,
    epochs: int | None = None,
    budget: str = "normal",
    parameters: int | None = None,
    design: Design | str | None = None,
    streaming: bool = False,
    hidden_size: int | None = None,
    memory: int | None = None,
    chunk: int | None = None,
    recompute: int | None = None,
    device: str = "auto",
    precision: str = "float32",
    recipe: Mapping[str, Any] | None = None,
    say: Callable[[str], None],
    reading: Mapping[str, Any],
) -> ExperimentPlan:
    """Check the arguments of `compare` and `train`, read the data and size the networks.

    Without cells, the networks are all that the task can be compared by. `recipe` has fields of a
    recipe that replace the task's own.
    """
    networks = find_networks(list(NETWORKS) if cells is None else cells)
    effort = find_effort(budget)
    # Before the data are read: the base of a forecast is then fitted, for seconds.
    design = None if design is None else find_design(design)
    find_device(device)
    check_training_precision(precision)
    check_recompute(recompute)
    check_counts(
        seeds=seeds,
        epochs=epochs,
        parameters=parameters,
        hidden_size=hidden_size,
        memory=memory,
        chunk=chunk,
    )
    if memory is not None and list(networks) == ["window"]:
        raise ArgumentError(
            f"memory is {memory}, and the network window has none to start: leave it out, or take "
            "a recurrent cell"
        )
    source = data if isinstance(data, Source) else open_source(data, **reading)
    reach = None if source.task.every_step else chunk  # of gradients, in whole sequences
    check_gradients(networks, chunk=reach, recompute=recompute)
    for line in source.notes:
        say(line)
    if cells is None and source.task.closed_form:
        # Second, as its effort is: designs are tried with the last network.
        first, *others = networks.items()
        networks = dict([first, *UNTRAINED.items(), *others])
    elif not source.task.closed_form and not UNTRAINED.keys().isdisjoint(networks):
        raise ArgumentError(
            f"the network untrained cannot do the task {source.task.kind}: only a class for a "
            "whole sequence can be learned in closed form; leave it out"
        )

    def variants_of(source: Source) -> list[Variant]:
        recipes = recipes_to_try(
            source.task,
            source.training,
            recipe_name(source),
            networks,
            effort,
            design=design,
            streaming=streaming,
            chunk=reach,
            changes=recipe or {},
        )
        return [
            make_variant(task, recipe, networks, epochs, parameters, hidden_size, memory).computed(
                chunk=reach, recompute=recompute
            )
            for task in source.task.variants()
            for recipe in recipes
        ]

    if chunk is not None:
        source = replace(source, task=source.task.in_chunks(chunk))
    variants = variants_of(source)
    if chunk is not None:
        line = chunk_note(source.task, variants[0].recipe.design, chunk, recompute)
        say(line)
        source = replace(source, notes=(*source.notes, line))
    else:
        chunk, line = choose_chunk(source.task, source.training, variants)
        if chunk is not None:
            source = replace(source, task=source.task.in_chunks(chunk))
            variants = variants_of(source)
        if line:
            say(line)
            source = replace(source, notes=(*source.notes, line))
    effort = effort_on([variant.recipe for variant in variants], effort)
    chosen, remark = choose_device(device, _models(variants[0], networks))
    if remark:
        say(remark)
    variants = [v.computed(device=str(chosen), precision=precision) for v in variants]
    return ExperimentPlan(
        data=source.name,
        training=source.training,
        test=source.test,
        variants=variants,
        networks=networks,
        baselines=baselines_for(source.task),
        seeds=effort.seeds if seeds is None else seeds,
        effort=effort,
        notes=source.notes,
        remarks=tuple(missing_baselines(source.task)),
        reading=source.reading,
    )


def _models(variant: Variant, networks: Mapping[str, Network]) -> Iterator[Model]:
    """The networks of a variant; the caller's random numbers stay as they are."""
    with torch.random.fork_rng(devices=[]):
        for name, network in networks.items():
            size = variant.hidden_sizes[name]
            yield build_model(variant.task, name, network, size, variant.recipe)


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


def check_gradients(networks: Mapping[str, Network], **settings: int | None) -> None:
    """Refuse settings of gradients through time where no network has any.

    Raises:
        ArgumentError: with the first such setting.
    """
    reasons = {"window": "no states", "untrained": "random weights and no gradients"}
    for setting, value in settings.items():
        if value and networks.keys() <= reasons.keys():
            name = next(iter(networks))
            amount = "asked for" if value is True else value
            raise ArgumentError(
                f"{setting} is {amount}, and the network {name} has {reasons[name]}: leave "
                f"{setting} out, or take a recurrent cell"
            )


def check_counts(**counts: int | None) -> None:
    """Refuse a value that is not a whole number from 1; None means that none was given."""
    for name, value in counts.items():
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ArgumentError(f"{name} is {value!r}; expected a whole number from 1")


def recipe_name(source: Source) -> str:
    """The entry of `RECIPES` for these data: that of the data set, or of its task."""
    # A user's own file may be called vowels.csv; only the bundled set, which has a licence, gets
    # the recipe that was chosen for it.
    is_bundled = source.name in BUNDLED and source.training.licence
    return source.name if is_bundled and source.name in RECIPES else source.task.kind


def effort_on(recipes: Sequence[Recipe], effort: Effort) -> Effort:
    """The effort with more folds where no recipe to try needs training."""
    if any(recipe.design.trained for recipe in recipes):
        return effort
    return replace(effort, folds=max(effort.folds, UNTRAINED_FOLDS))


def recipes_to_try(
    task: Task,
    training: Any,
    name: str,
    networks: Mapping[str, Network],
    effort: Effort,
    *,
    design: Design | str | None = None,
    streaming: bool = False,
    chunk: int | None = None,
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> list[Recipe]:
    """The recipes to try, the simplest first, fitted to the amount of data, with the changes.

    A design that is asked for is the only one. A comparison of networks is about what they learn:
    it tries only designs that are trained.

    Args:
        task: The task of the training data.
        training: All data for learning and for choices.
        name: The entry of `RECIPES`, and of `TRIED` if it has one.
        networks: The networks by name.
        effort: What the budget pays for.
        design: The only design to try, or its name.
        streaming: Whether a network has to answer step by step.
        chunk: Steps that gradients reach back in whole sequences; None for all.
        changes: Fields of the recipes that have other values.

    Raises:
        ArgumentError: if a network of this design cannot do the task.
    """
    recipes = [replace(RECIPES[name], **variant) for variant in TRIED.get(name, [{}])]
    if design is not None:
        asked = find_design(design)
        same = [recipe for recipe in recipes if recipe.design == asked]
        recipes = same or [replace(RECIPES[name], design=asked)]
        problem = task.design_problem(asked)
        if problem is not None:
            raise ArgumentError(f"design does not fit the task {task.kind}: {problem}")
        if (problem := chunk_problem(asked, chunk)) is not None:
            raise ArgumentError(problem)
        if streaming and asked.needs_whole_sequence:
            raise ArgumentError(
                f"streaming is asked for, and the design is {asked.words()}, which cannot read a "
                "sequence step by step; leave the design or streaming out"
            )
    elif len(networks) > 1 or "window" in networks:
        recipes = [recipe for recipe in recipes if recipe.design.trained]
    recipes = [recipe for recipe in recipes if not task.design_problem(recipe.design)]
    if chunk is not None:
        recipes = [r for r in recipes if not chunk_problem(r.design, chunk)] or [RECIPES[name]]
    if streaming:
        step_by_step = [r for r in recipes if not r.design.needs_whole_sequence]
        recipes = step_by_step or [RECIPES[name]]
    share = changes.get("validation", recipes[0].validation)
    learned, validation = task.parts(training, share, 0)
    task.batches(validation)  # refuses data too few for a validation part
    batches = task.batches(learned)
    untrained = [recipe for recipe in recipes if not recipe.design.trained]
    # Few sequences say little in short trainings, and networks that need none do better.
    if untrained and effort.pilot < 1.0 and len(training) < FEW_SEQUENCES:
        recipes = untrained
    tried = recipes[: None if effort.designs else 1]
    return [replace(recipe.fitted(batches), **changes) for recipe in tried]


def make_variant(
    task: Task,
    recipe: Recipe,
    networks: Mapping[str, Network],
    epochs: int | None,
    parameters: int | None,
    hidden_size: int | None,
    memory: int | None,
) -> Variant:
    """A variant with the sizes of its networks; None leaves a setting to the recipe."""
    if parameters is None and hidden_size is None:
        parameters = _default_parameters(task, networks, recipe)
    recipe = replace(
        recipe,
        epochs=epochs or recipe.epochs,
        parameters=parameters or recipe.parameters,
        memory=memory,
    )
    return Variant(task, recipe, _hidden_sizes(task, networks, recipe, hidden_size))


def _default_parameters(task: Task, networks: Mapping[str, Network], recipe: Recipe) -> int:
    """The recipe's parameters, or more where a readout with many outputs would exceed them."""
    name, network = next(iter(networks.items()))
    with torch.random.fork_rng(devices=[]):
        smallest = build_model(task, name, network, MIN_HIDDEN_SIZE, recipe)
    return max(recipe.parameters, count_parameters(smallest))


def _check_fits(hidden_size: int) -> None:
    """Refuse so many units that one matrix from the units to themselves exceeds the memory."""
    needed, free = 4 * hidden_size**2, free_memory()
    if free is not None and needed > free:
        raise ArgumentError(
            f"hidden_size is {hidden_size:,}; such a matrix takes {needed / 1e9:,.0f} GB, "
            f"and {free / 1e9:,.1f} GB are free: expected fewer units"
        )


def _hidden_sizes(
    task: Task, networks: Mapping[str, Network], recipe: Recipe, hidden_size: int | None
) -> dict[str, int]:
    """`hidden_size` for every network, or the size of each with nearest to the parameters."""
    if hidden_size is not None:
        _check_fits(hidden_size)
        return dict.fromkeys(networks, hidden_size)

    def size_of(name: str, network: Network) -> int:
        def build(size: int) -> Model:
            return build_model(task, name, network, size, recipe)

        return solve_hidden_size(name, build, recipe.parameters)

    return {name: size_of(name, network) for name, network in networks.items()}
