"""The lesson's comparison of memories: its numbers, its table, its page, its command."""

from __future__ import annotations

import json
import math
import sys

import pytest
import torch

import gatewright as gw
from gatewright import cli
from gatewright.draw.plots.chart import Axis, Line, chart
from gatewright.errors import ArgumentError
from gatewright.memory import NETWORKS, TASKS, Budget
from gatewright.memory.climb import MAX_LAG, flow
from gatewright.memory.compare import compare_memory

#: Enough for the shortest lag, but not for the other.
BUDGET = Budget(steps=250, rate=1e-2, held=64)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    out = tmp_path_factory.mktemp("memory") / "out"
    comparison = compare_memory(
        out=out,
        networks=["window", "rnn", "chrono_lstm"],
        lags=[2, 12],
        seeds=1,
        units=12,
        budget=BUDGET,
        progress=False,
    )
    return comparison, out


def test_lags_learnt_and_shares_left(compared):
    comparison, _ = compared
    window, rnn, chrono = comparison.rows
    assert window.learnt == 2.0 and not window.flows("before")
    assert max(comparison.scores(window, 12)) < 0.5
    # As torch initialises it, an RNN halves its state within two steps; a chrono start keeps it.
    assert rnn.half_life() < 2 < 15 < chrono.half_life()
    assert rnn.left("before")[10] < 0.05 < 0.3 < chrono.left("before")[10]
    assert not any(share > 0 for share in rnn.carried("before")[1:])
    assert chrono.carried("before")[30] > 0.3
    assert len(chrono.left("before")) == MAX_LAG + 1


def test_the_table_the_page_and_the_file_agree(compared):
    comparison, out = compared
    assert sorted(path.name for path in out.iterdir()) == ["memory.html", "memory.json"]
    page = (out / "memory.html").read_text(encoding="utf-8").replace("\xa0%", " %")
    assert page.count("<svg") == 2 and page.count("<polyline") == 3 + 2 * 2
    for row in comparison.rows:
        cells = comparison.cells(row)
        assert len(cells) == len(comparison.headings())
        for cell in cells:
            assert cell in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    stored = json.loads((out / "memory.json").read_text(encoding="utf-8"))
    assert stored["networks"]["rnn"][0]["climb"]["lags"] == [2, 12]
    assert stored["networks"]["window"][0]["before"] is None
    assert comparison.verdict() in page.replace("&#x27;", "'")


@pytest.mark.slow(instead="test_lags_learnt_and_shares_left")
def test_a_climb_is_the_same_in_any_process(compared):
    comparison, _ = compared
    (single,) = comparison.rows[1].trials
    both = compare_memory(
        networks=["rnn"], lags=[2], seeds=2, units=12, budget=BUDGET, processes=2, progress=False
    )
    first, second = both.rows[0].trials
    assert (first.climb.seed, second.climb.seed) == (0, 1)
    assert first.scores[2] == single.scores[2]
    assert first.before.left == single.before.left != second.before.left


def test_the_flow_of_a_memory_that_only_leaks():
    """With f = 0.98 at every unit and all other weights 0, the share that is left is known."""
    model = NETWORKS["lstm"].reader(TASKS["recall"](lag=2), 4)
    with torch.no_grad():
        for weight in model.body.parameters():
            weight.zero_()
    weight, _ = model.body.weights("f")["x"]
    model.body.weights("f")["x"] = (weight, torch.full((4,), math.log(0.98 / 0.02)))
    left = flow(model).left
    # Half of the state is h, of which nothing is left after a step; c also acts on h.
    slope = math.log(left[50] / left[150]) / 100
    assert slope == pytest.approx(-math.log(0.98), rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"networks": ["lstn"]}, "lstn"),
        ({"networks": []}, "give one or more of window"),
        ({"seeds": 0}, "seeds=0"),
        ({"lags": [5, 2]}, "rising"),
    ],
)
def test_refusals(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        compare_memory(**arguments)


@pytest.mark.parametrize("options", [["--networks", "lstn"], ["--out", "full"]], ids=" ".join)
def test_the_command_refuses_before_it_computes(options, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["gatewright", "memory", *options])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2 and options[1] in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "mine"]


def test_a_chart_places_its_points():
    x, y = Axis(1, 100, "x", "log"), Axis(0.0, 1.0, "y")
    svg = chart([Line("a", "n2", [(1, 0.0), (10, 0.5), (100, 1.0)])], x, y, "title")
    (points,) = [part.split('"')[1] for part in svg.split("points=")[1:]]
    (left, low), (middle, half), (right, high) = (
        tuple(map(float, pair.split(","))) for pair in points.split()
    )
    assert middle - left == pytest.approx(right - middle, abs=0.2) and left < middle
    assert low - half == pytest.approx(half - high, abs=0.2) and high < half
    assert gw.memory.TASKS is TASKS
