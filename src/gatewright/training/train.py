"""From data to a model that can be used: `train` one network, or `compare` several."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from gatewright.designs.design import Design
from gatewright.files import check_vacant
from gatewright.language.cell import Cell
from gatewright.training.distil import check_distillable
from gatewright.training.estimate import estimate_time, fit_into, within_budget
from gatewright.training.experiment import run_experiment
from gatewright.training.memory_check import memory_remarks
from gatewright.training.networks import DEFAULT_CELL
from gatewright.training.plan import ExperimentPlan, make_plan
from gatewright.training.results import Comparison


def train(
    data: Any,
    *,
    cell: str | Cell | type[Cell] = DEFAULT_CELL,
    out: str | os.PathLike[str] | None = None,
    budget: str = "normal",
    seeds: int | None = None,
    epochs: int | None = None,
    design: Design | str | None = None,
    streaming: bool = False,
    hidden_size: int | None = None,
    memory: int | None = None,
    distil: bool = False,
    chunk: int | None = None,
    progress: bool = True,
    say: Callable[[str], None] = lambda line: None,
    **reading: Any,
) -> Comparison:
    """Train one network and a few quick baselines, and keep the best model of all seeds.

    >>> trained = train("weather", cell="gru", out="runs/weather")    # doctest: +SKIP
    >>> trained.model.predict(new_series)                             # doctest: +SKIP

    Ctrl-C ends the training early and keeps the best model so far; a second Ctrl-C stops
    everything.

    Args:
        data: A file, a dataframe, the name of a bundled data set, or the result of `read`.
        cell: A name from `NETWORKS` or `gatewright.CELLS`, a cell, or "file.py:MyCell".
        out: New directory for config.json, model.safetensors, README.md and results.json. It
            appears complete, right after the training, or not at all. The baselines and
            report.html are added when they are done.
        budget: "quick", "normal" or "thorough": how many designs are tried, in how many short
            trainings, and how many networks are trained; see `variants.BUDGETS`.
        seeds: Number of trainings; by default those of the budget, if they fit into its minutes.
        epochs: Passes over the data; by default those of the task's recipe.
        design: The shape of the network, a `Design` or its name; by default it is chosen on
            validation.
        streaming: Whether the network has to answer step by step: no design that needs the whole
            sequence, such as both directions, is tried.
        hidden_size: Units of the network; by default from the recipe's number of parameters.
        memory: Steps that the network starts with as its memory, by `gw.init.horizon_`; by
            default its cell's own start. A warning goes to `say` where the data need more.
        distil: Whether the mean of the seeds teaches one network, which is the model then: smaller
            and faster than the mean, and a little less accurate.
        chunk: Steps at which gradients end, of texts and of tagged sequences: states are carried
            on, and a step of training takes the memory of a chunk. By default tagged sequences are
            read so where they are long; see docs/long-sequences.md.
        progress: Show a progress bar on the error stream.
        say: Called with each line about how the data were read.
        **reading: How to read the data and for which task: see `gatewright.data.read`. For a
            forecast also `horizon` and `window`, in steps.

    Raises:
        ArgumentError, DataError: before anything is computed.
        TrainingError: if a loss is no longer finite.
    """

    def prepare(plan: ExperimentPlan) -> ExperimentPlan:
        plan, estimate = within_budget(plan, fixed_seeds=seeds is not None)
        say(f"time: {estimate.sentence()}")
        if distil:
            plan = check_distillable(plan)
        remarks = memory_remarks(plan)
        for line in remarks:
            say(line)
        quick = [baseline for baseline in plan.baselines if baseline.seconds is None]
        # Baselines that cannot run here are slow ones: they are no loss, so no remark on them.
        return replace(plan, baselines=quick, remarks=(), notes=(*plan.notes, *remarks))

    return _perform(
        data,
        [cell],
        prepare,
        out=out,
        progress=progress,
        budget=budget,
        seeds=seeds,
        epochs=epochs,
        design=design,
        streaming=streaming,
        hidden_size=hidden_size,
        memory=memory,
        chunk=chunk,
        say=say,
        reading=reading,
    )


def compare(
    data: Any = "vowels",
    *,
    out: str | os.PathLike[str] | None = None,
    cells: Sequence[str | Cell | type[Cell]] | None = None,
    budget: str = "normal",
    seeds: int = 5,
    epochs: int | None = None,
    design: Design | str | None = None,
    streaming: bool = False,
    parameters: int | None = None,
    hidden_size: int | None = None,
    memory: int | None = None,
    chunk: int | None = None,
    minutes: float | None = None,
    progress: bool = True,
    say: Callable[[str], None] = lambda line: None,
    **reading: Any,
) -> Comparison:
    """Train networks side by side on one data set, together with simple baselines.

    >>> comparison = compare("vowels", out="runs/vowels")    # doctest: +SKIP
    >>> rich.print(comparison.table())                       # doctest: +SKIP

    Every network gets the same data, seeds and batches, and as nearly as possible the same
    number of parameters. The weights to keep, the best network and the best model are chosen on
    a validation part of the training part. The test part is opened once, after all of that.
    Baselines learn from training and validation part together.

    An estimate of the time goes to `say` first. Ctrl-C keeps the trainings that are finished and
    compares those; a second Ctrl-C stops everything.

    Args:
        data: A file, a dataframe, or the name of a bundled data set.
        out: New directory for config.json, model.safetensors (the best model), README.md and
            results.json. It appears complete, right after the training, or not at all. The
            baselines and report.html are added when they are done.
        cells: Names from `NETWORKS` or `gatewright.CELLS`, cells, or "file.py:MyCell"; by default
            all of `NETWORKS`, and for classes of sequences "untrained" too.
        budget: "quick", "normal" or "thorough": whether designs are tried, and in how many short
            trainings; see `variants.BUDGETS`.
        seeds: Number of trainings of each network, with the seeds 0, 1, ...
        epochs: Passes over the data; by default those of the task's recipe.
        design: The shape of every network but the window, a `Design` or its name; by default it
            is chosen on validation.
        streaming: As in `train`.
        parameters: Parameters of each network; by default those of the task's recipe.
        hidden_size: Units of each network, instead of parameters.
        memory: Steps that each recurrent network starts with as its memory, by
            `gw.init.horizon_`.
        chunk: As in `train`.
        minutes: Time limit: fewer seeds, then fewer epochs, and no slow baselines that do not fit.
        progress: Show a progress bar on the error stream.
        say: Called with each line about how the data were read.
        **reading: How to read the data and for which task: see `gatewright.data.read`. For a
            forecast also `horizon` and `window`, in steps.

    Raises:
        ArgumentError, DataError: before anything is computed.
        TrainingError: if a loss is no longer finite.
    """
    began = time.monotonic()

    def prepare(plan: ExperimentPlan) -> ExperimentPlan:
        if minutes is None:
            say(f"time: {estimate_time(plan).sentence()}; give minutes= for a smaller comparison")
            return plan
        smaller, estimate = fit_into(plan, minutes, began)
        say(f"time: {estimate.sentence()}")
        return smaller

    return _perform(
        data,
        cells,
        prepare,
        out=out,
        progress=progress,
        seeds=seeds,
        epochs=epochs,
        budget=budget,
        design=design,
        streaming=streaming,
        parameters=parameters,
        hidden_size=hidden_size,
        memory=memory,
        chunk=chunk,
        say=say,
        reading=reading,
    )


def _perform(
    data: Any,
    cells: Sequence[str | Cell | type[Cell]] | None,
    prepare: Callable[[ExperimentPlan], ExperimentPlan],
    *,
    out: str | os.PathLike[str] | None,
    progress: bool,
    **settings: Any,
) -> Comparison:
    """Check the output directory, make the plan from `settings`, prepare it, and run it."""
    target = None if out is None else check_vacant(out)
    plan = prepare(make_plan(data, cells, **settings))
    return run_experiment(plan, target, progress=progress)
