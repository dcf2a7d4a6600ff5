"""`gw.export`: files of any usable name, and a reason for every option that would be dropped."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatewright as gw
from exported import GCC, NODE, STRICT, python_scope
from gatewright.deploy.network import exported_network
from gatewright.errors import ArgumentError, ModelError
from gatewright.exports import javascript
from gatewright.training.ensemble import Ensemble
from test_round_trip import exit_code
from whole_models import WHOLE, forecast_of, model_of, series

STEMS = {
    "Filter": "filter",
    "vowels-20261128-192552": "vowels_20261128_192552",
    "wake-word": "wake_word",
    "1": "model_1",
    "a.b": "a_b",
    "two words": "two_words",
    "für": "f_r",
}


@pytest.mark.skipif(GCC is None, reason="gcc is not installed")
def test_files_of_any_name_compile_from_another_directory(tmp_path: Path) -> None:
    layer = gw.GRU(1, 1)
    sources = []
    for stem, name in STEMS.items():
        header, source = gw.export(layer, tmp_path / "programs" / f"{stem}.c")
        assert (header.name, source.name) == (f"{stem}.h", f"{stem}.c")
        assert f"void {name}_run(" in header.read_text()
        sources.append(str(source))
    (tmp_path / "elsewhere").mkdir()
    command = [str(GCC), *STRICT, "-O0", "-c", *sources]
    built = subprocess.run(command, cwd=tmp_path / "elsewhere", capture_output=True, text=True)
    assert built.returncode == 0, built.stderr


@pytest.mark.skipif(GCC is None, reason="gcc is not installed")
def test_a_file_with_capitals_of_a_layer_in_bfloat16_replays(tmp_path: Path) -> None:
    gw.export(gw.GRU(2, 2).bfloat16(), tmp_path / "Wake-Word.c")
    command = [str(GCC), *STRICT, "-DWAKE_WORD_TEST", "Wake-Word.c", "-o", "replay", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    subprocess.run([str(tmp_path / "replay")], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (5, "the path is a int; give a text or a Path"),
        (None, "the path is a NoneType"),
        (b"a.c", "the path is a bytes; give a text or a Path"),
        ("", "the path is ''; give the name of a file"),
        ("~/zz.c", "only a shell reads ~ as the home directory: give os.path.expanduser"),
        ("numpy.py", "numpy.py would hide the module numpy"),
        ("base64.py", "would hide the module base64"),
        ("math.c", "math.c needs a header math.h, and C has one of that name"),
        ("Math.c", "needs a header Math.h"),
        ('a"b.c', "cannot be included in C"),
        ("a\nb.c", "cannot be included in C"),
        ("gru.h", "a header is written with its .c file: name that"),
        ("gru.d.ts", "the types are written with the .js file"),
        ("gru.pyy", "did you mean .py?"),
    ],
)
def test_paths_that_no_program_can_have(
    path: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError) as caught:
        gw.export(gw.GRU(1, 1), path)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


X = torch.zeros(2, 3, 1)


@pytest.mark.parametrize(
    ("ending", "options", "message"),
    [
        ("html", {"values": True}, "values (--values) is for .js and .py files"),
        ("html", {"streaming": True}, "streaming (--streaming) is for .c, .js, .py and .onnx"),
        ("html", {"network_only": True}, "network_only (--network-only) is for"),
        ("html", {"example": X}, "example is for .onnx files"),
        ("html", {"lengths": True}, "lengths is for .onnx files"),
        ("html", {"dynamic_shapes": {}}, "dynamic_shapes is for .onnx files"),
        ("html", {"precision": "int8"}, "precision (--precision) is int8"),
        ("c", {"values": True}, "values (--values) is for .js and .py files"),
        ("c", {"lengths": True}, "lengths is for .onnx files"),
        ("js", {"example": X}, "example is for .onnx files"),
        ("py", {"data": X}, "data (--data) is for .html files"),
        ("c", {"network_only": True}, "leaves out the counts of a text model, and this is none"),
        ("js", {"network_only": True}, "leaves out the counts of a text model"),
        ("py", {"overwrite": "no"}, "overwrite='no'; expected True or False"),
        ("py", {"values": "yes"}, "values='yes'; expected True or False"),
        ("c", {"streaming": "no"}, "streaming='no'; expected True or False"),
        ("onnx", {"lengths": [3, 4]}, "lengths=[3, 4]; expected True or False"),
        ("onnx", {"network_only": 1}, "network_only=1; expected True or False"),
    ],
)
def test_no_option_of_a_layer_is_dropped(
    ending: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ArgumentError) as caught:
        gw.export(gw.GRU(1, 1), tmp_path / f"gru.{ending}", **options)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("build", "ending", "options", "message"),
    [
        (WHOLE["both_ways"], "c", {"streaming": True}, "cannot answer event by event: "),
        (lambda: model_of("tag"), "py", {"network_only": True}, "and this is none"),
        (lambda: model_of("tag"), "onnx", {"network_only": True}, "and this is none"),
        (lambda: model_of("text"), "onnx", {"lengths": True}, "lengths is True, and the task"),
        (lambda: forecast_of(series()), "onnx", {"lengths": True}, "lengths is True, and the task"),
        (
            lambda: Ensemble([model_of("tag"), model_of("tag", seed=1)]),
            "onnx",
            {"streaming": True},
            "each of its 2 networks, gw.export(model.members[0].recurrent, path, streaming=True)",
        ),
        (
            lambda: Ensemble([model_of("tag"), model_of("tag", seed=1)]),
            "onnx",
            {"precision": "int8"},
            "gw.export(model.members[0].recurrent, path, precision='int8') and so on",
        ),
        (lambda: model_of("tag", network="window"), "onnx", {"precision": "int8"}, "write a .c"),
    ],
)
def test_no_option_of_a_model_is_dropped(
    build: Callable[[], Any], ending: str, options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript")
    with pytest.raises(ArgumentError) as caught:
        gw.export(build(), tmp_path / f"model.{ending}", **options)
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["c", "js", "py", "onnx", "html"])
def test_weights_that_are_no_numbers_are_not_exported(ending: str, tmp_path: Path) -> None:
    layer = gw.GRU(1, 1)
    layer.weight_hh_l0.data[0, 0] = torch.nan
    precisions = ["float32"] if ending == "html" else ["float32", "int8"]
    for precision in precisions:
        with pytest.raises(ModelError, match=r"weight_hh_l0.* not finite"):
            gw.export(layer, tmp_path / f"gru.{ending}", precision=precision)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_page_of_a_layer_in_another_dtype(dtype: torch.dtype, tmp_path: Path) -> None:
    layer = gw.GRU(1, 2).to(dtype)
    (path,) = gw.export(layer, tmp_path / "gru.html")
    assert layer.weight_hh_l0.dtype == dtype
    (same,) = gw.export(layer.float(), tmp_path / "other" / "gru.html")
    assert path.read_bytes() == same.read_bytes()


def test_a_backend_that_is_set_to_no_backend() -> None:
    layer = gw.GRU(1, 2)
    layer(torch.zeros(3, 1, 1))
    layer.backend = "int4"
    for call in (lambda: layer(torch.zeros(3, 1, 1)), layer.stepper):
        with pytest.raises(ArgumentError, match="backend='int4' is not known; did you mean int8"):
            call()


def test_the_precision_of_a_prediction_is_that_of_all_networks() -> None:
    model = Ensemble([model_of("classify"), model_of("classify", seed=3)])
    draw = np.random.default_rng(0)
    sequences = [draw.normal(size=(9, 2)).astype(np.float32) for _ in range(3)]
    whole = model.predict(sequences)
    rounded = model.predict(sequences, precision="int8")
    for member in model.members:
        assert member.recurrent.backend == "auto"
        member.recurrent.backend = "int8"
    np.testing.assert_array_equal(model.predict(sequences), rounded)
    np.testing.assert_array_equal(model.predict(sequences, precision="float32"), whole)
    assert np.abs(whole - rounded).max() > 0.0
    with pytest.raises(ArgumentError, match="precision is 'int9'"):
        model.predict(sequences, precision="int9")


@pytest.mark.parametrize("name", ["py", ".py", "python"])
def test_a_language_is_also_named_by_its_ending(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gw.save(gw.GRU(1, 1), tmp_path / "gru")
    command = ["gatewright", "export", str(tmp_path / "gru"), "--to", name]
    assert exit_code(command, monkeypatch) == 0
    assert (tmp_path / "gru.py").is_file()


def test_the_command_prints_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gw.save(gw.GRU(1, 1), tmp_path / "gru")
    command = ["gatewright", "export", str(tmp_path / "gru"), "--to", "c", "--json"]
    assert exit_code(command, monkeypatch) == 0
    files = [tmp_path / "gru.h", tmp_path / "gru.c"]
    sizes = [{"path": str(file), "bytes": file.stat().st_size} for file in files]
    assert json.loads(capsys.readouterr().out) == {"files": sizes}


def test_the_command_names_its_own_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gw.save(gw.GRU(1, 1), tmp_path / "gru")
    command = ["gatewright", "export", str(tmp_path / "gru"), "--to", "c"]
    assert exit_code([*command, "--values"], monkeypatch) == 2
    assert "(--values)" in capsys.readouterr().err
    assert exit_code([*command, "--out", str(tmp_path / "gru.h")], monkeypatch) == 2
    assert "a header is written with its .c file" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("horizon", [1, 3])
def test_values_known_ahead_come_in_rows_or_in_one(horizon: int, tmp_path: Path) -> None:
    model = forecast_of(series(kind="known"), horizon=horizon)
    network = exported_network(model, "model")
    size = network.further[0].size
    scope, (record,) = python_scope(network), network.records
    flat = record.further["known"][-1]
    rows = flat.reshape(horizon, -1)
    expected = scope["run"](record.events, flat)
    np.testing.assert_array_equal(scope["run"](record.events, rows), expected)
    streams = scope["Stream"](), scope["Stream"]()
    for event in record.events:
        alone = streams[0].step(event, flat)
        np.testing.assert_array_equal(streams[1].step(event, rows), alone)
    batch = scope["Stream"]().step(np.stack([event, event]), np.stack([flat, flat]))
    assert len(batch) == 2
    with pytest.raises(ValueError, match="known has shape"):
        scope["run"](record.events, rows[:, 1:])
    if NODE is None:
        return
    (tmp_path / "model.mjs").write_text(javascript.module(network))
    data = json.dumps([record.events.tolist(), flat.tolist(), rows.tolist()])
    (tmp_path / "main.mjs").write_text(
        f'import {{ run, create }} from "./model.mjs";\nconst [xs, flat, rows] = {data};\n'
        "const stream = create(), answers = xs.map((x) => stream.step(x, rows)).slice(-1);\n"
        "answers.push(run(xs, flat), run(xs, rows));\n"
        "try { run(xs, [...rows, rows[0]]); } catch (error) { answers.push(error.message); }\n"
        "console.log(JSON.stringify(answers.map((y) => y.slice ? y.slice() : y).map("
        "(y) => typeof y === 'string' ? y : Array.from(y))));\n"
    )
    ran = subprocess.run([NODE, "main.mjs"], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    step, from_row, from_rows, message = json.loads(ran.stdout)
    assert step == from_row == from_rows
    assert message == f"expected {horizon} rows of {size // horizon} numbers"
    np.testing.assert_allclose(from_row, expected.ravel(), rtol=1e-4, atol=1e-5)
