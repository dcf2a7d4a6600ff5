"""One experiment: train every network from every seed, then open the test part, once.

The model is saved as soon as it is chosen and measured; baselines, which may take longer than
the training, and the report are added to its directory when they are done.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gatewright.data.catalogue import BUNDLED
from gatewright.errors import ArgumentError
from gatewright.files import write_file
from gatewright.language.cell import Cell
from gatewright.layers.saving import save
from gatewright.tasks.baseline import Baseline
from gatewright.tasks.presentation import why_chosen
from gatewright.tasks.registry import baselines_for, missing_baselines, presentation_of
from gatewright.tasks.task import Task, run_all
from gatewright.training.job import Run, build_model
from gatewright.training.loop import BY_HAND, TIME_OVER
from gatewright.training.model import Model
from gatewright.training.networks import (
    NETWORKS,
    Network,
    find_network,
    parameters,
    solve_hidden_size,
)
from gatewright.training.processes.pool import Outcome, perform_all
from gatewright.training.processes.progress import baseline_bar, progress_bar
from gatewright.training.recipe import RECIPES, Recipe
from gatewright.training.report.card import card
from gatewright.training.report.page import report
from gatewright.training.results import Comparison, Entry, Trial
from gatewright.training.source import open_source

#: A network has at least so many units where nobody says how large it is to be.
LEAST_UNITS = 32
CUT_SHORT = "The training was ended by hand: these are the best models until then."
PENDING = "Written right after the training: the baselines were still to be computed."


class OutOfTime(Exception):
    """The deadline of an experiment is over; never leaves this module."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """All that is decided before anything is trained."""

    data: str  # the name of the data
    training: Any  # the part that everything is learned and chosen on
    test: Any  # the part that is opened once
    task: Task
    networks: Mapping[str, Network]
    baselines: Sequence[Baseline]
    seeds: int
    recipe: Recipe
    hidden_size: int | None  # of every network; None: from the recipe's budget
    reading: Mapping[str, Any]  # how the data were read
    notes: tuple[str, ...]
    remarks: tuple[str, ...] = ()  # on what the table has not
    limits: Mapping[str, float] = field(default_factory=dict)  # seconds, of each network
    deadline: float | None = None  # of `time.monotonic`; baselines do not run beyond it

    def perform(self, target: Path | None, *, progress: bool) -> Comparison:
        """Train, measure, and write the directory; see `compare` and `train`."""
        settled = self.settled(progress)
        outcomes = settled.trained(settled.runs(), progress, keep=True)
        return settled.finished(outcomes, target, progress)

    def settled(self, progress: bool) -> Experiment:
        """The same with the variant of the task that does best after a short training."""
        variants = self.task.variants()
        if len(variants) == 1:
            return self
        first = {name: self.networks[name] for name in list(self.networks)[-1:]}
        short = self.recipe.pilot()
        pilots = [
            replace(self, task=task, networks=first, seeds=1, recipe=short) for task in variants
        ]
        runs = [run for pilot in pilots for run in pilot.runs()]
        outcomes = self.trained(runs, progress, keep=False, what="short trainings to choose by")
        histories = [outcome.history for outcome in outcomes]
        losses = [history.validation_loss[history.kept] for history in histories]
        best = losses.index(min(losses))
        others = [*losses[:best], *losses[best + 1 :]]
        note = why_chosen(presentation_of(variants[best]).variant, losses[best], others)
        return replace(self, task=variants[best], notes=(*self.notes, note))

    def runs(self) -> list[Run]:
        """Every network from every seed."""
        sizes = {name: self.size_of(name) for name in self.networks}
        cells = {name: one.stored(self.task, sizes[name]) for name, one in self.networks.items()}
        return [
            Run(self.task, name, sizes[name], seed, self.limited(name), cells[name])
            for seed in range(self.seeds)
            for name in self.networks
        ]

    def limited(self, name: str) -> Recipe:
        """The recipe of a network's runs, with the time that it may take."""
        return replace(self.recipe, seconds=self.limits.get(name))

    def trained(
        self, runs: Sequence[Run], progress: bool, keep: bool, what: str = "trainings"
    ) -> list[Outcome]:
        """What becomes of runs; the progress bar says what they are."""
        costs = {name: network.cost for name, network in self.networks.items()}
        with progress_bar(runs, costs, shown=progress, what=what) as on_epoch:
            outcomes = perform_all(runs, self.training, on_epoch=on_epoch, keep=keep)
        return outcomes

    def finished(
        self, outcomes: Sequence[Outcome], target: Path | None, progress: bool
    ) -> Comparison:
        """Measure what was trained, and write the directory: the model before all else."""
        usable = self.usable(outcomes)
        if not usable:
            raise KeyboardInterrupt  # so early that there is nothing to keep
        models = {(one.run.network, one.run.seed): self.model(one) for one in usable}
        comparison, shown_models = self.opened(usable, models, target)
        if target is not None:
            pending = replace(comparison, remarks=(*comparison.remarks, PENDING))
            save(comparison.model, target, files=_pages(pending if self.baselines else comparison))
        comparison = self.with_baselines(comparison, progress)
        if target is not None:
            page = report(comparison, shown_models, self.test).encode()
            # The card comes last: until then it says that the rest is still to be computed.
            for name, content in {"report.html": page, **_pages(comparison)}.items():
                write_file(target / name, content, overwrite=True)
        return comparison

    def usable(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """The outcomes that are measured.

        Networks are compared by trainings that were not ended by hand, if there are any: one
        that was cut short says nothing about its network.
        """
        begun = [outcome for outcome in outcomes if outcome.history.kept >= 0]
        whole = [outcome for outcome in begun if outcome.history.stopped != BY_HAND]
        return whole if len(self.networks) > 1 and whole else begun

    def model(self, outcome: Outcome) -> Model:
        """The trained model: built as it was where it was trained."""
        run = outcome.run
        network = self.networks[run.network]
        with torch.random.fork_rng(devices=[]):
            model = build_model(run.task, run.network, network, run.hidden_size, run.recipe)
        model.load_state_dict(outcome.weights)
        model.reading = dict(self.reading)
        return model.eval()

    def size_of(self, name: str) -> int:
        """The hidden size of a network: the one given, or what its budget allows."""
        network = self.networks[name]
        if self.hidden_size is not None:
            return self.hidden_size

        def build(size: int) -> Model:
            return build_model(self.task, name, network, size, self.recipe)

        return solve_hidden_size(name, build, self.recipe.budget)

    def opened(
        self,
        outcomes: Sequence[Outcome],
        models: Mapping[tuple[str, int], Model],
        target: Path | None,
    ) -> tuple[Comparison, dict[str, Model]]:
        """Everything is trained: now the test part. Also the best model of each network."""
        task, metric, words = self.task, self.task.metrics[0], presentation_of(self.task)
        batches = task.batches(self.test)
        trials: dict[str, list[Trial]] = {}
        for outcome in outcomes:
            run, history = outcome.run, outcome.history
            model = models[run.network, run.seed]
            predicted = task.predictions(run_all(model, batches), model)
            trials.setdefault(run.network, []).append(
                Trial(
                    run.seed,
                    history.validation[history.kept],
                    task.score(predicted, self.test),
                    predicted,
                    history,
                    history.validation_loss[history.kept],
                )
            )
        networks = [
            Entry(
                name,
                self.networks[name].title,
                self.networks[name].about,
                parameters(models[name, tried[0].seed]),
                tuple(tried),
                models[name, tried[0].seed].hidden_size,
            )
            for name, tried in trials.items()
        ]
        rest, validation = task.parts(self.training, self.recipe.validation, 0)
        chosen = {entry.name: entry.chosen(metric) for entry in networks}
        comparison = Comparison(
            data=self.data,
            about=self.test.about,
            licence=self.test.licence,
            task=task,
            sizes={
                "training": words.part_size(rest),
                "validation": words.part_size(validation),
                "test": words.part_size(self.test),
            },
            recipe=self.recipe,
            entries=tuple(networks),
            shown={},
            notes=self.notes,
            remarks=(*self.cut_short(outcomes), *self.remarks),
            versions={
                "gatewright": version("gatewright"),
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
            directory=target,
            model=models[networks[0].name, chosen[networks[0].name].seed],
        )
        best = comparison.best.name
        comparison = replace(
            comparison,
            model=models[best, chosen[best].seed],
            shown={
                **words.figures(chosen[best].predicted, self.test),
                **words.model_figures(models[best, chosen[best].seed], self.test),
            },
        )
        return comparison, {name: models[name, trial.seed] for name, trial in chosen.items()}

    def cut_short(self, outcomes: Sequence[Outcome]) -> list[str]:
        """The remark on trainings that were ended before their time, if any were."""
        planned = self.seeds * len(self.networks)
        stopped = {outcome.history.stopped for outcome in outcomes}
        if BY_HAND in stopped:
            return [CUT_SHORT]
        if len(outcomes) < planned:
            return [f"Ended by hand: {len(outcomes)} of {planned} trainings were finished."]
        over = sum(outcome.history.stopped == TIME_OVER for outcome in outcomes)
        return [f"{over} of {planned} trainings ended because their time was over."] if over else []

    def with_baselines(self, comparison: Comparison, progress: bool) -> Comparison:
        """The same with the baselines; Ctrl-C leaves out those that are not done yet."""
        entries: list[Entry] = []
        remarks = comparison.remarks
        fits = sum(len(one.settings) + 1 for one in self.baselines)
        reason = ""
        try:
            with baseline_bar(fits, shown=progress) as on_fit:
                for baseline in self.baselines:
                    timed = self.timed(on_fit) if len(baseline.settings) > 1 else on_fit
                    entries.append(self.baseline(baseline, timed))
        except KeyboardInterrupt:
            reason = "Ended by hand"
        except OutOfTime:
            reason = "The time was over"
        if reason:
            left_out = ", ".join(one.title for one in self.baselines[len(entries) :])
            remarks = (f"{reason} before these baselines: {left_out}.", *remarks)
        return replace(comparison, entries=(*comparison.entries, *entries), remarks=remarks)

    def timed(self, on_fit: Callable[[str], None]) -> Callable[[str], None]:
        """The same call before each fit, which ends the baselines once the deadline is over.

        Only those with several settings ask: the others are done in a moment.
        """

        def before_fit(title: str) -> None:
            if self.deadline is not None and time.monotonic() > self.deadline:
                raise OutOfTime
            on_fit(title)

        return before_fit

    def baseline(self, baseline: Baseline, on_fit: Callable[[str], None]) -> Entry:
        """Its settings are chosen on validation; then it learns from all that is not test."""
        task, metric = self.task, self.task.metrics[0]
        rest, validation = task.parts(self.training, self.recipe.validation, 0)
        tried = []
        for setting in baseline.settings:
            on_fit(baseline.title)
            predicted = baseline.fit(rest, setting).predict(validation)
            tried.append((task.score(predicted, validation), setting))
        on_fit(baseline.title)
        values, setting = max(tried, key=lambda one: metric.goodness(one[0][metric.name]))
        fitted = baseline.fit(self.training, setting)
        predicted = fitted.predict(self.test)
        trial = Trial(0, values, task.score(predicted, self.test), predicted)
        return Entry(baseline.name, baseline.title, baseline.about, fitted.parameters, (trial,))


def planned(
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
) -> Experiment:
    """The experiment that `compare` and `train` were asked for, with everything checked."""
    networks = chosen_networks(cells)
    check_counts(seeds=seeds, epochs=epochs, budget=budget, hidden_size=hidden_size, memory=memory)
    if memory is not None and list(networks) == ["window"]:
        raise ArgumentError(
            f"memory is {memory}, and the network window has none to start: leave it out, or take "
            "a recurrent cell"
        )
    source = open_source(data, **reading)
    for line in source.notes:
        say(line)
    # A file of the user's may well be called tag.csv or vowels.csv: it has no licence of ours.
    own = source.name in BUNDLED and source.training.licence
    recipe = RECIPES.get(source.name if own else "", RECIPES[source.task.kind])
    # Also refuses what is too little to take a validation part off.
    rest, validation = source.task.parts(source.training, recipe.validation, 0)
    source.task.batches(validation)
    recipe = recipe.fitted(source.task.batches(rest))
    plan = Experiment(
        data=source.name,
        training=source.training,
        test=source.test,
        task=source.task,
        networks=networks,
        baselines=baselines_for(source.task),
        seeds=seeds,
        recipe=replace(
            recipe,
            epochs=epochs or recipe.epochs,
            budget=budget or recipe.budget,
            memory=memory,
        ),
        hidden_size=hidden_size,
        notes=source.notes,
        remarks=tuple(missing_baselines(source.task)),
        reading=source.reading,
    )
    if budget is None and hidden_size is None:
        # A readout with many outputs may need more than the recipe's budget for a network at all.
        first = next(iter(networks))
        with torch.random.fork_rng(devices=[]):
            small = build_model(plan.task, first, networks[first], LEAST_UNITS, recipe)
        plan = replace(
            plan, recipe=replace(plan.recipe, budget=max(recipe.budget, parameters(small)))
        )
    for name in networks:
        plan.size_of(name)  # refuses a budget that cannot be met
    return plan


def _pages(comparison: Comparison) -> dict[str, bytes]:
    """The files that stand beside the model from the beginning."""
    pages = {"results.json": comparison.to_json() + "\n", "README.md": card(comparison)}
    return {name: text.encode() for name, text in pages.items()}


def chosen_networks(cells: Sequence[str | Cell | type[Cell]]) -> dict[str, Network]:
    """The networks by name, in the order given."""
    if isinstance(cells, str):
        raise ArgumentError(f"cells is {cells!r}; expected a list: [{cells!r}]")
    found = [find_network(one) for one in cells]
    if not found:
        raise ArgumentError(f"no network was given; there are: {', '.join(NETWORKS)}")
    if len(dict(found)) < len(found):
        names = ", ".join(name for name, _ in found)
        raise ArgumentError(f"networks are {names}; expected each name once")
    return dict(found)


def check_counts(**given: int | None) -> None:
    """Refuse what is no whole number from 1; None is one that was not given."""
    for what, value in given.items():
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ArgumentError(f"{what} is {value!r}; expected a whole number from 1")
