"""A model's memory is measured right, on models that see a known number of steps."""

from __future__ import annotations

import html
import json
import math
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import gatewright as gw
from gatewright import cli, linear
from gatewright.data import Series, Tagged, Text, load
from gatewright.errors import ArgumentError, DataError
from gatewright.memory.advice import advice
from gatewright.memory.examine import examine, examine_batch, training_part
from gatewright.memory.history import used
from gatewright.tasks.classify import Classify
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.tag import Tag
from gatewright.tasks.text.task import NextSymbol
from gatewright.training.model import Model
from gatewright.training.train import train
from gatewright.training.window import WindowNetwork
from in_process import training_here, without_baselines


class Chain(gw.Cell):
    """A linear network; with a shift matrix it remembers exactly its last H inputs."""

    def step(self, x, h):
        h = linear(x, h)
        return gw.state(h=h)


def shift_register(inputs: int, steps: int) -> gw.Recurrent:
    """A layer that remembers one mixture of its inputs for `steps` steps, and then forgets it."""
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
    labels = tuple((values[:, 0] > 0).astype(np.int64) for values in sequences)
    return Tagged(sequences, labels, ("low", "high"), name="signs")


def hours() -> Series:
    """An hourly load that follows a price, which is known ahead."""
    draw = np.random.Generator(np.random.PCG64(0))
    price = np.sin(np.arange(600) * 2 * np.pi / 24)
    load = 3.0 * price + draw.normal(size=600).cumsum() * 0.3
    return Series(
        ("a",),
        (np.datetime64("2024-01-01T00", "h") + np.arange(600),),
        (np.column_stack([load, price]),),
        ("load", "price"),
        known=("price",),
        period=np.timedelta64(1, "h"),
    )


def tags() -> Model:
    return make(Tag.of(tagged()), tagged(), shift_register(2, 5))


def look(model: Model, part) -> object:
    return examine_batch(model, model.task.batches(part).excerpt(100), part.name)


@pytest.mark.parametrize("kind", ["classify", "tag"])
def test_a_model_that_sees_a_known_number_of_steps(kind, vowels):
    model, part, sees = (
        (vowels, load("vowels").train, 6) if kind == "classify" else (tags(), tagged(), 5)
    )
    result = look(model, part)
    gradient = np.array(result.gradient)
    assert gradient[:sees].all() and not gradient[sees:].any()
    assert sees - 1 <= result.reach <= sees
    losses = dict(zip(result.histories, result.losses, strict=True))
    full = result.losses[-1]
    assert all(loss == pytest.approx(full, rel=1e-4) for k, loss in losses.items() if k >= sees)
    assert losses[sees // 2] != pytest.approx(full, rel=1e-4)
    (units,) = result.layers
    assert units.name == "l0.forward" and not units.keeps and not units.gates
    assert units.radius == pytest.approx(0.0, abs=1e-3)  # a shift register forgets everything
    left = np.array(units.left)
    assert left[sees - 1] > 0 and not left[sees:].any()
    # The value of the first unit is passed on for the longest time.
    state, unit, half, constant = units.longest[0]
    assert (state, unit, constant) == ("h", 0, 0.0) and half == pytest.approx(sees)
    # The readout reads only the mixture, so the inputs have the shares of their weights.
    weights = np.linspace(1.0, 2.0, model.task.inputs) ** 2
    shares = {channel.name: channel.share for channel in result.channels}
    names = model.task.seen.channels
    np.testing.assert_allclose([shares[n] for n in names], weights / weights.sum(), rtol=1e-4)


@pytest.mark.parametrize("per_window", [False, True])
def test_a_forecast_that_sees_a_known_number_of_steps(per_window):
    """With a price that is known ahead, and with each window scaled by its own spread."""
    rest, _ = Forecast.split(hours().with_calendar())
    task = replace(Forecast.of(rest, horizon=3, window=20), per_window=per_window, base=None)
    assert task.known and task.calendar
    result = look(make(task, rest, shift_register(task.inputs, 5)), rest)
    gradient = np.array(result.gradient)
    assert len(gradient) == 20 and gradient[:5].all() and not gradient[5:].any()
    losses = dict(zip(result.histories, result.losses, strict=True))
    assert all(losses[k] == pytest.approx(losses[20], rel=1e-4) for k in losses if k >= 5)
    assert losses[2] != pytest.approx(losses[20], rel=1e-4)
    assert {channel.name for channel in result.channels} == set(task.seen.channels)
    assert result.sequences == 100 and len(result.layers) == 1


def test_history_has_to_improve_on_what_is_known_ahead():
    """The past predicts the price, and so the load; but the price is known already."""
    series = hours()
    (values,) = series.values
    noise = np.random.Generator(np.random.PCG64(1)).normal(size=600)
    noisy = replace(series, values=(np.column_stack([3.0 * values[:, 1] + noise, values[:, 1]]),))
    task = replace(Forecast.of(noisy, horizon=3, window=20), per_window=False, base=None)
    result = look(make(task, noisy, shift_register(task.inputs, 5)), noisy)
    assert result.useful <= 1
    priceless = replace(noisy, values=(noisy.values[0][:, :1],), channels=("load",), known=())
    task = replace(Forecast.of(priceless, horizon=3, window=20), per_window=False, base=None)
    assert look(make(task, priceless, shift_register(task.inputs, 5)), priceless).useful >= 3


def test_overlapping_windows_do_not_predict_each_other():
    """A few steps help to predict a mean over six steps of noise.

    A window that could be recognised by its neighbour would make many more seem useful.
    """
    noise = np.random.Generator(np.random.PCG64(0)).normal(size=425)
    smooth = np.convolve(noise, np.ones(6) / 6, "valid")[:, None]
    series = Series(("a",), (np.arange(420),), (smooth,), ("y",), period=1.0)
    task = replace(Forecast.of(series, horizon=20, window=60), per_window=False, base=None)
    model = make(task, series, shift_register(task.inputs, 5))
    assert 1 <= examine_batch(model, task.batches(series).excerpt(300), "smooth").useful <= 5


@pytest.mark.parametrize(
    ("losses", "enough"),
    [
        ((2.0, 1.06, 1.04, 1.0), 4),  # 5 % of the improvement by history is 0.05
        ((2.0, 1.04, 1.06, 1.0), 8),  # and it has to stay within
        ((2.0, 1.04, 0.9, 1.0), 2),
        ((1.0, 1.0, 1.0, 1.0), 1),
        ((0.5, 0.9, 0.95, 1.0), 1),  # harmful history is not used
    ],
)
def test_the_fewest_steps_that_are_enough(losses, enough):
    assert used((1, 2, 4, 8), losses) == enough


def test_a_text_model_that_sees_a_known_number_of_symbols():
    text = Text(np.arange(3000) % 7, tuple("abcdefg"))
    task = NextSymbol.of(text)
    result = look(make(task, text, shift_register(task.inputs, 4)), text)
    gradient = np.array(result.gradient)
    assert len(gradient) == 256 and gradient[:4].all() and not gradient[4:].any()
    losses = dict(zip(result.histories, result.losses, strict=True))
    assert all(losses[k] == pytest.approx(losses[256], rel=1e-4) for k in losses if k >= 4)
    assert losses[2] != pytest.approx(losses[256], rel=1e-4)
    assert result.useful == 1 and not result.channels and result.sequences == 11


@pytest.mark.slow(instead="test_real_files.py::test_a_model_reads_new_files_as_it_read_its_own")
def test_data_are_read_as_the_model_learned_them(tmp_path):
    """Columns and classes may have another order, and a text may lack a symbol."""
    draw = np.random.Generator(np.random.PCG64(0))
    rows = [(f"s{n}", t, *draw.normal(size=2), "xyz"[n % 3]) for n in range(30) for t in range(9)]
    orders = {"one": rows, "two": [row for n in (2, 0, 1) for row in rows if row[4] == "xyz"[n]]}
    (tmp_path / "one.csv").write_text(
        "id,t,a,b,label\n" + "".join(f"{i},{t},{a},{b},{c}\n" for i, t, a, b, c in orders["one"])
    )
    (tmp_path / "two.csv").write_text(
        "label,b,t,id,a\n" + "".join(f"{c},{b},{t},{i},{a}\n" for i, t, a, b, c in orders["two"])
    )
    small = {"cell": "gru", "hidden_size": 4, "epochs": 1, "seeds": 1, "progress": False}
    with training_here(), without_baselines():
        model = train(tmp_path / "one.csv", design="plain", **small).model
    model = replace_classes(model)
    parts = [training_part(model, str(tmp_path / f"{name}.csv")) for name in orders]
    assert all(part.classes == model.task.classes and part.channels == 2 for part in parts)
    for part in parts:
        for values, label in zip(part.sequences, part.labels, strict=True):
            (own,) = {row[4] for row in rows if np.float32(row[2]) == values[0, 0]}
            assert model.task.classes[label] == own
    (tmp_path / "more.csv").write_text((tmp_path / "one.csv").read_text().replace(",x", ",w"))
    with pytest.raises(DataError, match="has the class w; the model has learned"):
        examine(model, str(tmp_path / "more.csv"))
    (tmp_path / "a.txt").write_text("abcabcd" * 100)
    (tmp_path / "b.txt").write_text("dbd" * 200)
    with training_here(), without_baselines():
        text = train(tmp_path / "a.txt", **small).model
    assert training_part(text, str(tmp_path / "b.txt")).codes[:3].tolist() == [3, 1, 3]
    assert len(examine(text, str(tmp_path / "b.txt")).layers) == text.recurrent.num_layers == 2


def replace_classes(model: Model) -> Model:
    """The same model with its classes in reverse order."""
    model.task = replace(model.task, classes=model.task.classes[::-1])
    return model


def test_only_history_that_improves_the_loss_counts():
    """The label is the sign of the current input, so only one step is useful."""
    result = look(tags(), tagged())
    assert result.useful == 1 and result.steps == 60 and result.sequences == 3


def test_gates_are_counted(vowels):
    part = load("vowels").train
    layer = gw.init.forget_bias_(gw.LSTM(12, 3), 40.0)
    (units,) = look(make(vowels.task, part, layer), part).layers
    gates = {name: (shut, open_) for name, shut, open_ in units.gates}
    assert list(gates) == ["i", "f", "o"] and gates["f"] == (0.0, 1.0) and units.keeps
    assert units.radius > 0.9


def test_a_network_without_a_state(vowels):
    part = load("vowels").train
    model = make(vowels.task, part, WindowNetwork(12, 8, reach=2))
    result = look(model, part)
    assert result.layers == () and len(result.gradient) == result.steps


def test_the_directory_the_page_and_the_command(vowels, tmp_path, monkeypatch, capsys):
    gw.save(vowels, tmp_path / "model")
    out = tmp_path / "out"
    monkeypatch.setattr(
        sys, "argv", ["gatewright", "memory", str(tmp_path / "model"), "vowels", "--out", str(out)]
    )
    cli.app(standalone_mode=False)
    output = capsys.readouterr().out
    result = examine(tmp_path / "model", "vowels")
    assert result.verdict() in output and all(sentence in output for sentence in result.advice)
    page = html.unescape((out / "memory.html").read_text(encoding="utf-8"))
    assert page.count("<svg") == 2 and result.verdict() in page.replace("\xa0%", " %")
    stored = json.loads((out / "memory.json").read_text(encoding="utf-8"))
    assert stored["used"] == result.used and len(stored["losses"]) == len(result.losses)


def test_advice_names_its_reasons(vowels):
    result = look(vowels, load("vowels").train)
    base = replace(result, histories=(1, 2, 4, 8, 16, 32), losses=(2.0, 1.5, 1.0, 0.5, 0.2, 0.1),
                   used=16, useful=16, beyond=0.5, steps=32)  # fmt: skip
    assert advice(base)[0].startswith("Nothing")
    assert (
        "It uses only 4 steps: a feed-forward window" in advice(replace(base, used=4, useful=4))[0]
    )
    sentences = " ".join(advice(replace(base, useful=55)))
    assert "horizon_(layer, 110)" in sentences and "forget gate" in sentences
    assert advice(replace(base, useful=55, beyond=0.2))[0].startswith("Nothing")
    keeps = replace(base.layers[0], keeps=True)
    assert "forget gate" not in " ".join(advice(replace(base, useful=55, layers=(keeps,))))
    assert "longer sequences" in advice(replace(base, used=32))[0]
    assert "without a memory" in advice(replace(base, losses=(0.1,) * 6))[0]


def test_refusals(vowels, tmp_path):
    gw.save(gw.LSTM(2, 3), tmp_path / "layer")
    with pytest.raises(ArgumentError, match="bare layer"):
        examine(tmp_path / "layer", "vowels")
    with pytest.raises(DataError, match="vowels is for the task classify; the model does tag"):
        examine(tags(), "vowels")
    (tmp_path / "few.csv").write_text(
        "id,a,label\n" + "".join(f"s{n},1,x\ns{n},2,y\n" for n in range(9))
    )
    with pytest.raises(DataError, match="missing"):
        examine(tags(), str(tmp_path / "few.csv"))
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ArgumentError, match="not empty"):
        examine(vowels, "vowels", out=tmp_path)
    assert math.isfinite(look(vowels, load("vowels").train).losses[0])
