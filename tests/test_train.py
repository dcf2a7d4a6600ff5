"""From a file to a model that is used: train, the directory, predict; and what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import gatewright as gw
from gatewright.data import Series, read
from gatewright.errors import ArgumentError, CellError, DataError, ModelError
from gatewright.layers.saving import sealed
from gatewright.training.cell_file import cell_from_file
from gatewright.training.experiment import planned
from gatewright.training.loop import evaluate
from gatewright.training.predict import predict, sample
from gatewright.training.recipe import RECIPES
from gatewright.training.train import train
from in_process import training_here

MINE = """
import gatewright as gw
from gatewright import linear, sigmoid, tanh

class Mine(gw.Cell):
    def step(self, x, h):
        z = sigmoid(linear(x, h))
        n = tanh(linear(x, h))
        return gw.state(h=z * h + (1 - z) * n)
"""


def write_tables(folder: Path) -> None:
    """A table for each task, small, with something to learn in it."""
    generator = np.random.default_rng(1)
    hours = np.arange("2024-01-01", "2024-01-09", dtype="datetime64[h]")
    wave = np.sin(np.arange(len(hours)) * 2 * np.pi / 24)
    lines = ["when,load,price"]
    lines += [
        f"{str(hour).replace('T', ' ')}:00,{10 + 3 * one + generator.normal(0, 0.3):.3f},{one:.3f}"
        for hour, one in zip(hours, wave, strict=True)
    ]
    (folder / "hours.csv").write_text("\n".join(lines) + "\n")
    for name, label in (
        ("classes", lambda s, t: "abc"[s % 3]),
        ("tags", lambda s, t: "abc"[t % 3]),
    ):
        rows = ["id,a,b,label"]
        for s in range(30):
            rows += [
                f"s{s},{np.sin((t + 1) * (s % 3 + 1)):.3f},{generator.normal():.3f},{label(s, t)}"
                for t in range(9)
            ]
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    (folder / "fox.txt").write_text("the quick brown fox jumps over the lazy dog. " * 60)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a model of each task, and a cell of one's own."""
    folder = tmp_path_factory.mktemp("made")
    write_tables(folder)
    (folder / "my.py").write_text(MINE)
    with training_here():
        for name in ("hours.csv", "classes.csv", "tags.csv", "fox.txt"):
            train(
                folder / name,
                cell=f"{folder / 'my.py'}:Mine" if name == "tags.csv" else "rnn",
                out=folder / name.split(".")[0],
                hidden_size=6,
                epochs=2,
                progress=False,
            )
    return folder


@pytest.mark.parametrize("name", ["hours", "classes", "tags", "fox"])
def test_a_model_directory_is_whole_and_says_what_it_is(made: Path, name: str) -> None:
    files = {
        path.name: path.read_text(encoding="utf-8", errors="replace")
        for path in (made / name).iterdir()
    }
    assert sorted(files) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "report.html",
        "results.json",
    ]
    results = json.loads(files["results.json"])
    assert results["baselines"] and results["networks"][0]["trials"][0]["history"]["step_bytes"] > 0
    for heading in ("## Use", "## What it is worth", "## Data", "## Limits"):
        assert heading in files["README.md"]
    assert "nan" not in files["README.md"]
    key = {"hours": "forecasts", "fox": "samples"}.get(name, "confusion")
    assert f'id="{key}"' in files["report.html"]
    assert 'id="passage"' in files["report.html"] or name in ("hours", "classes", "fox")


def test_the_card_says_what_the_kept_model_does_on_validation(made: Path) -> None:
    trial = json.loads((made / "hours" / "results.json").read_text())["networks"][0]["trials"][0]
    plan = planned(made / "hours.csv", ["rnn"], seeds=1, say=lambda line: None, reading={})
    model = gw.load(made / "hours")
    _, part = model.task.parts(plan.training, plan.recipe.validation, 0)
    batches = model.task.batches(part)
    _, values = evaluate(model, batches, part)
    # Its intervals are stretched to hold 80 % of just this part.
    assert trial["validation"] == pytest.approx(values, rel=1e-4)
    assert values["coverage"] == pytest.approx(0.8, abs=0.01)


def test_without_scikit_learn_the_table_says_what_it_lacks(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def remarks() -> tuple[str, ...]:
        given = made / "hours.csv"
        return planned(given, ["rnn"], seeds=1, say=lambda line: None, reading={}).remarks

    pytest.importorskip("sklearn")
    assert remarks() == ()
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    (said,) = remarks()
    assert said.startswith("Boosting on lags is left out") and "gatewright[sklearn]" in said


def test_a_file_with_the_name_of_a_recipe_has_the_recipe_of_its_task(tmp_path: Path) -> None:
    write_tables(tmp_path)
    for name, task in (("tag", "forecast"), ("vowels", "forecast")):
        path = (tmp_path / "hours.csv").rename(tmp_path / f"{name}.csv")
        plan = planned(path, ["rnn"], seeds=1, say=lambda line: None, reading={})
        assert plan.recipe.learning_rate == RECIPES[task].learning_rate
        path.rename(tmp_path / "hours.csv")


@pytest.mark.parametrize(
    "change",
    [lambda c: c["task"].update(window=-4), lambda c: c["reading"].update(evil=1)],
    ids=["a size that is none", "a reading that is none"],
)
def test_a_config_that_was_changed_by_hand_is_refused(made: Path, change, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(made / "hours", tmp_path / "copied"))
    config = json.loads((copied / "config.json").read_text())
    change(config["model"])
    (copied / "config.json").write_text(json.dumps(sealed(config)))
    with pytest.raises(ModelError, match=r"copied cannot be loaded: model\.(task|reading)"):
        gw.load(copied)


def test_writing_refuses_what_is_no_seed_and_no_temperature(made: Path) -> None:
    for given in ({"seed": 10**30}, {"temperature": float("nan")}):
        with pytest.raises(ArgumentError, match=f"{next(iter(given))} is"):
            sample(made / "fox", "the", symbols=3, **given)


def test_a_model_of_a_cell_of_ones_own_needs_its_file_no_more(made: Path) -> None:
    model = gw.load(made / "tags")
    assert model.network == "Mine" and model.body.cell.equations.name == "Mine"
    assert 'data-name="z"' in (made / "tags" / "report.html").read_text()


def test_predictions_of_a_forecast_follow_the_last_row(made: Path) -> None:
    found = predict(made / "hours", made / "hours.csv", out=made / "next.csv").columns
    assert found["time"][0] == "2024-01-09 00:00" and len(found["time"]) == 24
    assert list(found)[:3] == ["time", "load", "load_q10"] and "load_q50" not in found
    for row in zip(found["load_q10"], found["load"], found["load_q90"], strict=True):
        assert list(row) == sorted(row)
    header, first, *_ = (made / "next.csv").read_text().splitlines()
    assert header.split(",") == ["when", *list(found)[1:]] and first.startswith("2024-01-09 00:00,")


def test_predictions_of_classes_go_to_parquet(made: Path) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    found = predict(made / "classes", made / "classes.csv", out=made / "said.parquet").columns
    table = pyarrow.parquet.read_table(made / "said.parquet").to_pydict()
    assert table == {name: list(values) for name, values in found.items()}
    shares = np.array([found[f"p_{name}"] for name in "abc"])
    np.testing.assert_allclose(shares.sum(0), 1.0, rtol=1e-6)
    assert found["id"][:2] == ["s0", "s1"]


def test_labels_are_not_needed_and_columns_may_stand_in_another_order(made: Path) -> None:
    rows = [line.split(",") for line in (made / "classes.csv").read_text().splitlines()]
    bare = made / "bare.csv"
    bare.write_text("\n".join(f"{r[0]},{r[2]},{r[1]}" for r in rows) + "\n")
    whole, cut = (predict(made / "classes", path).columns for path in (made / "classes.csv", bare))
    assert whole == cut


def test_what_read_returned_is_taken_as_it_is(made: Path) -> None:
    found = read(made / "classes.csv")
    assert (
        predict(made / "classes", found).columns
        == predict(made / "classes", made / "classes.csv").columns
    )
    found = read("vowels")
    plan = planned(found, ["rnn"], seeds=1, say=lambda line: None, reading={})
    assert plan.test is found.test
    with pytest.raises(ArgumentError, match="target were given, but the data have been read"):
        planned(found, ["rnn"], seeds=1, say=lambda line: None, reading={"target": "a"})


def test_another_dtype_says_nearly_the_same(made: Path) -> None:
    for name in ("hours", "classes", "tags"):
        data = read(made / f"{name}.csv").data
        single, double = (gw.load(made / name, dtype=kind) for kind in (None, torch.float64))
        assert next(double.parameters()).dtype == torch.float64
        for column, values in single.task.table(single, single.task.adapt(data)[0]).items():
            other = double.task.table(double, double.task.adapt(data)[0])[column]
            if isinstance(values[0], float):
                np.testing.assert_allclose(values, other, rtol=1e-3, atol=1e-4)


def test_a_text_is_scored_and_gone_on_with(made: Path) -> None:
    found = predict(made / "fox", made / "fox.txt").columns
    assert len(found["bits"]) == len(found["symbol"]) == 45 * 60 - 1
    assert np.mean(found["bits"]) < np.log2(28)
    assert len(sample(made / "fox", "the ", symbols=30)) == 30


def test_what_is_unlike_the_training_data_is_said(made: Path) -> None:
    series = read(made / "hours.csv").data
    far = [one * [100.0, 1.0] for one in series.values]
    remarks = predict(made / "hours", _with(series, values=tuple(far))).remarks
    assert len(remarks) == 1 and remarks[0].startswith("load runs from")
    assert not predict(made / "hours", series).remarks
    new = made / "stranger.csv"
    new.write_text((made / "classes.csv").read_text().replace(",c\n", ",d\n"))
    (remark,) = predict(made / "classes", new).remarks
    assert "class d, which the model has not learned" in remark


def _with(series: Series, **changes: object) -> Series:
    from dataclasses import replace

    return replace(series, **changes)


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ("hours", "load,other\n1,2\n2,3\n", "no column 'when'"),
        ("hours", "when,load,price\n2024-01-01,1,2\n2024-01-02,2,3\n", "steps of 1 day; .* 1 hour"),
        (
            "hours",
            "when,load,price\n2024-01-01 00:00,1,2\n2024-01-01 01:00,2,3\n",
            "at least as many",
        ),
        ("classes", "id,a\ns,1\ns,2\n", "b missing"),
        ("tags", "id,a,b,c\ns,1,2,3\ns,2,3,4\n", "c not known"),
        ("fox", "the fox ate 7 eggs", "'7' at position 12"),
        ("fox", "", "empty"),
        ("classes", "", "empty"),
    ],
)
def test_data_that_do_not_fit_are_refused(made: Path, tmp_path: Path, model, data, message) -> None:
    file = tmp_path / ("new.txt" if model == "fox" else "new.csv")
    file.write_text(data)
    with pytest.raises(DataError, match=message):
        predict(made / model, file, out=tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_nothing_is_written_over_unless_it_is_said(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.csv"
    out.write_text("mine")
    with pytest.raises(ArgumentError, match="exists"):
        predict(made / "fox", made / "fox.txt", out=out)
    assert out.read_text() == "mine"
    predict(made / "fox", made / "fox.txt", out=out, overwrite=True)
    assert out.read_text().startswith("position,symbol,bits")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]
    for bad, word in ((tmp_path / "a.txt", "ends with"), (out / "a.csv", "mine.csv is a file")):
        with pytest.raises(ArgumentError, match=word):
            predict(made / "fox", made / "fox.txt", out=bad)
    predict(made / "fox", made / "fox.txt", out=tmp_path / "new" / "place" / "a.csv")
    assert [path.name for path in (tmp_path / "new" / "place").iterdir()] == ["a.csv"]


def test_a_layer_is_no_model(made: Path, tmp_path: Path) -> None:
    gw.save(gw.GRU(2, 3), tmp_path / "layer")
    with pytest.raises(ModelError, match="holds a GRU"):
        predict(tmp_path / "layer", made / "classes.csv")
    with pytest.raises(ArgumentError, match="task is classify"):
        sample(made / "classes")


# A cell of the user's.
@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (MINE, "Other", "has no cell 'Other': it holds Mine"),
        ("x = 1", "", "no class that is a gw.Cell"),
        ("import nothing_there", "", "line 1: ModuleNotFoundError"),
        ("def (", "", "line 1: SyntaxError"),
        ("a = 1\n1 / 0", "", "line 2: ZeroDivisionError"),
        (MINE + "\n    def __init__(self, size):\n        pass\n", "Mine", "needs arguments"),
    ],
)
def test_a_file_without_the_cell_is_refused(tmp_path: Path, content, name, message) -> None:
    file = tmp_path / "my.py"
    file.write_text(content)
    with pytest.raises(ArgumentError, match=message):
        cell_from_file(f"{file}:{name}" if name else str(file))


def test_a_cell_that_cannot_be_read_says_its_line(tmp_path: Path) -> None:
    file = tmp_path / "my.py"
    file.write_text(MINE.replace("z = sigmoid(linear(x, h))", "z = 1 if h > 0 else 0"))
    with pytest.raises(CellError, match="line"):
        train("vowels", cell=str(file), epochs=1, progress=False)


# Ctrl-C.
@pytest.mark.skipif(sys.platform != "linux", reason="sends signals")
def test_ctrl_c_keeps_the_best_model_so_far(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--cell", "rnn", "--hidden", "5", "--epochs", "100000", "--out", str(out)]
    started = subprocess.Popen(
        [
            sys.executable,
            "-u",
            "-m",
            "gatewright",
            "train",
            str(made / "classes.csv"),
            *options,
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # Whoever started the tests may ignore it, and children would too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "COLUMNS": "200", "FORCE_COLOR": "1", "TTY_INTERACTIVE": "1"},
    )
    assert started.stderr is not None
    seen = ""
    deadline = time.monotonic() + 120
    while "loss 0." not in seen and "loss 1." not in seen and time.monotonic() < deadline:
        seen += started.stderr.read(1)  # the bar, once an epoch has ended
    started.send_signal(signal.SIGINT)
    said = started.communicate(timeout=120)
    assert started.returncode == 0, said
    assert "ended by hand" in said[0] and "Traceback" not in said[1]
    assert len(predict(out, made / "classes.csv").columns["predicted"]) == 30
    assert "ended by hand" in (out / "README.md").read_text(encoding="utf-8")
