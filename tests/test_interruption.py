"""Experiments that are stopped, or have a time limit, keep what is finished."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import gatewright as gw
from gatewright.data import load_vowels
from gatewright.errors import ArgumentError
from gatewright.tasks.classify import Classify
from gatewright.tasks.forecast.baselines import lags
from gatewright.training import baseline_fits, experiment
from gatewright.training import estimate as estimate_module
from gatewright.training.estimate import TimeEstimate, fit_into, in_words
from gatewright.training.experiment import choose_variant, run_experiment
from gatewright.training.history import BY_HAND, TIME_OVER, History
from gatewright.training.job import TrainingJob, perform
from gatewright.training.plan import ExperimentPlan, make_plan
from gatewright.training.processes.pool import Outcome
from gatewright.training.recipe import VOWELS
from gatewright.training.session import Session
from gatewright.training.train import compare, train
from in_process import perform_here, training_here, without_baselines

DAYS = pd.DataFrame(
    {
        "day": pd.date_range("2024-01-01", periods=120),
        "sold": [day % 7.0 + day % 3 for day in range(120)],
    }
)
SMALL: dict[str, Any] = {"epochs": 1, "hidden_size": 4, "progress": False}


@pytest.fixture
def no_baselines() -> Iterator[None]:
    with without_baselines():
        yield


def test_the_model_is_saved_before_the_report_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_baselines: None
) -> None:
    def fails(*arguments: Any) -> str:
        raise RuntimeError("the drawing")

    monkeypatch.setattr(experiment, "report", fails)
    with training_here(), pytest.raises(RuntimeError, match="the drawing"):
        train(DAYS, cell="rnn", out=tmp_path / "model", **SMALL)
    assert gw.load(tmp_path / "model").task.targets == ("sold",)


def test_the_model_is_saved_before_the_baselines_and_ctrl_c_there_keeps_what_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, original, seen = tmp_path / "model", baseline_fits.fit_baseline, []

    def fit_baseline(plan: ExperimentPlan, baseline: Any, before_fit: Callable[[str], None]) -> Any:
        seen.append((out / "README.md").read_text())
        gw.load(out)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return original(plan, baseline, before_fit)

    monkeypatch.setattr(baseline_fits, "fit_baseline", fit_baseline)
    with training_here():
        trained = train(DAYS, cell="rnn", out=out, **SMALL)
    assert "the baselines were still to be computed" in seen[0]
    titles = [entry.title for entry in trained.entries]
    assert titles == ["RNN", "persistence"]
    assert trained.remarks[0].startswith("Ended by hand before these baselines: seasonal naive,")
    card = (out / "README.md").read_text()
    assert trained.remarks[0] in card and "still to be computed" not in card
    assert len(json.loads((out / "results.json").read_text())["baselines"]) == 1
    assert sorted(path.name for path in out.iterdir())[:3] == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    assert 'id="passage"' in (out / "report.html").read_text()


def cut_after(count: int) -> Callable[..., list[Outcome]]:
    """Ctrl-C after `count` trainings: the next one is cut short, the others never begin."""

    def perform_all(jobs: list[TrainingJob], data: Any, **options: Any) -> list[Outcome]:
        outcomes = perform_here(jobs[: count + 1], data, **options)
        outcomes[-1].history.stopped = BY_HAND
        return outcomes

    return perform_all


def test_ctrl_c_compares_the_trainings_that_are_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_baselines: None
) -> None:
    monkeypatch.setattr(experiment, "perform_all", cut_after(3))
    comparison = compare("vowels", out=tmp_path / "out", cells=["rnn", "gru"], seeds=3, **SMALL)
    assert [len(entry.trials) for entry in comparison.networks] == [2, 1]
    assert comparison.remarks == ("Ended by hand: 3 of 6 trainings were finished.",)
    assert "1 to 2 seeds" in comparison.caption()
    assert gw.load(tmp_path / "out").network == comparison.best.name
    monkeypatch.setattr(experiment, "perform_all", cut_after(0))
    comparison = compare("vowels", cells=["rnn", "gru"], seeds=3, **SMALL)
    assert comparison.remarks == (experiment.CUT_SHORT,)


# Time.
def test_a_training_ends_when_its_time_is_over_and_keeps_its_best_weights() -> None:
    recipe = replace(VOWELS, epochs=10_000, seconds=0.5, keep_from=0.9)
    task = Classify.of(load_vowels().train)
    model, history = perform(TrainingJob(task, "rnn", 4, 0, recipe), load_vowels().train)
    assert history.stopped == TIME_OVER and 0 < len(history.train_loss) < 10_000
    assert history.best_epoch == len(history.train_loss) - 1
    assert model.predict(load_vowels().test).shape == (370, 9)


def plan_of(
    seconds: dict[str, float], baselines: dict[str, float], monkeypatch: Any
) -> ExperimentPlan:
    """A plan of 5 seeds and 100 epochs, with these seconds as its estimate."""
    estimate = TimeEstimate(seconds, 0.0, baselines, seeds=5)
    monkeypatch.setattr(estimate_module, "estimate_time", lambda plan: estimate)
    monkeypatch.setattr(estimate_module, "usable_cores", lambda: 2)
    return make_plan(
        "vowels", list(seconds), seeds=5, epochs=100, say=lambda line: None, reading={}
    )


@pytest.mark.parametrize(
    ("minutes", "seeds", "epochs", "left_out"),
    [
        (100.0, 5, 100, False),  # all of it
        (8.0, 5, 100, True),  # all but the baseline that takes half an hour
        (2.0, 2, 100, True),  # (0.7 × 120 - 4) × 2 = 160 core seconds: two seeds of 70 each
        (0.4, 1, 36, True),  # (0.7 × 24 - 4) × 2 = 25.6 of 70
    ],
)
def test_a_time_limit_takes_seeds_then_epochs_and_slow_baselines(
    minutes: float, seeds: int, epochs: int, left_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of({"rnn": 20.0, "gru": 50.0}, {"1-NN, DTW": 1800.0}, monkeypatch)
    smaller, expected = fit_into(plan, minutes, time.monotonic())
    assert (smaller.seeds, smaller.recipe.epochs) == (seeds, epochs)
    assert any("Left out for want of time" in remark for remark in smaller.remarks) is left_out
    titles = [baseline.title for baseline in smaller.baselines]
    assert ("1-NN, DTW" in titles) is not left_out and "majority class" in titles
    assert expected.training_seconds <= 0.7 * 60 * minutes + 1e-9
    assert smaller.limits == pytest.approx({"rnn": 0.24 * epochs, "gru": 0.6 * epochs})
    assert smaller.jobs()[0].recipe.seconds == pytest.approx(0.24 * epochs)


@pytest.mark.parametrize("minutes", [0.0, -1.0, float("nan"), float("inf"), 0.05])
def test_a_time_limit_that_cannot_be_met_is_refused(
    minutes: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of({"rnn": 20.0}, {}, monkeypatch)
    with pytest.raises(ArgumentError, match=f"minutes is {minutes:g}"):
        fit_into(plan, minutes, time.monotonic())


def test_baselines_end_with_the_time() -> None:
    plan = make_plan(DAYS, ["rnn"], seeds=1, epochs=1, say=lambda line: None, reading={})
    with training_here():
        late = replace(plan, deadline=time.monotonic() - 1.0)
        comparison = run_experiment(late, Session(progress=False))
    titles = [entry.title for entry in comparison.entries]
    assert titles[:2] == ["RNN", "persistence"] and "ridge on lags" not in titles
    assert comparison.remarks[0].startswith("The time was over before these baselines: ")
    assert "ridge on lags" in comparison.remarks[0]


def test_the_time_is_printed_before_it_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []

    class TimeIsPrinted(Exception):
        """Ends the comparison before its first training."""

    def say(line: str) -> None:
        lines.append(line)
        if line.startswith("time: "):
            raise TimeIsPrinted

    monkeypatch.setattr(experiment, "perform_all", lambda *_, **__: pytest.fail("it started"))
    with pytest.raises(TimeIsPrinted):
        compare(DAYS, cells=["window", "rnn"], seeds=2, say=say, **SMALL)
    line = lines[-1]
    assert re.match(r"time: about \d+ (seconds|minutes): 4 trainings on \d+ cores? \(", line)
    assert "boosting on lags (" in line and "minutes=" in line
    assert [in_words(s) for s in (0.2, 61.0, 100.0, 8000.0)] == [
        "5 seconds",
        "65 seconds",
        "2 minutes",
        "2.2 hours",
    ]


def test_train_prints_the_time_of_what_it_does_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """It fits no slow baseline, so it does not time one either."""
    monkeypatch.setattr(lags, "_boosting_seconds", lambda *args: pytest.fail("boosting was timed"))
    lines: list[str] = []
    with training_here():
        trained = train(DAYS, cell="rnn", seeds=1, say=lines.append, **SMALL)
    (line,) = [line for line in lines if line.startswith("time: ")]
    assert "boosting" not in line
    assert "boosting" not in [entry.name for entry in trained.entries]


# The choice of a variant.
def test_variants_are_compared_by_short_trainings_of_the_last_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = make_plan(DAYS, ["window", "rnn"], seeds=3, say=lambda line: None, reading={})
    first, second = (replace(plan.task, per_window=scaled) for scaled in (False, True))
    third = replace(second, season=5)
    losses = {id(first): 0.9, id(second): 0.3, id(third): 0.5}
    variants = [replace(plan.variants[0], task=task) for task in (first, second, third)]
    plan = replace(plan, variants=variants)
    seen: list[TrainingJob] = []

    def perform_all(jobs: list[TrainingJob], data: Any, **options: Any) -> list[Outcome]:
        seen.extend(jobs)
        return [
            Outcome(job, History(validation_loss=[7.0, losses[id(job.task)]], best_epoch=1), {})
            for job in jobs
        ]

    monkeypatch.setattr(experiment, "perform_all", perform_all)
    chosen, _ = choose_variant(plan, Session(progress=False))
    assert chosen.task is second and chosen.networks == plan.networks and chosen.seeds == 3
    assert "validation loss 0.300. The others: 0.900 with" in chosen.notes[-1]
    # The last network, on two parts of the data, by the shorter recipe.
    assert [job.network for job in seen] == ["rnn"] * 6
    assert [job.seed for job in seen] == [0, 1] * 3
    assert {job.recipe.epochs for job in seen} == {plan.recipe.epochs // 4}


# The report.
def test_the_report_looks_into_the_network_that_was_kept(
    tmp_path: Path, no_baselines: None
) -> None:
    with training_here():
        comparison = compare(
            DAYS, out=tmp_path / "out", cells=["lstm", "gru", "window"], seeds=1, **SMALL
        )
    first = next(entry for entry in comparison.ranked if entry.name != "window")
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"One sequence on its way through the {first.title}" in page
    # The rows of the event and the time axes have names.
    assert re.search(r'<ol class="rows"><li title="sold">sold</li>', page)
    window = comparison.task.window
    start = 96 - window
    assert f'<div class="axis"><span>{DAYS.day[start].date()}</span><span>2024-04-05</span>' in page


def test_memory_is_for_the_networks_that_have_one(no_baselines: None) -> None:
    with training_here():
        comparison = compare("vowels", cells=["window", "lstm"], seeds=1, memory=30, **SMALL)
    assert comparison.recipe.memory == 30
    with pytest.raises(ArgumentError, match="memory is 30, and the network window has none"):
        compare("vowels", cells=["window"], memory=30)
