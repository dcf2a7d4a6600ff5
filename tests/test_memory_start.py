"""`train --memory`, and the warning of a network whose initial memory is too short for its data."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from gatewright import cli
from gatewright.data import Series, Tagged, Text
from gatewright.errors import ArgumentError
from gatewright.tasks.forecast.task import Forecast
from gatewright.tasks.text.task import NextSymbol
from gatewright.training.job import build_model
from gatewright.training.memory_check import memory_remarks
from gatewright.training.networks import NETWORKS
from gatewright.training.plan import make_plan
from gatewright.training.recipe import Recipe
from gatewright.training.train import train
from in_process import training_here, without_baselines


def echo(lag: int, steps: int = 900) -> Series:
    """A series that repeats its value of `lag` days ago, with some noise."""
    draw = np.random.Generator(np.random.PCG64(0))
    values = draw.normal(size=steps)
    for step in range(lag, steps):
        values[step] = 0.95 * values[step - lag] + 0.3 * values[step]
    return Series(("a",), (np.arange(steps),), (values[:, None],), ("y",), period=1.0)


def signs(lag: int) -> Tagged:
    """Sequences in which each step is tagged with the sign of some steps ago."""
    draw = np.random.Generator(np.random.PCG64(0))
    values = [draw.normal(size=(70, 2)).astype(np.float32) for _ in range(30)]
    labels = tuple((np.roll(one[:, 0], lag) > 0).astype(np.int64) for one in values)
    return Tagged(tuple(values), labels, ("low", "high"))


def warnings_of(data, cell: str = "lstm", **options) -> list[str]:
    reading = {name: options.pop(name) for name in ("horizon", "window") if name in options}
    plan = make_plan(data, [cell], seeds=1, say=lambda line: None, reading=reading, **options)
    return memory_remarks(plan)


@pytest.mark.parametrize(("kind", "cell"), [("forecast", "lstm"), ("tag", "gru")])
def test_data_whose_lag_is_known(kind, cell):
    """30 steps back are useful; the first number tried that covers them is 34."""
    far, near = (
        ((echo(30), echo(3)), {"horizon": 1, "window": 60})
        if kind == "forecast"
        else ((signs(30), signs(2)), {})
    )
    (warned,) = warnings_of(far[0], cell, **near)
    assert warned.startswith("warning: the data are of use 34 steps back")
    assert "train it with memory=68" in warned
    started = warnings_of(far[0], cell, memory=68, **near)
    assert started == ["The network starts for a memory of 68 steps (gw.init.horizon_)."]
    assert warnings_of(far[1], cell, **near) == []


@pytest.mark.slow(instead="test_data_whose_lag_is_known")
def test_where_steps_alone_do_not_help_another_cell_is_named():
    first, warned = warnings_of(signs(30), "lstm", memory=4)
    assert "memory of 4 steps" in first
    assert "take memory=68, or a cell whose gate keeps its state" in warned


@pytest.mark.slow(instead="test_data_whose_lag_is_known")
def test_of_a_cell_that_cannot_be_started_for_it_is_told():
    (warned,) = warnings_of(signs(30), "elman_rnn")
    assert "take a cell whose gate keeps its state (lstm, gru) and memory=68" in warned
    first = warnings_of(signs(30), "elman_rnn", memory=68)[0]
    assert "68 steps (gw.init.horizon_). But no gate of ElmanRNN keeps its state" in first


@pytest.mark.slow(instead="test_data_whose_lag_is_known")
@pytest.mark.parametrize("data", ["vowels", "weather", "prose"])
def test_no_false_alarm_on_the_bundled_sets(data):
    plan = make_plan(data, ["lstm", "window"], seeds=1, say=lambda line: None, reading={})
    for name, network in plan.networks.items():
        assert memory_remarks(replace(plan, networks={name: network})) == []


@pytest.mark.slow(instead="test_data_whose_lag_is_known")
def test_a_symbol_that_comes_back():
    """In a text where most symbols repeat the one 20 before, 20 steps back are useful."""
    draw = np.random.Generator(np.random.PCG64(0))
    codes = draw.integers(0, 4, size=6000)
    for step in range(20, 6000):
        codes[step] = codes[step - 20] if draw.random() < 0.7 else codes[step]
    (warned,) = warnings_of(Text(codes.astype(np.uint8), tuple("abcd")))
    assert "21 steps back" in warned


def test_the_start_reaches_the_weights():
    torch.manual_seed(0)
    task = NextSymbol.of(Text(np.arange(200) % 5, tuple("abcde")))
    layer = build_model(task, "lstm", NETWORKS["lstm"], 400, Recipe(memory=100)).body
    forget = layer.weights("f")["x"][1] + layer.weights("f")["h"][1]
    assert forget.exp().min() >= 1.0 and 90 < forget.exp().max() <= 99.1  # log U(1, N - 1)


@pytest.mark.slow(instead="test_data_whose_lag_is_known")
def test_the_start_reaches_the_directory(tmp_path, monkeypatch, capsys):
    rows = ["id,a,b,label"]
    for row, (values, labels) in enumerate(zip(signs(30).sequences, signs(30).labels, strict=True)):
        rows += [f"{row},{a},{b},{'xy'[c]}" for (a, b), c in zip(values, labels, strict=True)]
    (tmp_path / "signs.csv").write_text("\n".join(rows) + "\n")

    def run(*more: str) -> tuple[str, dict]:
        out = tmp_path / "-".join(["out", *more])
        arguments = [str(tmp_path / "signs.csv"), "--hidden", "4", "--epochs", "1", "--no-progress"]
        monkeypatch.setattr(
            sys, "argv", ["gatewright", "train", *arguments, "--out", str(out), *more]
        )
        with training_here(), without_baselines():
            cli.app(standalone_mode=False)
        assert "warning: the data" not in capsys.readouterr().out or not more
        return (out / "README.md").read_text(), json.loads((out / "results.json").read_text())

    card, results = run()
    assert "of use 34 steps back" in card and results["recipe"]["memory"] is None
    card, results = run("--memory", "68")
    assert "starts for a memory of 68 steps" in card and "34 steps back" not in card
    assert results["recipe"]["memory"] == 68


def test_rows_from_all_over_a_part():
    windows = Forecast.of(echo(3), horizon=2, window=5).batches(echo(3))
    batch = windows.excerpt(10)
    np.testing.assert_allclose(batch.x[:, 0, 0], echo(3).values[0][:5, 0], rtol=1e-6)
    np.testing.assert_allclose(batch.target[-1, :, 0], echo(3).values[0][-2:, 0], rtol=1e-6)
    text = Text(np.arange(1500) % 251, tuple(map(chr, range(300, 551))))
    batch = NextSymbol.of(text).batches(text).excerpt(500)
    assert batch.x.shape == (256, 5) and batch.items == 1280
    assert (batch.target == (batch.x + 1) % 251).all()
    assert batch.x[0, 0] == 0 and batch.target[-1, -1] == 1499 % 251
    short = Text(np.arange(9) % 3, tuple("abc"))
    assert NextSymbol.of(short).batches(short).excerpt(500).x.shape == (8, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": 0}, "memory is 0; expected a whole number from 1"),
        ({"memory": 5, "cell": "window"}, "the network window has none to start"),
    ],
)
def test_refusals(options, message, tmp_path):
    with pytest.raises(ArgumentError, match=message):
        train("vowels", out=tmp_path / "out", hidden_size=4, progress=False, **options)
    assert not (tmp_path / "out").exists()
