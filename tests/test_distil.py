"""Distilling: one network that answers like the mean of several."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatewright as gw
from gatewright.data import Recordings, Series
from gatewright.designs.design import DESIGNS
from gatewright.errors import ArgumentError
from gatewright.tasks.classify import Classify
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.task import Batch, run_all
from gatewright.training.ensemble import Ensemble
from gatewright.training.model import Model
from gatewright.training.networks import NETWORKS
from gatewright.training.recipe import Recipe
from in_process import training_here


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learn in 200 steps, where few data get 1,000, which took 4 s."""
    fitted = Recipe.fitted

    def fitted_to_few(recipe: Recipe, batches: Any) -> Recipe:
        return fitted(replace(recipe, least_steps=min(recipe.least_steps, 200)), batches)

    monkeypatch.setattr(Recipe, "fitted", fitted_to_few)


def rising(count: int = 60) -> Recordings:
    """Sequences whose class is the direction that they drift in."""
    generator = np.random.default_rng(0)
    labels = np.arange(count) % 2
    sequences = tuple(
        generator.normal(size=(9, 2)) + (2 * label - 1) * np.linspace(0.0, 1.5, 9)[:, None]
        for label in labels
    )
    return Recordings(sequences, labels, ("down", "up"), name="drifts")


def teacher_of(data: Recordings, seeds: int = 2) -> Ensemble:
    """The mean of networks of another cell and other sizes, before any training."""
    task = Classify.of(data)
    members = []
    for seed in range(seeds):
        torch.manual_seed(seed)
        body = NETWORKS["rnn"].build(task, 6 + seed, DESIGNS["both-ways"])
        members.append(Model(task, "rnn", body).eval())
        members[-1].fit_scaling(data)
    return Ensemble(members).eval()


def test_a_student_comes_closer_to_its_teacher_than_without_one() -> None:
    """The teacher knows nothing of the labels, so only teaching can make a network like it."""
    data = rising()
    teacher = teacher_of(data)
    settings: dict[str, Any] = {"hidden_size": 8, "epochs": 12, "design": "plain"}
    student = gw.distil(teacher, data, **settings)
    assert isinstance(student, Model) and not isinstance(student, Ensemble)
    assert student.network == "gru" and student.hidden_size == 8
    with training_here():
        alone = gw.train(data, cell="gru", seeds=1, progress=False, **settings).model
    expected = teacher.predict(data)
    distance = [np.abs(own.predict(data) - expected).mean() for own in (student, alone)]
    assert distance[0] < 0.8 * distance[1]


def test_the_loss_of_a_taught_network_is_least_at_its_teacher() -> None:
    data = rising(8)
    teacher = teacher_of(data)
    ((outputs, batch), *_) = run_all(teacher, teacher.task.batches(data))
    loss = teacher.task.taught_loss(outputs, outputs, batch, teacher)
    entropy = -(outputs.softmax(-1) * outputs.log_softmax(-1)).sum(-1).mean()
    assert loss.item() == pytest.approx(entropy.item(), rel=1e-5)
    assert teacher.task.taught_loss(outputs + torch.randn(2), outputs, batch, teacher) > loss


def test_forecasts_learn_the_distance_of_quantiles() -> None:
    values = np.sin(np.arange(90) / 3.0)[:, None]
    data = Series(("a",), (np.arange(90),), (values,), ("y",), period=1.0)
    task = Forecast.of(data, horizon=2, window=8)
    outputs = torch.randn(5, 2, 1, 9)
    batch = Batch(torch.zeros(8, 5, 1), None, torch.zeros(5, 2, 1), weights=torch.ones(5, 1))
    model = Model(task, "gru", NETWORKS["gru"].build(task, 3, DESIGNS["plain"]))
    assert task.taught_loss(outputs, outputs, batch, model) == 0.0
    assert task.taught_loss(outputs + 0.5, outputs, batch, model).item() == pytest.approx(0.5)


def test_train_keeps_the_student(tmp_path: Path) -> None:
    data, out = rising(), tmp_path / "model"
    with training_here():
        trained = gw.train(
            data, seeds=2, distil=True, epochs=3, design="plain", out=out, progress=False
        )
    assert trained.distilled is not None and trained.ensemble is not None
    model = gw.load(out)
    assert type(model) is Model
    titles = [row[0] for row in trained.further_rows()]
    assert titles == ["mean of these 2", "one network taught by it"]
    assert "has taught the model" in trained.verdict()
    stored = json.loads((out / "results.json").read_text())["best"]
    assert stored["distilled"]["test"] == trained.distilled.test
    assert "one network that learned from the mean of 2" in (out / "README.md").read_text()
    assert "learned from the truth and from the mean" in (out / "report.html").read_text()


def test_what_cannot_be_distilled_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat. " * 40)
    with pytest.raises(ArgumentError, match="give seeds=3"):
        gw.train(rising(), distil=True, seeds=1, progress=False)
    with pytest.raises(ArgumentError, match="carry their states"):
        gw.train(text, distil=True, seeds=2, hidden_size=4, progress=False)


def test_a_teacher_and_its_data_have_to_fit() -> None:
    data = rising()
    with pytest.raises(ArgumentError, match="give the data that it was trained on"):
        gw.distil(teacher_of(data), "vowels")
    with pytest.raises(ArgumentError, match="expected a trained model"):
        gw.distil(gw.GRU(2, 3), data)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="learns in closed form"):
        gw.distil(teacher_of(data), data, design="untrained")
