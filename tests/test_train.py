"""Train on a file, write the model directory, predict from it; and refuse bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import torch

import gatewright as gw
from gatewright.data import Series, read
from gatewright.errors import ArgumentError, CellError, DataError, ModelError
from gatewright.layers.saving import sealed
from gatewright.tasks.forecast.baselines import lags
from gatewright.training.cell_file import cell_from_file
from gatewright.training.loop import evaluate
from gatewright.training.plan import ExperimentPlan, make_plan
from gatewright.training.predict import predict, sample
from gatewright.training.recipe import RECIPES
from gatewright.training.train import train
from in_process import few_baselines, training_here
from tables import write_tables

MINE = """
import gatewright as gw
from gatewright import linear, sigmoid, tanh

class Mine(gw.Cell):
    def step(self, x, h):
        z = sigmoid(linear(x, h))
        n = tanh(linear(x, h))
        return gw.state(h=z * h + (1 - z) * n)
"""


def plan_of(data: object, **reading: object) -> ExperimentPlan:
    return make_plan(data, ["rnn"], seeds=1, say=lambda line: None, reading=reading)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, a model of each task, and a cell of one's own."""
    folder = tmp_path_factory.mktemp("models")
    write_tables(folder)
    (folder / "my.py").write_text(MINE)
    with training_here(), few_baselines(2):
        for name in ("hours.csv", "classes.csv", "tags.csv", "fox.txt"):
            train(
                folder / name,
                cell=f"{folder / 'my.py'}:Mine" if name == "tags.csv" else "rnn",
                out=folder / name.split(".")[0],
                # The tests look at one model of the forecast, and at the mean of others.
                seeds=1 if name == "hours.csv" else 2,
                hidden_size=6,
                epochs=2,
                progress=False,
            )
    return folder


@pytest.mark.parametrize("name", ["hours", "classes", "tags", "fox"])
def test_a_model_directory_is_complete_and_describes_itself(models: Path, name: str) -> None:
    files = {
        path.name: path.read_text(encoding="utf-8", errors="replace")
        for path in (models / name).iterdir()
    }
    assert sorted(files) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "report.html",
        "results.json",
    ]
    results = json.loads(files["results.json"])
    step_bytes = results["networks"][0]["trials"][0]["history"]["step_bytes"]
    # Few recordings get an untrained network, whose read-out is fitted without a backward pass.
    assert results["baselines"] and (step_bytes > 0) == (name != "classes")
    for heading in ("## Use", "## What it is worth", "## Data", "## Limits"):
        assert heading in files["README.md"]
    assert "nan" not in files["README.md"]
    key = {"hours": "forecasts", "fox": "samples"}.get(name, "confusion")
    assert f'id="{key}"' in files["report.html"]
    assert 'id="passage"' in files["report.html"] or name in ("hours", "classes", "fox")


def test_the_results_have_the_validation_metrics_of_the_saved_model(models: Path) -> None:
    results = json.loads((models / "hours" / "results.json").read_text())
    trial = results["networks"][0]["trials"][results["best"]["seed"]]
    plan = plan_of(models / "hours.csv")
    model = gw.load(models / "hours")
    training, part = model.task.parts(plan.training, plan.recipe.validation, 0)
    batches = model.task.batches(part)
    _, refitted = evaluate(model, batches, part)
    # After the measurement, the base has learned from the validation part too.
    model.task.fit_map_of(model, training)
    _, values = evaluate(model, batches, part)
    assert trial["validation"] == pytest.approx(values, rel=1e-4)
    assert refitted["mase"] < values["mase"]
    # Its intervals have the width of errors at rolling origins, which include those of this part.
    assert values["coverage"] >= 0.75


def test_without_scikit_learn_a_remark_names_the_missing_baseline(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sklearn")
    before = plan_of(models / "hours.csv").remarks

    def version(package: str) -> str:
        raise PackageNotFoundError(package)

    monkeypatch.setattr(lags, "version", version)
    (remark,) = set(plan_of(models / "hours.csv").remarks) - set(before)
    assert remark.startswith("Boosting on lags is left out") and "gatewright[sklearn]" in remark


def test_a_file_with_the_name_of_a_recipe_has_the_recipe_of_its_task(tmp_path: Path) -> None:
    write_tables(tmp_path)
    for name, task in (("tag", "forecast"), ("vowels", "forecast")):
        path = (tmp_path / "hours.csv").rename(tmp_path / f"{name}.csv")
        plan = plan_of(path)
        assert plan.recipe.learning_rate == RECIPES[task].learning_rate
        path.rename(tmp_path / "hours.csv")


@pytest.mark.parametrize(
    "change",
    [lambda c: c["task"].update(window=-4), lambda c: c["reading"].update(evil=1)],
    ids=["a negative size", "an unknown argument of read"],
)
def test_a_config_that_was_changed_by_hand_is_refused(models: Path, change, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(models / "hours", tmp_path / "copied"))
    config = json.loads((copied / "config.json").read_text())
    change(config["model"])
    (copied / "config.json").write_text(json.dumps(sealed(config)))
    with pytest.raises(ModelError, match=r"copied cannot be loaded: model\.(task|reading)"):
        gw.load(copied)


def test_sampling_refuses_a_bad_seed_and_a_bad_temperature(models: Path) -> None:
    for options in ({"seed": 10**30}, {"temperature": float("nan")}):
        with pytest.raises(ArgumentError, match=f"{next(iter(options))} is"):
            sample(models / "fox", "the", symbols=3, **options)


def test_a_model_of_a_users_cell_no_longer_needs_its_file(models: Path) -> None:
    model = gw.load(models / "tags")
    assert model.network == "Mine" and model.body.cell.equations.name == "Mine"
    assert 'data-name="z"' in (models / "tags" / "report.html").read_text()


def test_predictions_of_a_forecast_follow_the_last_row(models: Path) -> None:
    columns = predict(models / "hours", models / "hours.csv", out=models / "next.csv").columns
    assert columns["time"][0] == "2024-01-09 00:00" and len(columns["time"]) == 24
    assert list(columns)[:3] == ["time", "load", "load_q10"] and "load_q50" not in columns
    for row in zip(columns["load_q10"], columns["load"], columns["load_q90"], strict=True):
        assert list(row) == sorted(row)
    header, first, *_ = (models / "next.csv").read_text().splitlines()
    assert header.split(",") == ["when", *list(columns)[1:]] and first.startswith(
        "2024-01-09 00:00,"
    )


def test_predictions_of_classes_go_to_parquet(models: Path) -> None:
    pytest.importorskip("pyarrow")
    import pyarrow.parquet

    out = models / "predicted.parquet"
    columns = predict(models / "classes", models / "classes.csv", out=out).columns
    table = pyarrow.parquet.read_table(out).to_pydict()
    assert table == {name: list(values) for name, values in columns.items()}
    shares = np.array([columns[f"p_{name}"] for name in "abc"])
    np.testing.assert_allclose(shares.sum(0), 1.0, rtol=1e-6)
    assert columns["id"][:2] == ["s0", "s1"]


def test_labels_are_not_needed_and_columns_may_have_another_order(models: Path) -> None:
    rows = [line.split(",") for line in (models / "classes.csv").read_text().splitlines()]
    bare = models / "bare.csv"
    bare.write_text("\n".join(f"{r[0]},{r[2]},{r[1]}" for r in rows) + "\n")
    labelled, unlabelled = (
        predict(models / "classes", path).columns for path in (models / "classes.csv", bare)
    )
    assert labelled == unlabelled


def test_the_result_of_read_is_taken_as_data(models: Path) -> None:
    classes = read(models / "classes.csv")
    assert (
        predict(models / "classes", classes).columns
        == predict(models / "classes", models / "classes.csv").columns
    )
    vowels = read("vowels")
    assert plan_of(vowels).test is vowels.test
    with pytest.raises(ArgumentError, match="target were given, but the data have been read"):
        plan_of(vowels, target="a")


def test_another_dtype_predicts_nearly_the_same(models: Path) -> None:
    for name in ("hours", "classes", "tags"):
        data = read(models / f"{name}.csv").data
        single, double = (gw.load(models / name, dtype=kind) for kind in (None, torch.float64))
        assert next(double.parameters()).dtype == torch.float64
        for column, values in single.task.table(single, single.task.adapt(data)[0]).items():
            other = double.task.table(double, double.task.adapt(data)[0])[column]
            if isinstance(values[0], float):
                np.testing.assert_allclose(values, other, rtol=1e-3, atol=1e-4)


def test_a_text_is_scored_and_continued(models: Path) -> None:
    columns = predict(models / "fox", models / "fox.txt").columns
    assert len(columns["bits"]) == len(columns["symbol"]) == 45 * 60 - 1
    assert np.mean(columns["bits"]) < np.log2(28)
    assert len(sample(models / "fox", "the ", symbols=30)) == 30


def test_remarks_name_data_unlike_the_training_data(models: Path) -> None:
    series = read(models / "hours.csv").data
    far = [values * [100.0, 1.0] for values in series.values]
    remarks = predict(models / "hours", _with(series, values=tuple(far))).remarks
    assert len(remarks) == 1 and remarks[0].startswith("load runs from")
    assert not predict(models / "hours", series).remarks
    new = models / "stranger.csv"
    new.write_text((models / "classes.csv").read_text().replace(",c\n", ",d\n"))
    (remark,) = predict(models / "classes", new).remarks
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
def test_data_that_do_not_fit_are_refused(
    models: Path, tmp_path: Path, model, data, message
) -> None:
    file = tmp_path / ("new.txt" if model == "fox" else "new.csv")
    file.write_text(data)
    with pytest.raises(DataError, match=message):
        predict(models / model, file, out=tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_a_file_is_replaced_only_with_overwrite(models: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.csv"
    out.write_text("mine")
    with pytest.raises(ArgumentError, match="exists"):
        predict(models / "fox", models / "fox.txt", out=out)
    assert out.read_text() == "mine"
    predict(models / "fox", models / "fox.txt", out=out, overwrite=True)
    assert out.read_text().startswith("position,symbol,bits")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.csv"]
    for bad, word in ((tmp_path / "a.txt", "ends with"), (out / "a.csv", "mine.csv is a file")):
        with pytest.raises(ArgumentError, match=word):
            predict(models / "fox", models / "fox.txt", out=bad)
    predict(models / "fox", models / "fox.txt", out=tmp_path / "new" / "place" / "a.csv")
    assert [path.name for path in (tmp_path / "new" / "place").iterdir()] == ["a.csv"]


def test_a_directory_with_a_layer_is_refused(models: Path, tmp_path: Path) -> None:
    gw.save(gw.GRU(2, 3), tmp_path / "layer")
    with pytest.raises(ModelError, match="holds a GRU"):
        predict(tmp_path / "layer", models / "classes.csv")
    with pytest.raises(ArgumentError, match="task is classify"):
        sample(models / "classes")


# The user's own cells.
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


def test_a_cell_that_cannot_be_read_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "my.py"
    file.write_text(MINE.replace("z = sigmoid(linear(x, h))", "z = 1 if h > 0 else 0"))
    with pytest.raises(CellError, match="line"):
        train("vowels", cell=str(file), epochs=1, progress=False)


# Ctrl-C.
@pytest.mark.slow(
    instead="test_interruption.py::test_ctrl_c_compares_the_trainings_that_are_finished"
)
@pytest.mark.skipif(sys.platform != "linux", reason="sends signals")
@pytest.mark.usefixtures("forked_python")
def test_ctrl_c_keeps_the_best_model_so_far(models: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ["--cell", "rnn", "--hidden", "5", "--epochs", "100000", "--out", str(out)]
    options += ["--design", "plain"]
    started = subprocess.Popen(
        [
            sys.executable,
            "-u",
            "-m",
            "gatewright",
            "train",
            str(models / "classes.csv"),
            *options,
        ],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # The tests may run with SIGINT ignored, and children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "COLUMNS": "200", "FORCE_COLOR": "1", "TTY_INTERACTIVE": "1"},
    )
    assert started.stderr is not None
    seen = ""
    deadline = time.monotonic() + 120
    while "loss 0." not in seen and "loss 1." not in seen and time.monotonic() < deadline:
        seen += started.stderr.read(1)  # the bar, once an epoch has ended
    started.send_signal(signal.SIGINT)
    output, errors = started.communicate(timeout=120)
    assert started.returncode == 0, output + errors
    assert "ended by hand" in output and "Traceback" not in errors
    assert len(predict(out, models / "classes.csv").columns["predicted"]) == 30
    assert "ended by hand" in (out / "README.md").read_text(encoding="utf-8")


def test_more_units_than_fit_into_the_memory_are_refused() -> None:
    for units in (10**7, 10**20):
        with pytest.raises(ArgumentError, match=rf"hidden_size is {units:,}; .* expected fewer"):
            make_plan("vowels", ["gru"], hidden_size=units, say=lambda line: None, reading={})
