"""A model's memory is measured right: on models that by construction see so many steps."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import gatewright as gw
from gatewright import cli, linear
from gatewright.data import Tagged, load
from gatewright.errors import ArgumentError, DataError
from gatewright.memory.advice import advice
from gatewright.memory.examination import _looked_at, examine
from gatewright.training.model import Model
from gatewright.training.tasks.classify import Classify
from gatewright.training.tasks.tag import Tag
from gatewright.training.window import Window


class Chain(gw.Cell):
    """A linear network; with a shift matrix it holds its last H inputs and no more."""

    def step(self, x, h):
        h = linear(x, h)
        return gw.state(h=h)


def shift_register(inputs: int, steps: int) -> gw.Recurrent:
    """A layer that holds one mixture of its inputs for so many steps, and then drops it."""
    layer = gw.Recurrent(Chain, inputs, steps)
    matrix, reads = torch.diag(torch.ones(steps - 1), -1), torch.zeros(steps, inputs)
    reads[0] = torch.linspace(1.0, 2.0, inputs)
    layer.weights("h")["x"] = (reads, torch.zeros(steps))
    layer.weights("h")["h"] = (matrix, None)
    return layer


def make(task, training, body) -> Model:
    torch.manual_seed(0)
    model = Model(task, "chain", body)
    model.fit_scaling(training)
    return model.eval()


@pytest.fixture(scope="module")
def vowels() -> Model:
    training = load("vowels").train
    task = Classify.of(training)
    return make(task, training, shift_register(task.inputs, 6))


def tagged(steps: int = 60) -> Tagged:
    draw = np.random.Generator(np.random.PCG64(0))
    sequences = tuple(draw.normal(size=(n, 2)).astype(np.float32) for n in (steps, 40, 50))
    labels = tuple((one[:, 0] > 0).astype(np.int64) for one in sequences)
    return Tagged(sequences, labels, ("low", "high"), name="signs")


def tags() -> Model:
    return make(Tag.of(tagged()), tagged(), shift_register(2, 5))


def look(model: Model, part) -> object:
    batches = model.task.batches(part)
    batch = next(iter(batches.shuffled(100, torch.Generator().manual_seed(0))))
    return _looked_at(model, batch, part.name)


@pytest.mark.parametrize("kind", ["classify", "tag"])
def test_a_model_that_sees_so_many_steps(kind, vowels):
    model, part, sees = (
        (vowels, load("vowels").train, 6) if kind == "classify" else (tags(), tagged(), 5)
    )
    found = look(model, part)
    gradient = np.array(found.gradient)
    assert gradient[:sees].all() and not gradient[sees:].any()
    assert sees - 1 <= found.reach <= sees
    losses = dict(zip(found.histories, found.losses, strict=True))
    full = found.losses[-1]
    assert all(loss == pytest.approx(full, rel=1e-4) for k, loss in losses.items() if k >= sees)
    assert losses[sees // 2] != pytest.approx(full, rel=1e-4)
    (units,) = found.layers
    assert units.name == "l0.forward" and not units.keeps and not units.gates
    assert units.radius == pytest.approx(0.0, abs=1e-3)  # a shift register forgets all at last
    left = np.array(units.left)
    assert left[sees - 1] > 0 and not left[sees:].any()
    # What comes from the first unit is passed on the longest way.
    state, unit, half, constant = units.longest[0]
    assert (state, unit, constant) == ("h", 0, 0.0) and half == pytest.approx(sees)
    # The readout weighs a step's mixture as a whole, so the inputs share as their weights do.
    weights = np.linspace(1.0, 2.0, model.task.inputs) ** 2
    shares = {one.name: one.share for one in found.channels}
    names = model.task.seen.channels
    np.testing.assert_allclose([shares[n] for n in names], weights / weights.sum(), rtol=1e-4)


def test_what_one_has_to_lose_by_cutting_is_what_counts():
    """The label is the sign now, and useless before: one step of history is all of use."""
    found = look(tags(), tagged())
    assert found.useful == 1 and found.steps == 60 and found.sequences == 3


def test_gates_are_counted(vowels):
    part = load("vowels").train
    layer = gw.init.forget_bias_(gw.LSTM(12, 3), 40.0)
    (units,) = look(make(vowels.task, part, layer), part).layers
    gates = {name: (shut, opened) for name, shut, opened in units.gates}
    assert list(gates) == ["i", "f", "o"] and gates["f"] == (0.0, 1.0) and units.keeps
    assert units.radius > 0.9


def test_a_network_without_a_state(vowels):
    part = load("vowels").train
    model = make(vowels.task, part, Window(12, 8, reach=2))
    found = look(model, part)
    assert found.layers == () and len(found.gradient) == 26


def test_the_directory_the_page_and_the_command(vowels, tmp_path, monkeypatch, capsys):
    gw.save(vowels, tmp_path / "model")
    out = tmp_path / "out"
    monkeypatch.setattr(
        sys, "argv", ["gatewright", "memory", str(tmp_path / "model"), "vowels", "--out", str(out)]
    )
    cli.app(standalone_mode=False)
    said = capsys.readouterr().out
    found = examine(tmp_path / "model", "vowels")
    assert found.verdict() in said and all(one in said for one in found.advice)
    page = (out / "memory.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 2 and found.verdict() in page.replace("&#x27;", "'")
    stored = json.loads((out / "memory.json").read_text(encoding="utf-8"))
    assert stored["used"] == found.used and len(stored["losses"]) == len(found.losses)


def test_advice_has_its_reasons(vowels):
    found = look(vowels, load("vowels").train)
    base = replace(found, histories=(1, 2, 4, 8, 16, 32), losses=(2.0, 1.5, 1.0, 0.5, 0.2, 0.1),
                   used=16, useful=16, steps=32)  # fmt: skip
    assert advice(base)[0].startswith("Nothing")
    assert "feed-forward window of 4" in advice(replace(base, used=4, useful=4))[0]
    said = " ".join(advice(replace(base, useful=55)))
    assert "horizon_(layer, 110)" in said and "forget gate" in said
    keeps = replace(base.layers[0], keeps=True)
    assert "forget gate" not in " ".join(advice(replace(base, useful=55, layers=(keeps,))))
    assert "longer sequences" in advice(replace(base, used=32))[0]
    assert "without a memory" in advice(replace(base, losses=(0.1,) * 6))[0]


def test_refusals(vowels, tmp_path):
    gw.save(gw.LSTM(2, 3), tmp_path / "layer")
    with pytest.raises(ArgumentError, match="bare layer"):
        examine(tmp_path / "layer", "vowels")
    with pytest.raises(DataError, match="the model does tag with 2"):
        examine(tags(), "vowels")
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ArgumentError, match="not empty"):
        examine(vowels, "vowels", out=tmp_path)
    assert math.isfinite(look(vowels, load("vowels").train).losses[0])
