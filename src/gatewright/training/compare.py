"""The lesson's claim as an experiment: train the networks side by side and compare them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from gatewright.files import check_vacant
from gatewright.language.cell import Cell
from gatewright.training.estimate import estimate, within
from gatewright.training.experiment import planned
from gatewright.training.networks import NETWORKS
from gatewright.training.results import Comparison


def compare(
    data: Any = "vowels",
    *,
    out: str | os.PathLike[str] | None = None,
    cells: Sequence[str | Cell | type[Cell]] | None = None,
    seeds: int = 5,
    epochs: int | None = None,
    budget: int | None = None,
    hidden_size: int | None = None,
    memory: int | None = None,
    minutes: float | None = None,
    progress: bool = True,
    say: Callable[[str], None] = lambda line: None,
    **reading: Any,
) -> Comparison:
    """Train networks side by side on one data set, beside what one would try first.

    >>> comparison = compare("vowels", out="runs/vowels")    # doctest: +SKIP
    >>> rich.print(comparison.table())                       # doctest: +SKIP

    Every network gets the same data, the same seeds, the same batches and as nearly as
    possible the same number of parameters. The weights to keep, the best network and the
    best model are chosen on a validation part of the training part. The test part is opened
    once, after all of that. Baselines learn from training and validation part together.

    `say` is told beforehand how long it will take. Ctrl-C keeps the trainings that are finished
    and compares those; a second one ends it all.

    Args:
        data: A file, a dataframe, or the name of a bundled data set.
        out: New directory for config.json, model.safetensors (the best model), README.md and
            results.json; it appears whole, right after the training, or not at all. The
            baselines and report.html are added when they are done.
        cells: Names from `NETWORKS` or `gatewright.CELLS`, cells, or "file.py:MyCell".
        seeds: How often each network is trained; the seeds are 0, 1, ...
        epochs: Passes over the data; the task's recipe says unless given.
        budget: Parameters of each network, likewise.
        hidden_size: Units of each network, in place of a budget.
        memory: Steps that each recurrent network is started to remember, by `gw.init.horizon_`.
        minutes: Time limit: fewer seeds, then fewer epochs, and no slow baselines that do not fit.
        progress: Whether a progress bar is shown on the error stream.
        say: Told how the data were read, line by line.
        **reading: How to read the data, and for what: see `gatewright.data.read`; and for a
            forecast `horizon` and `window`, in steps.

    Raises:
        ArgumentError, DataError: before anything is computed.
        TrainingError: if a loss is no longer finite.
    """
    begun = time.monotonic()
    target = None if out is None else check_vacant(out)
    plan = planned(
        data,
        list(NETWORKS) if cells is None else cells,
        seeds=seeds,
        epochs=epochs,
        budget=budget,
        hidden_size=hidden_size,
        memory=memory,
        say=say,
        reading=reading,
    )
    if minutes is None:
        expected = estimate(plan)
    else:
        plan, expected = within(plan, minutes, begun)
    hint = "; give minutes= for a smaller comparison" if minutes is None else ""
    say(f"time: {expected.sentence()}{hint}")
    return plan.perform(target, progress=progress)
