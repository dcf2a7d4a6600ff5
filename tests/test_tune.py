"""`gatewright tune`: trials on validation, a study that is shared, and a file to train with."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import gatewright as gw
from gatewright.cli import app
from gatewright.data import Recordings
from gatewright.designs.design import Design
from gatewright.schema import stored_hints
from gatewright.training.recipe import Recipe
from gatewright.training.source import open_source
from gatewright.training.tuning import space as space_module
from gatewright.training.tuning import tune as tune_module
from gatewright.training.tuning.space import NAMES, RANGES, Range
from gatewright.training.tuning.study import SearchLimits, Stopped, open_study, quiet_optuna
from gatewright.training.tuning.trial import Trials
from in_process import training_here

SEARCH = ["hidden_size", "learning_rate", "layers", "layer_dropout"]
Perform = Callable[..., tuple[float, dict[str, float]]]


def recordings(count: int = 24, shift: float = 1.0) -> Recordings:
    """Two classes of short recordings, which differ by their mean."""
    draw = np.random.default_rng(0)
    labels = np.arange(count) % 2
    sequences = [draw.normal(shift * label, 1.0, (6, 2)) for label in labels]
    return Recordings(tuple(sequences), labels, ("low", "high"), name="drawn")


def tuned(out: Path, trials: int = 4, **options: Any) -> Any:
    settings = {"epochs": 2, "search": SEARCH, "progress": False, **options}
    return gw.tune(settings.pop("data", None) or recordings(), trials=trials, out=out, **settings)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Trials that train nothing: each plays the next act, a list of losses or an exception."""
    acts: list[Any] = []

    def perform(
        self: Trials, config: Any, on_epoch: Any, stop: Any
    ) -> tuple[float, dict[str, float]]:
        act = acts.pop(0) if acts else [0.5, 0.5]
        if isinstance(act, BaseException):
            raise act
        for epoch, loss in enumerate(act, 1):
            stop()
            on_epoch(epoch, loss)
        return min(act), {"accuracy": 0.5}

    monkeypatch.setattr(Trials, "perform", perform)
    yield acts


def test_train_trains_exactly_the_best_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    opened = open_source

    def without_test(*arguments: Any, **options: Any) -> Any:
        return replace(opened(*arguments, **options), test=None)  # the search must not need it

    monkeypatch.setattr(tune_module, "open_source", without_test)
    result = tuned(tmp_path / "search", 3)
    assert [trial.number for trial in result.trials] == [0, 1, 2]
    file = tmp_path / "search" / "best.json"
    assert json.loads(file.read_text()) == result.config
    best = result.best
    assert best.loss == min(trial.loss for trial in result.trials)
    assert result.config["hidden_size"] == best.point["hidden_size"]
    assert result.config["recipe"]["learning_rate"] == best.point["learning_rate"]
    with training_here():
        trained = gw.train(recordings(), config=file, seeds=1, progress=False)
    (network,) = trained.networks
    assert network.trials[0].loss == best.loss
    assert trained.recipe.learning_rate == best.point["learning_rate"]
    assert "Validation loss by epoch" in (tmp_path / "search" / "report.html").read_text()


@pytest.mark.slow(instead="test_a_study_is_of_the_same_data_and_settings")
@pytest.mark.usefixtures("forked_python")
def test_two_processes_go_on_with_a_study(tmp_path: Path):
    first = tuned(tmp_path / "search", 1)
    result = tuned(tmp_path / "search", 4, resume=True, workers=2)
    assert len(result.trials) >= 4
    assert result.trials[0] == first.trials[0]
    assert all(trial.loss is not None for trial in result.trials if trial.state == "complete")
    points = [tuple(trial.point.values()) for trial in result.trials]
    assert len(set(points)) == len(points)


def test_a_study_is_of_the_same_data_and_settings(tmp_path: Path, played: list[Any]):
    out = tmp_path / "search"
    with pytest.raises(gw.ArgumentError, match="holds no study to resume"):
        tuned(out, resume=True)
    tuned(out)
    with pytest.raises(gw.ArgumentError, match=r"holds a study; give resume=True"):
        tuned(out)
    with pytest.raises(gw.ArgumentError, match="was made of other data"):
        tuned(out, resume=True, data=recordings(shift=2.0))
    with pytest.raises(gw.ArgumentError, match="begun with folds 1, and now it is 2"):
        tuned(out, resume=True, folds=2)
    with pytest.raises(gw.ArgumentError, match=r"begun with start\.recipe\.epochs 2, and"):
        tuned(out, resume=True, epochs=3)
    assert len(tuned(out, 6, resume=True).trials) == 6


def test_the_first_trial_has_the_settings_of_the_task(tmp_path: Path, played: list[Any]):
    first = tuned(tmp_path / "search", 1).trials[0]
    with training_here():
        design = Design(**{**first.config["design"], "readout": ("mean", "max")})
        trained = gw.train(recordings(), design=design, seeds=1, epochs=2, progress=False)
    assert {**trained.recipe.to_config(), **first.config["recipe"]} == trained.recipe.to_config()
    assert first.config["hidden_size"] == trained.networks[0].hidden_size


def test_ctrl_c_keeps_the_study_and_the_point(tmp_path: Path, played: list[Any]):
    played += [[0.5, 0.4], KeyboardInterrupt()]
    result = tuned(tmp_path / "search")
    assert len(result.trials) == 1
    assert result.remarks == ("Ended by hand. 3 of 4 trials are left: go on with resume=True",)
    played += [[0.3, 0.2]]
    again = tuned(tmp_path / "search", resume=True)
    assert len(again.trials) == 4 and again.remarks == ()
    played += [KeyboardInterrupt()]
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "other")


def test_the_time_limit_keeps_the_study(tmp_path: Path, played: list[Any]):
    played += [[0.5, 0.4], Stopped()]
    result = tuned(tmp_path / "search")
    assert result.remarks[0].startswith("The time was over. 3 of 4 trials are left")
    with pytest.raises(gw.errors.TrainingError, match="no trial was completed: give it more time"):
        tuned(tmp_path / "other", time_limit=1e-9)
    assert len(tuned(tmp_path / "other", 2, resume=True).trials) == 2


def test_bad_trials_are_pruned(tmp_path: Path, played: list[Any]):
    played += [[0.5, 0.4, 0.3]] * 5 + [[0.9, 0.8, 0.1], [0.3, 0.2, 0.1]]
    result = tuned(tmp_path / "search", 7, epochs=3)
    assert [trial.state for trial in result.trials[5:]] == ["pruned", "complete"]
    assert result.trials[5].losses == [0.9, 0.8]


@pytest.mark.slow(instead="test_bad_trials_are_pruned")
def test_trials_of_two_epochs_and_without_a_pruner_are_not_pruned(
    tmp_path: Path, played: list[Any]
):
    played += [[0.5, 0.4]] * 5 + [[0.9, 0.1], [0.3, 0.2]]
    result = tuned(tmp_path / "search", 7)
    assert [trial.state for trial in result.trials[5:]] == ["complete", "complete"]
    played += [[0.5, 0.4, 0.3]] * 5 + [[0.9, 0.8, 0.1]]
    result = tuned(tmp_path / "none", 6, epochs=3, pruner="none")
    assert result.best.number == 5


def test_a_trial_that_fails_counts_and_is_reported(tmp_path: Path, played: list[Any]):
    played += [gw.errors.TrainingError("the loss is nan"), [0.5, 0.4]]
    result = tuned(tmp_path / "search", 2)
    assert [trial.state for trial in result.trials] == ["failed", "complete"]
    assert result.trials[0].error == "the loss is nan"
    played += [gw.errors.TrainingError("the loss is nan")]
    with pytest.raises(gw.errors.TrainingError, match="no trial was completed: the loss is nan"):
        tuned(tmp_path / "other", 1)


def test_a_damaged_study_is_refused(tmp_path: Path):
    (tmp_path / "study.sqlite3").write_bytes(b"no database" * 100)
    with pytest.raises(gw.ArgumentError, match=r"study\.sqlite3 cannot be opened"):
        tuned(tmp_path, resume=True)


def test_a_study_with_forged_or_lost_trials_is_refused(tmp_path: Path, played: list[Any]):
    played += [[0.5, 0.4]] * 3
    tuned(tmp_path / "search", 2)
    path, best = tmp_path / "search" / "study.sqlite3", tmp_path / "search" / "best.json"
    whole, best_before = path.read_bytes(), best.read_text()
    limits = SearchLimits(trials=3, epochs=2, pruner="median", seed=0)
    for statement, fact in {
        "delete from trials": "best.json was written, and no trial is complete",
        "delete from trial_values": "trial 0: loss is None",
        "update trial_user_attributes set value_json = '[]'": "config is a list",
        "update trial_intermediate_values set intermediate_value = 'x'": "a loss or metric",
        "update trial_params set distribution_json = '{}'": "type",
        "update trials set state = 'OLD'": "'OLD' is not among",
        "update study_user_attributes set value_json = '[]'": "settings is a list",
    }.items():
        path.write_bytes(whole)
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute(statement)
            database.commit()
        message = f"cannot be opened: .*{fact}"
        with quiet_optuna(), pytest.raises(gw.ArgumentError, match=message) as refused:
            open_study(path.parent, limits, rank=0)
        assert "\n" not in str(refused.value)
    path.write_bytes(b"")
    with pytest.raises(gw.ArgumentError, match="no trial is complete"):
        tuned(tmp_path / "search", 3, resume=True)
    assert best.read_text() == best_before
    path.write_bytes(whole)
    assert len(tuned(tmp_path / "search", 3, resume=True).trials) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"search": ["learning_rat"]}, r"'learning_rat'; did you mean learning_rate\?"),
        ({"search": ["window"]}, "'window', which has no two values for the task classify"),
        ({"pruner": "all"}, "pruner is 'all'; expected median, hyperband, none"),
        ({"workers": 0}, "workers is 0"),
        ({"cells": ["gru", "gru"]}, "each name once"),
        ({"cells": [gw.CELLS["gru"]]}, "expected names, or file.py:MyCell"),
        ({"cells": ["gruu"]}, "did you mean gru"),
        ({"time_limit": "soon"}, "the time limit is 'soon'"),
        ({"config": {"recipe": {"learning": 1}}}, "did you mean learning_rate"),
    ],
)
def test_arguments_are_refused_before_anything_is_written(
    tmp_path: Path, options: dict[str, Any], message: str
):
    with pytest.raises(gw.ArgumentError, match=message):
        tuned(tmp_path / "search", **options)
    assert not (tmp_path / "search").exists()


def test_optuna_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(gw.ArgumentError, match=r"pip install 'gatewright\[tune\]'"):
        tuned(tmp_path / "search")


def test_ranges_are_of_fields_and_hold_the_recipes():
    fields = {**stored_hints(Recipe), "hidden_size": int, "layers": int, "layer_dropout": float}
    for name, own in RANGES.items():
        assert name in fields and name in NAMES
        assert isinstance(own, Range) and 0 <= own.low < own.high
        assert not (own.log and own.low == 0)


def test_a_space_holds_its_start():
    start = space_module.Settings("gru", 400, Recipe(learning_rate=0.1), None)
    task = open_source(recordings()).task
    space = space_module.make_space(task, start, ["gru", "lstm"], [], None)
    assert space.first()["hidden_size"] == 400 and space.first()["cell"] == "gru"
    assert space.dimensions["hidden_size"] == Range(16, 400, log=True)
    assert space.dimensions["learning_rate"].high == 0.1
    assert "layer_dropout" not in space.first()  # of a single layer


def test_the_command(tmp_path: Path, played: list[Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tune_module, "open_source", lambda data, **_: open_source(recordings()))
    command = ["tune", "vowels", "--trials", "2", "--epochs", "2", "--no-progress"]
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "a")])
    assert result.exit_code == 0, result.output
    assert "Trial 0 is the best" in result.output
    assert f"gatewright train vowels --config {tmp_path}/a/best.json" in result.output
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "b"), "--json"])
    values = json.loads(result.stdout)
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "c")])
    assert "not for torchrun" in str(result.exception)
    assert len(values["trials"]) == 2 and values["config"]["cell"] == "gru"
