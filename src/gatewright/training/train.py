"""From a file to a model that can be used: one network, trained and measured."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gatewright.files import check_vacant
from gatewright.language.cell import Cell
from gatewright.training.experiment import Experiment, planned
from gatewright.training.memory_check import on_memory
from gatewright.training.results import Comparison


def train(
    data: Any,
    *,
    cell: str | Cell | type[Cell] = "lstm",
    out: str | os.PathLike[str] | None = None,
    seeds: int = 1,
    epochs: int | None = None,
    hidden_size: int | None = None,
    memory: int | None = None,
    progress: bool = True,
    say: Callable[[str], None] = lambda line: None,
    **reading: Any,
) -> Comparison:
    """Train one network, beside quick baselines, and keep the best model of its seeds.

    >>> trained = train("weather", cell="gru", out="runs/weather")    # doctest: +SKIP
    >>> trained.model.predict(new_series)                             # doctest: +SKIP

    Ctrl-C ends the training early and keeps the best model so far; a second one ends it all.

    Args:
        data: A file, a dataframe, the name of a bundled data set, or what `read` returned.
        cell: A name from `NETWORKS` or `gatewright.CELLS`, a cell, or "file.py:MyCell".
        out: New directory for config.json, model.safetensors, README.md and results.json; it
            appears whole, right after the training, or not at all. The baselines and
            report.html are added when they are done.
        seeds: How often it is trained; the best on validation is kept.
        epochs: Passes over the data; the task's recipe says unless given.
        hidden_size: Units of the network; the recipe's budget of parameters decides unless given.
        memory: Steps that it is started to remember, by `gw.init.horizon_`; as its cell starts
            unless given. Where that is too short for the data `say` is told of it.
        progress: Whether a progress bar is shown on the error stream.
        say: Told how the data were read, line by line.
        **reading: How to read the data, and for what: see `gatewright.data.read`; and for a
            forecast `horizon` and `window`, in steps.

    Raises:
        ArgumentError, DataError: before anything is computed.
        TrainingError: if a loss is no longer finite.
    """
    target = None if out is None else check_vacant(out)
    plan: Experiment = planned(
        data,
        [cell],
        seeds=seeds,
        epochs=epochs,
        hidden_size=hidden_size,
        memory=memory,
        say=say,
        reading=reading,
    )
    remarks = on_memory(plan)
    for line in remarks:
        say(line)
    plan = replace(
        plan,
        baselines=[one for one in plan.baselines if one.seconds is None],
        remarks=(),  # what is left out is slow
        notes=(*plan.notes, *remarks),
    )
    return plan.perform(target, progress=progress)
