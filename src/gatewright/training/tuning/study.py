"""The study of a search: Optuna's, in a SQLite file that any number of processes share."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gatewright.errors import ArgumentError, ModelError, TrainingError
from gatewright.files import write_file
from gatewright.schema import typed
from gatewright.training.tuning.space import Space
from gatewright.training.tuning.trial import Trials

STUDY, BEST = "study.sqlite3", "best.json"
#: The study's name in its file, and the keys of what is stored with it and with its trials.
NAME, SETTINGS = "gatewright", "settings"
CONFIG, METRICS, ERROR = "config", "metrics", "error"
ATTRIBUTES: Mapping[str, Any] = {CONFIG: dict[str, Any], METRICS: dict[str, Any], ERROR: str}
#: Seconds between the signs of life of a trial; without one for twice as long it counts as dead.
HEARTBEAT = 60
#: Seconds to wait for another process that writes.
PATIENCE = 120
#: Trials that are never pruned, so that there is something to compare with; and the share of the
#: epochs before which none is, since the learning rate rises first.
UNPRUNED, WARM_UP = 5, 0.1
PRUNERS = ("median", "hyperband", "none")


class Stopped(Exception):
    """The search ends now, by hand or by its time limit; never leaves this package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchLimits:
    """The amount of searching.

    Attributes:
        trials: Trials in total, those of earlier and other processes included.
        epochs: Epochs of a training.
        pruner: Of `PRUNERS`.
        seed: Of the points that are drawn.
    """

    trials: int
    epochs: int
    pruner: str
    seed: int


def check_optuna() -> None:
    """Refuse to search without Optuna.

    Raises:
        ArgumentError: then, with the way to install it.
    """
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise ArgumentError("tuning needs Optuna: pip install 'gatewright[tune]'") from None


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna from printing inside, and from announcing its experiments."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def open_study(directory: Path, limits: SearchLimits, rank: int) -> Any:
    """Open the study in a directory, or begin it.

    Raises:
        ArgumentError: if its file cannot be opened, or is not as a search has left it.
    """
    import optuna
    from sqlalchemy import URL, NullPool

    path = directory / STUDY
    url = URL.create("sqlite", database=os.fspath(path))
    try:
        storage = optuna.storages.RDBStorage(
            url.render_as_string(hide_password=False),
            # Without a pool a connection ends with its use: nothing closes those that are pooled,
            # of which Python 3.13 warns.
            engine_kwargs={"connect_args": {"timeout": PATIENCE}, "poolclass": NullPool},
            heartbeat_interval=HEARTBEAT,
        )
        study = optuna.create_study(
            storage=storage,
            study_name=NAME,
            direction="minimize",
            load_if_exists=True,
            pruner=_pruner(limits),
        )
        trials = study.get_trials(deepcopy=False)
        _check_trials(trials, is_begun=(directory / BEST).exists())
        typed(study.user_attrs.get(SETTINGS, {}), dict[str, Any], SETTINGS)
    # Optuna checks nothing that it reads: a damaged file raises errors of any kind.
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArgumentError(
            f"the study {path} cannot be opened: {reason}; begin another one in a new directory, "
            "or put back a copy of this file"
        ) from error
    # Processes of one study must not draw the same points.
    study.sampler = optuna.samplers.TPESampler(seed=limits.seed + 1000 * rank + len(trials))
    return study


def _check_trials(trials: Sequence[Any], *, is_begun: bool) -> None:
    """Refuse trials that no search has written.

    Args:
        is_begun: Whether a trial was complete once.

    Raises:
        ModelError: naming what is wrong.
    """
    complete = [trial for trial in trials if trial.state.name == "COMPLETE"]
    if is_begun and not complete:
        raise ModelError(f"{BEST} was written, and no trial is complete any more")
    for trial in trials:
        place = f"trial {trial.number}"
        for name, hint in ATTRIBUTES.items():
            if name in trial.user_attrs:
                typed(trial.user_attrs[name], hint, f"{place}: {name}")
        # These may be infinite or nan, which are no numbers of JSON.
        numbers = [*trial.intermediate_values.values(), *trial.user_attrs.get(METRICS, {}).values()]
        if not all(isinstance(number, float | int) for number in numbers):
            raise ModelError(f"{place}: a loss or metric is no number")
    for trial in complete:
        place = f"trial {trial.number}"
        typed(trial.value, float, f"{place}: loss")
        typed(trial.user_attrs.get(CONFIG), ATTRIBUTES[CONFIG], f"{place}: {CONFIG}")


def _pruner(limits: SearchLimits) -> Any:
    from optuna import pruners

    if limits.pruner == "none":
        return pruners.NopPruner()
    if limits.pruner == "hyperband":
        return pruners.HyperbandPruner(min_resource=1, max_resource=limits.epochs)
    return pruners.MedianPruner(
        # A step below this number is not pruned: at least the first one.
        n_startup_trials=UNPRUNED,
        n_warmup_steps=max(round(WARM_UP * limits.epochs), 1) + 1,
    )


def check_settings(study: Any, settings: Mapping[str, Any], directory: Path) -> None:
    """Store the settings of a new study; refuse others than those of an earlier one.

    Raises:
        ArgumentError: naming the first that differs.
    """
    stored = study.user_attrs.get(SETTINGS)
    if stored is None:
        study.set_user_attr(SETTINGS, settings)
        return
    now = json.loads(json.dumps(settings))
    for name in now:
        if stored.get(name) != now[name]:
            if name == "digest":
                raise ArgumentError(
                    f"the study in {directory} was made of other data; give it those, or name "
                    "another directory"
                )
            place, before, after = _first_difference(name, stored.get(name), now[name])
            raise ArgumentError(
                f"the study in {directory} was begun with {place} {before!r}, and now it is "
                f"{after!r}; give the same, or name another directory"
            )


def _first_difference(place: str, before: Any, after: Any) -> tuple[str, Any, Any]:
    """The place and the two values of the first setting that differs, inside of objects too.

    >>> _first_difference("start", {"recipe": {"epochs": 2}}, {"recipe": {"epochs": 3}})
    ('start.recipe.epochs', 2, 3)
    """
    if isinstance(before, dict) and isinstance(after, dict):
        for name in {**before, **after}:
            if before.get(name) != after.get(name):
                return _first_difference(f"{place}.{name}", before.get(name), after.get(name))
    return place, before, after


def search(
    study: Any,
    space: Space,
    trials: Trials,
    limits: SearchLimits,
    directory: Path,
    *,
    stop: Callable[[], bool],
    on_trial: Callable[[], None] = lambda: None,
    on_epoch: Callable[[int, int, float], None] = lambda trial, epoch, loss: None,
) -> None:
    """Perform trials until the study has as many as it should.

    A trial that is stopped is the first of the next process. One whose loss is not finite fails.

    Args:
        stop: Asked before every step of a training, and before every trial.
        on_trial: Called after each trial.
        on_epoch: Called with the trial's number, the epoch and the loss.

    Raises:
        Stopped: once `stop` is true.
        KeyboardInterrupt: at Ctrl-C.
        TrainingError: if the study's file can no longer be written.
    """
    import optuna

    def stop_now() -> bool:
        if stop():
            raise Stopped
        return False

    def objective(trial: Any) -> float:
        config = trials.config_of(space.draw(trial))
        trial.set_user_attr(CONFIG, config)

        def report(epoch: int, loss: float) -> None:
            on_epoch(trial.number, epoch, loss)
            trial.report(loss, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned

        try:
            loss, metrics = trials.perform(config, report, stop_now)
        except TrainingError as error:
            trial.set_user_attr(ERROR, str(error))
            raise
        except (Stopped, KeyboardInterrupt):
            study.enqueue_trial(trial.params, skip_if_exists=False)
            raise
        trial.set_user_attr(METRICS, metrics)
        return loss

    # The task's own settings come first, unless another process has begun with them.
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(space.first(), skip_if_exists=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the processes that train
    try:
        while not stop_now() and count_trials(study) < limits.trials:
            study.optimize(objective, n_trials=1, catch=(TrainingError,))
            write_best(study, directory)
            on_trial()
    except optuna.exceptions.StorageInternalError as error:
        raise TrainingError(f"the study in {directory} cannot be used: {error}") from error
    finally:
        torch.set_num_threads(threads)


def count_trials(study: Any) -> int:
    """Trials that are done or at work, without those that were stopped or whose process died."""
    import optuna
    from optuna.trial import TrialState

    optuna.storages.fail_stale_trials(study)
    return sum(
        trial.state != TrialState.WAITING
        and (trial.state != TrialState.FAIL or ERROR in trial.user_attrs)
        for trial in study.get_trials(deepcopy=False)
    )


def best_trial(study: Any) -> Any | None:
    """The completed trial with the lowest loss."""
    from optuna.trial import TrialState

    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return min(complete, key=lambda trial: trial.value, default=None)


def write_best(study: Any, directory: Path) -> None:
    """Write the config of the best trial so far, which `gatewright train --config` takes."""
    best = best_trial(study)
    if best is not None:
        text = json.dumps(best.user_attrs[CONFIG], indent=2) + "\n"
        write_file(directory / BEST, text.encode(), overwrite=True)
