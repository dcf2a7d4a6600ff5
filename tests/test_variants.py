"""The choice between designs, the budget that pays for it, and the mean of several models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, chain, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pytest
import torch

import gatewright as gw
from gatewright.cli import options
from gatewright.data import Recordings, Text
from gatewright.designs import DESIGNS, Design, SequenceNetwork
from gatewright.errors import ArgumentError
from gatewright.tasks.classify import Classify
from gatewright.tasks.text.task import NextSymbol
from gatewright.training import estimate
from gatewright.training.advice import advise, longer_window, more_data, other_readout
from gatewright.training.ensemble import Ensemble
from gatewright.training.estimate import within_budget
from gatewright.training.history import History
from gatewright.training.job import TrainingJob, build_model
from gatewright.training.networks import NETWORKS
from gatewright.training.plan import ExperimentPlan, make_plan
from gatewright.training.recipe import RECIPES, Recipe
from gatewright.training.train import train
from gatewright.training.variants import BUDGETS, simplest_of_the_best
from in_process import training_here, without_baselines


def bumps(count: int = 24) -> Recordings:
    """Recordings of two classes: a bump upwards or downwards, anywhere."""
    draw = np.random.Generator(np.random.PCG64(0))
    sequences, labels = [], np.arange(count) % 2
    for label in labels:
        values = draw.normal(scale=0.1, size=(20, 1)).astype(np.float32)
        start = int(draw.integers(0, 15))
        values[start : start + 4] += 1.0 if label else -1.0
        sequences.append(values)
    return Recordings(tuple(sequences), labels, ("down", "up"), name="bumps")


def plan_of(**options):
    return make_plan(bumps(), ["gru"], say=lambda line: None, reading={}, **options)


def test_the_simplest_of_equals_is_chosen() -> None:
    # The second is better by more than the spread of its differences, the third only by less.
    assert simplest_of_the_best([[1.0, 1.2], [0.5, 0.7], [0.4, 0.79]]) == 1
    assert simplest_of_the_best([[1.0], [0.9], [0.95]]) == 1


def test_a_budget_says_how_much_is_tried() -> None:
    quick, normal = plan_of(budget="quick"), plan_of()
    assert len(quick.variants) == len(normal.variants) == 1
    assert quick.recipe.design == DESIGNS["untrained"]
    assert (quick.seeds, normal.seeds) == (BUDGETS["quick"].seeds, BUDGETS["normal"].seeds)
    with pytest.raises(ArgumentError, match="budget is 'norml'; did you mean normal"):
        plan_of(budget="norml")
    with pytest.raises(ArgumentError, match="The size of the networks is set with parameters="):
        plan_of(budget=15_000)


def test_what_does_not_fit_the_minutes_is_left_out() -> None:
    plan = plan_of(hidden_size=4, budget="thorough")
    short = replace(plan, effort=replace(plan.effort, minutes=1e-6))
    smaller, time = within_budget(short)
    assert smaller.seeds == time.seeds == 1 and smaller.effort.folds == 1
    assert smaller.recipe.epochs == plan.recipe.epochs, "one whole training is left"
    assert smaller.effort.pilot < plan.effort.pilot
    assert within_budget(short, fixed_seeds=True)[0].seeds == plan.seeds


def test_the_step_that_compiles_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(hidden_size=4, design="plain", epochs=10)
    (variant,) = plan.variants
    recipe = replace(variant.recipe, batch_size=64)  # a single batch
    plan = replace(plan, variants=[replace(variant, recipe=recipe)])
    ends = accumulate([60.0, 0.5, 0.5, 0.5])
    moments = chain.from_iterable((begin, end) for begin, end in pairwise(chain([0.0], ends)))
    clock = SimpleNamespace(perf_counter=lambda: next(moments))
    monkeypatch.setattr(estimate, "time", clock)
    (seconds,) = estimate.estimate_time(plan).network_seconds.values()
    assert seconds == pytest.approx(estimate.OVERHEAD * 0.5 * plan.recipe.epochs)


@pytest.mark.parametrize("design", [*DESIGNS, "segments"])
def test_a_design_that_is_asked_for_is_trained_saved_and_used(design: str, tmp_path: Path) -> None:
    data = bumps()
    asked = Design(segment=3, readout=("attention",)) if design == "segments" else design
    with training_here(), without_baselines():
        trained = train(
            data,
            out=tmp_path / "out",
            design=asked,
            seeds=1,
            epochs=2,
            hidden_size=4,
            progress=False,
        )
    model = gw.load(tmp_path / "out")
    body = model.body
    built = body.design if isinstance(body, SequenceNetwork) else Design()
    assert built == (asked if isinstance(asked, Design) else DESIGNS[design])
    expected = trained.model.predict(data)
    np.testing.assert_array_equal(model.predict(data), expected)
    assert built.words() in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert 'id="passage"' in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_design_that_cannot_do_a_task_is_refused() -> None:
    text = Text((np.arange(300) % 5).astype(np.uint8), tuple("abcde"))
    for asked in (Design(bidirectional=True), Design(differences=True), Design(segment=2)):
        with pytest.raises(ArgumentError, match="design does not fit the task next symbol"):
            make_plan(text, ["gru"], design=asked, say=lambda line: None, reading={})
    with pytest.raises(ArgumentError, match="no design is called 'both-way'; did you mean"):
        # Before the data are read, which takes seconds for a forecast.
        make_plan("nowhere.csv", ["gru"], design="both-way", say=pytest.fail, reading={})


def test_the_options_of_the_command_line_make_a_design() -> None:
    assert options.design({}) is None
    made_of = options.design(
        {
            "design": "both-ways",
            "layers": 2,
            "bidirectional": False,
            "readout": "last,attention",
            "front": "convolution",
            "segment": 3,
        }
    )
    assert made_of == replace(
        DESIGNS["both-ways"],
        layers=2,
        bidirectional=False,
        readout=("last", "attention"),
        front="convolution",
        segment=3,
    )


def test_a_job_with_a_design_goes_through_json() -> None:
    task = Classify.of(bumps())
    recipe = replace(RECIPES["classify"], design=DESIGNS["convolutional"], smoothing=0.1)
    job = TrainingJob(task, "gru", 4, 0, recipe)
    assert TrainingJob.from_json(job.to_json()) == job


def history_of(loss: float, **metrics: float) -> History:
    return History(validation_loss=[loss], validation=[metrics], best_epoch=0)


def test_half_of_the_data_is_tried_to_see_what_more_would_bring() -> None:
    plan = replace(plan_of(hidden_size=4), short_losses=(0.5, 0.6))
    jobs = more_data(plan, 2).jobs
    assert [job.seed for job in jobs] == [0, 1] and all(job.halved for job in jobs)
    for job in jobs:
        half, validation = job.parts(plan.training)
        whole, same = replace(job, halved=False).parts(plan.training)
        assert len(half) == len(whole) // 2 and validation.ids == same.ids
        assert sorted(half.counts) == sorted(whole.counts // 2)

    def after(losses: list[float], plan: ExperimentPlan = plan) -> tuple[str, ...]:
        return advise(plan, lambda jobs: [history_of(loss) for loss in losses], 1.0)

    assert after([0.8, 0.9])[0].startswith("More data would help: with half")
    assert "would change little" in after([0.5, 0.6])[0]
    assert after([0.8]) == (), "it was ended by hand"
    slow = replace(plan, short_losses=())
    assert advise(slow, lambda jobs: [history_of(0.1)] * len(jobs), 1e6) == ()


def test_another_readout_is_tried_where_a_short_training_tells() -> None:
    plan = plan_of(hidden_size=4, design="both-ways")
    tried: list[TrainingJob] = []

    def perform_all(jobs: Sequence[TrainingJob]) -> list[History]:
        tried.extend(jobs)
        wider = [len(job.recipe.design.readout) > 2 for job in jobs]
        return [history_of(0.3 if own else 0.5) for own in wider]

    more, readout = advise(plan, perform_all, 1.0)
    assert more.startswith("More data of the same kind would change little")
    assert readout == (
        "Another read-out would help: with mean, max and attention (--readout mean,max,attention) "
        "the validation loss of a short training is 0.300 instead of 0.500."
    )
    assert len(tried) == 3 * plan.effort.folds
    assert not list(other_readout(plan_of(hidden_size=4, design="untrained"), 2))
    short = plan_of(hidden_size=4, design="both-ways", epochs=4)
    assert advise(short, perform_all, 1.0) == (), "too few steps to tell"


def test_a_longer_window_is_judged_on_the_same_origins() -> None:
    steps = np.arange(300)
    table = pandas.DataFrame({"t": steps, "y": np.sin(steps / 3.0)})
    plan = make_plan(
        table,
        ["gru"],
        say=lambda line: None,
        reading={"time": "t", "target": "y", "horizon": 4, "window": 12},
    )
    (question,) = longer_window(plan, 2)
    task: Any = question.jobs[0].task
    assert task.window == 24 and task.per_window == plan.variants[0].task.per_window
    plain = plan.jobs()[0]
    origins = [
        len(job.task.batches(job.parts(plan.training)[1])) for job in (plain, question.jobs[0])
    ]
    assert origins[0] == origins[1]
    sentence = question.sentence([1.0, 1.1], [0.7, 0.8])
    assert sentence.startswith("A longer window would help: with 24 steps instead of 12")
    assert question.measure(history_of(0.0, mase=0.7)) == 0.7
    whole = replace(plan, variants=[replace(plan.variants[0], task=task)])
    twice: Any = next(longer_window(whole, 2)).jobs[0].task
    four = replace(plan, variants=[replace(plan.variants[0], task=replace(twice, window=150))])
    assert not list(longer_window(four, 2)), "the series has no room for it"


def members(count: int = 3) -> tuple[Classify, list]:
    task = Classify.of(bumps())
    models = []
    for seed in range(count):
        torch.manual_seed(seed)
        models.append(build_model(task, "gru", NETWORKS["gru"], 4, Recipe()).eval())
    return task, models


def test_an_ensemble_averages_probabilities_and_comes_back(tmp_path: Path) -> None:
    _, models = members()
    ensemble, data = Ensemble(models).eval(), bumps()
    expected = np.mean([model.predict(data) for model in models], axis=0)
    np.testing.assert_allclose(ensemble.predict(data), expected, rtol=1e-5)
    gw.save(ensemble, tmp_path / "out")
    np.testing.assert_array_equal(gw.load(tmp_path / "out").predict(data), ensemble.predict(data))
    assert ensemble.body is models[0].body and ensemble.hidden_size == 4


def test_an_ensemble_of_texts_carries_the_state_of_each_member() -> None:
    task = NextSymbol.of(Text((np.arange(300) % 5).astype(np.uint8), tuple("abcde")))
    models = []
    for seed in range(2):
        torch.manual_seed(seed)
        models.append(build_model(task, "gru", NETWORKS["gru"], 6, Recipe()).eval())
    ensemble = Ensemble(models).eval()
    bits = np.stack([model.predict("abcdeabcde") for model in models])
    np.testing.assert_allclose(
        ensemble.predict("abcdeabcde"), -np.log2(np.mean(2.0**-bits, 0)), rtol=1e-5
    )
    assert len(ensemble.sample("ab", symbols=5)) == 5
