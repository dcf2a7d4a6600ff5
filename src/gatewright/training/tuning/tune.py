"""`tune`: search for the settings of a training, in one or several processes, resumably."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gatewright.designs.design import DESIGNS
from gatewright.errors import ArgumentError, TrainingError
from gatewright.files import check_vacant, user_path, write_file
from gatewright.training.config import with_config
from gatewright.training.estimate import estimate_time, in_words
from gatewright.training.networks import DEFAULT_CELL
from gatewright.training.plan import ExperimentPlan, check_counts, make_plan
from gatewright.training.record import digest_of
from gatewright.training.session import seconds_of
from gatewright.training.source import Source, open_source
from gatewright.training.tuning.progress import search_bar
from gatewright.training.tuning.result import PAGE, TRIALS, TrialRow, Tuned
from gatewright.training.tuning.space import make_space, windows_for
from gatewright.training.tuning.study import (
    ERROR,
    PRUNERS,
    STUDY,
    SearchLimits,
    Stopped,
    check_optuna,
    check_settings,
    open_study,
    quiet_optuna,
    search,
    write_best,
)
from gatewright.training.tuning.trial import Trials, start_settings
from gatewright.training.tuning.worker import started

#: The design that is searched from where the task's own needs no training.
TRAINED = DESIGNS["convolutional"]
#: Seconds between two looks at the other processes.
POLL = 0.2
#: The settings of all trials that say how gradients are computed, and where.
COMPUTING = ("chunk", "recompute", "device", "precision")


def tune(
    data: Any,
    *,
    trials: int = 50,
    out: str | os.PathLike[str],
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    cells: Sequence[str] | None = None,
    search: Sequence[str] | None = None,
    folds: int = 1,
    epochs: int | None = None,
    pruner: str = "median",
    workers: int = 1,
    time_limit: str | float | None = None,
    resume: bool = False,
    seed: int = 0,
    progress: bool = True,
    say: Callable[[str], None] = lambda line: None,
    **reading: Any,
) -> Tuned:
    """Search for the cell, the size, the design and the recipe that do best on validation.

    >>> tuned = tune("weather", trials=30, out="runs/search")        # doctest: +SKIP
    >>> trained = train("weather", config="runs/search/best.json")   # doctest: +SKIP

    Each trial trains a network, or several where `folds` is larger, on the training part without
    its validation part. The test part is not used. The first trial has the task's own settings.
    The search needs Optuna: `pip install 'gatewright[tune]'`. Ctrl-C ends it and keeps the study;
    see docs/tune.md.

    Args:
        data: A file, a dataframe, the name of a bundled data set, or the result of `read`.
        trials: Trials in total, those before a resumption and of other processes included.
        out: New directory for the study (SQLite), best.json, trials.json and report.html.
        config: Settings to search around, as `train` takes them.
        cells: Cells to choose from, by name or as "file.py:MyCell"; by default that of the config.
        search: What is searched, of `space.NAMES`; by default `space.USUAL`.
        folds: Trainings of each trial, with seeds 0, 1, ..., whose losses are averaged.
        epochs: Passes over the data; by default those of the task's recipe.
        pruner: "median" ends a trial that is worse than the median of the others at the same epoch,
            "hyperband" most of them early; "none".
        workers: Processes, each with one thread. The same call with resume=True in another terminal
            joins the search too.
        time_limit: Minutes, or a text such as "2h", after which the search ends.
        resume: Go on with the study in `out`, which has to be of the same data and settings.
        seed: Of the points that are drawn.
        progress: Show a progress bar on the error stream.
        say: Called with each line about how the data were read.
        **reading: As in `train`; chunk, recompute, device and precision too.

    Raises:
        ArgumentError, DataError: before anything is computed.
        TrainingError: if no trial could be completed, or a process died.
        KeyboardInterrupt: at Ctrl-C, if no trial is complete yet.
    """
    began = time.monotonic()
    check_optuna()
    check_counts(trials=trials, folds=folds, workers=workers)
    if pruner not in PRUNERS:
        raise ArgumentError(f"pruner is {pruner!r}; expected {', '.join(PRUNERS)}")
    deadline = None if time_limit is None else began + seconds_of(time_limit)
    directory = _directory(out, resume=resume)
    arguments = with_config(config, {"cell": None, "epochs": epochs, **reading})
    names = _cells(cells or [arguments.pop("cell") or DEFAULT_CELL])
    arguments.pop("cell", None)
    computing = {name: arguments.pop(name) for name in COMPUTING if name in arguments}
    source, plan = _start(data, names[0], arguments, computing, say)
    performer = Trials(source, folds, computing)
    start = start_settings(plan, names[0])
    windows = windows_for(source.task, source.training, plan.recipe.validation)
    space = make_space(plan.task, start, names, windows, search)
    seconds = folds * sum(estimate_time(plan).network_seconds.values())
    say(
        f"time: about {in_words(seconds)} a trial with the task's own settings; searched: "
        f"{', '.join(space.dimensions)}"
    )
    limits = SearchLimits(trials=trials, epochs=plan.recipe.epochs, pruner=pruner, seed=seed)
    settings = {
        "digest": digest_of(data, plan),
        "cells": names,
        "search": list(space.dimensions),
        "folds": folds,
        "pruner": pruner,
        "start": performer.config_of(start),
    }
    request = {
        "name": source.name,
        "task": source.task.to_config(),
        "reading": dict(source.reading),
        "windows": windows,
        "directory": os.fspath(directory),
        "limits": asdict(limits),
        "computing": computing,
        **{name: settings[name] for name in ("cells", "search", "folds", "start")},
    }
    directory.mkdir(parents=True, exist_ok=True)
    remarks: list[str] = []
    with quiet_optuna():
        study = open_study(directory, limits, rank=0)
        check_settings(study, settings, directory)
        requests = [{**request, "rank": rank} for rank in range(1, workers)]
        try:
            with started(requests, source.training) as others:
                _search(study, space, performer, limits, directory, deadline, others, progress)
        except KeyboardInterrupt:
            if not _rows(study, complete=True):
                raise
            remarks.append("Ended by hand." + _how_to_go_on(study, trials, directory))
        except Stopped:
            remarks.append("The time was over." + _how_to_go_on(study, trials, directory))
        write_best(study, directory)
        tuned = Tuned(
            data=source.name,
            directory=directory,
            metric=source.task.metrics[0],
            trials=_rows(study),
            searched=list(space.dimensions),
            remarks=tuple(remarks),
        )
    if not tuned.complete:
        errors = [trial.error for trial in tuned.trials if trial.error]
        hint = errors[0] if errors else "give it more time"
        raise TrainingError(f"no trial was completed: {hint}")
    for name, text in ((PAGE, tuned.page()), (TRIALS, tuned.to_json() + "\n")):
        write_file(directory / name, text.encode(), overwrite=True)
    return tuned


def _directory(out: str | os.PathLike[str], *, resume: bool) -> Path:
    """The directory of a new study, or of one to go on with."""
    path = Path(os.path.realpath(user_path(out)))
    has_study = (path / STUDY).is_file()
    if has_study and not resume:
        raise ArgumentError(
            f"{os.fspath(out)} holds a study; give resume=True to go on with it or to join it, or "
            "name another directory"
        )
    if resume and not has_study:
        raise ArgumentError(f"{os.fspath(out)} holds no study to resume; leave resume out")
    return path if has_study else check_vacant(out)


def _cells(cells: Sequence[str]) -> list[str]:
    """The cells to choose from; best.json has to name them.

    Raises:
        ArgumentError: for a cell that is no name, or one that is named twice.
    """
    for cell in cells:
        if not isinstance(cell, str):
            raise ArgumentError(
                f"cells has {cell!r}; expected names, or file.py:MyCell for a cell of your own: "
                "the best settings are written to a file"
            )
    if isinstance(cells, str) or len(set(cells)) < len(cells):
        raise ArgumentError(f"cells is {cells!r}; expected a list with each name once")
    return list(cells)


def _start(
    data: Any,
    cell: str,
    arguments: dict[str, Any],
    computing: Mapping[str, Any],
    say: Callable[[str], None],
) -> tuple[Source, ExperimentPlan]:
    """The data, and the plan that `train` would make of the settings to search around."""
    own = {
        name: arguments.pop(name, None)
        for name in ("epochs", "design", "hidden_size", "memory", "recipe")
    }
    own["streaming"] = bool(arguments.pop("streaming", False))
    for name in ("seeds", "budget", "distil"):
        arguments.pop(name, None)
    source = open_source(data, **{k: v for k, v in arguments.items() if v is not None})

    def plan(**changes: Any) -> ExperimentPlan:
        options = {**own, **computing, **changes}
        return make_plan(source, [cell], seeds=1, **options, say=lambda line: None, reading={})

    for line in source.notes:
        say(line)
    result = plan()
    trained = [v for v in result.variants if v.recipe.design.trained]
    if not trained:
        result = plan(design=TRAINED)
    elif trained[0] is not result.variants[0]:
        result = plan(design=trained[0].recipe.design)
    return source, replace(result, baselines=())  # a search has none, so none is timed


def _search(
    study: Any,
    space: Any,
    trials: Trials,
    limits: SearchLimits,
    directory: Path,
    deadline: float | None,
    others: Sequence[subprocess.Popen[bytes]],
    progress: bool,
) -> None:
    """Search in this process, then wait for the others."""

    def over() -> bool:
        return deadline is not None and time.monotonic() > deadline

    with search_bar(study, limits.trials, shown=progress) as bar:
        search(
            study,
            space,
            trials,
            limits,
            directory,
            stop=over,
            on_trial=bar.on_trial,
            on_epoch=bar.on_epoch,
        )
        while any(worker.poll() is None for worker in others):
            if over():
                raise Stopped
            time.sleep(POLL)
    codes = [worker.returncode for worker in others if worker.returncode]
    if codes:
        raise TrainingError(
            f"a process of the search ended with code {codes[0]}: its message is above. The study "
            f"is kept: go on with resume=True"
        )


def _rows(study: Any, *, complete: bool = False) -> list[TrialRow]:
    """The trials, without those that were stopped or have not begun."""
    rows = []
    for trial in study.get_trials(deepcopy=False):
        stopped = trial.state.name == "FAIL" and ERROR not in trial.user_attrs
        if trial.state.name != "WAITING" and not stopped:
            rows.append(TrialRow.of(trial))
    return [row for row in rows if row.loss is not None] if complete else rows


def _how_to_go_on(study: Any, trials: int, directory: Path) -> str:
    """A sentence on the trials that are left."""
    left = trials - sum(row.state != "at work" for row in _rows(study))
    return f" {left} of {trials} trials are left: go on with resume=True" if left > 0 else ""
