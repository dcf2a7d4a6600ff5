"""`gw.convert` of `.keras` files that Keras 3 wrote: the same numbers; refusals; damaged files."""

from __future__ import annotations

import io
import json
import os
import random
import subprocess
import sys
import zipfile
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gatewright as gw
from example_count import example_count
from gatewright.deploy.incoming import hdf5_worker, keras_archive
from gatewright.errors import ArgumentError, GatewrightError, ModelError
from tolerances import close

h5py = pytest.importorskip("h5py", reason="it reads the weights (extra `keras`)")
filelock = pytest.importorskip("filelock", reason="torch brings it")
# Not imported here: it needs a backend, and is slow.
if find_spec("keras") is None:
    pytest.skip("keras, which writes the files, is not installed", allow_module_level=True)

SCRIPT = Path(__file__).parent / "keras_files.py"
#: The expressions in notes on merged directions.
MERGED: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "concat": lambda a, b: torch.cat([a, b], -1),
    "sum": torch.add,
    "ave": lambda a, b: (a + b) / 2,
    "mul": torch.mul,
}


#: What `keras_files.py` wrote, for `--quick`: to import Keras and to write them takes 5 s.
STORED = Path(__file__).parent / "stored" / "keras.zip"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """A folder with the files of `keras_files.py`, which one process of the tests writes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "keras_files"
    with filelock.FileLock(f"{folder}.lock"):
        if not (folder / "peer.keras").exists():  # the last one, of the documentation
            folder.mkdir(exist_ok=True)
            if pytestconfig.getoption("quick"):
                with zipfile.ZipFile(STORED) as archive:
                    archive.extractall(folder)
            else:
                done = subprocess.run(
                    [sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True
                )
                assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow(instead="test_layers_compute_what_keras_does")
def test_the_stored_files_are_those_that_are_written(files: Path, tmp_path: Path):
    """Zip a folder of `keras_files.py` anew if this fails: the weights are always the same."""
    with zipfile.ZipFile(STORED) as archive:
        archive.extractall(tmp_path)
    names = {path.name for path in files.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in sorted(name for name in names if name.endswith(".npz")):
        with np.load(files / name) as written_now, np.load(tmp_path / name) as stored:
            assert written_now.files == stored.files
            for key in stored.files:
                np.testing.assert_allclose(stored[key], written_now[key], rtol=1e-5, atol=1e-6)


@cache
def read(files: Path, name: str) -> tuple[Any, dict[str, Tensor]]:
    """The layers of a file, and the recorded input and outputs of its model."""
    layers = gw.convert(files / f"{name}.keras")
    for layer in layers.values():  # a kernel for every option would take seconds
        getattr(layer, "layer", layer).backend = "reference"
    with np.load(files / f"{name}.npz") as arrays:
        return layers, {key: torch.tensor(arrays[key]) for key in arrays.files}


def passed_on(layers: Any, name: str, x: Tensor) -> list[Tensor]:
    """The outputs of a layer as its file passes them on, by the notes on it."""
    with torch.no_grad():
        output, states = layers[name](x)
    h = states if isinstance(states, Tensor) else states[0]
    names = {"output": output, "h": h, "torch": torch}
    results = [
        eval(note.rpartition(": ")[2], names)
        for note in layers.notes[name]
        if "output" in note or "merge_mode" in note
    ]
    (result,) = results or [output]
    return [result] if isinstance(result, Tensor) else list(result)


@pytest.mark.parametrize("name", ["options", "activations", "directions"])
def test_layers_compute_what_keras_does(name: str, files: Path):
    layers, record = read(files, name)
    compared = []
    for layer in layers:
        parts = passed_on(layers, layer, record["x"])
        texts = [layer] if len(parts) == 1 else [f"{layer}{n}" for n in range(len(parts))]
        for text, part in zip(texts, parts, strict=True):
            close(part, record[text], text)
        compared += texts
    assert {*compared} == record.keys() - {"x"} and layers.left_out == ()


def test_the_notes_name_every_difference(files: Path):
    layers, _ = read(files, "options")
    assert layers.notes["rnn_no_bias"][0] == "has dropout=0.2 in training, which the layer does not"
    assert layers.notes["lstm_cell"] == ()
    directions, _ = read(files, "directions")
    assert directions.notes["concat_every"] == ()
    assert directions.notes["mul_last"] == ("has merge_mode='mul': h.prod(0)",)


def test_equations_of_torch_become_drop_ins(files: Path):
    layers, _ = read(files, "options")
    kinds = {name: type(layer) for name, layer in layers.items()}
    assert kinds["lstm_cell"] is gw.LSTM and kinds["gru_no_bias"] is gw.GRU
    assert kinds["rnn_no_bias"] is gw.RNN and kinds["lstm"] is gw.Recurrent
    assert layers["gru_cell"].reset == "before" and not layers["gru_no_bias"].bias


def test_a_stack_with_other_layers_in_it(files: Path):
    """Its weights are counted by class: a user's class of the same name is counted, not read."""
    layers, record = read(files, "stack")
    kinds = [type(layer) for layer in layers.values()]
    assert kinds == [gw.LSTM, gw.GRU, gw.GRU, gw.LSTM, gw.RNN]
    (dense, own) = layers.left_out
    assert dense.endswith("(Dense)") and own.endswith("(custom>LSTM)")
    x = torch.randn(2, 5, 3)
    output, _ = next(iter(layers.values()))(x)
    assert output.shape == (2, 5, 4) and record["y"].shape == (2, 5, 2)


def test_models_in_models_and_layers_of_the_same_name(files: Path):
    layers, record = read(files, "nested")
    assert list(layers) == ["inner/core", "core"] and len(layers.left_out) == 2
    with (
        zipfile.ZipFile(files / "nested.keras") as archive,
        h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as weights,
    ):
        table = torch.tensor(weights["layers/embedding/vars/0"][()])
        kernel, bias = (torch.tensor(weights[f"layers/dense/vars/{n}"][()]) for n in (0, 1))
    with torch.no_grad():
        output, _ = layers["inner/core"](nn.functional.embedding(record["x"], table))
        _, h = layers["core"](output)
        close(h[-1] @ kernel + bias, record["y"], "nested")


def test_padding_by_lengths_is_a_mask_at_the_end(files: Path):
    layers, record = read(files, "masked")
    ((name, layer),) = layers.items()
    output, _ = layer(record["x"], lengths=torch.tensor([2, 5]))
    close(output[0, :2], record["y"][0, :2], "before the padding")
    close(output[1], record["y"][1], "without padding")
    assert any("masks steps: pass lengths=" in note for note in layers.notes[name])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stacked_cells", r"stacked \(RNN\) runs a StackedRNNCells, which is not converted"),
        ("other_cells", "unlike .* has two directions that differ in more than their weights"),
        ("own_activation", r"own \(LSTM\) has activation=an object, which is not converted"),
        ("subclassed", "is a custom>Subclassed, whose layers are not in the file"),
        ("dense", "holds no LSTM, GRU or SimpleRNN"),
    ],
)
def test_what_is_not_converted_is_refused_by_name(name: str, message: str, files: Path):
    with pytest.raises(ArgumentError, match=message):
        gw.convert(files / f"{name}.keras")


# Damage.
def parts_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path: Path, parts: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return path


def with_weights(parts: dict[str, bytes], change: Callable[[Any], None]) -> dict[str, bytes]:
    content = io.BytesIO(parts["model.weights.h5"])
    with h5py.File(content, "r+") as file:
        change(file)
    return parts | {"model.weights.h5": content.getvalue()}


def with_options(parts: dict[str, bytes], **options: Any) -> dict[str, bytes]:
    """The parts of a file whose first recurrent layer has other options."""
    config = json.loads(parts["config.json"])
    layer = next(entry for entry in config["config"]["layers"] if entry["class_name"] == "LSTM")
    layer["config"] |= options
    return parts | {"config.json": json.dumps(config).encode()}


PLACE = "layers/lstm/cell/vars/0"


def replaced(file: Any, **options: Any) -> None:
    del file[PLACE]
    file.create_dataset(PLACE, **options)


def linked(file: Any, link: Any) -> None:
    del file[PLACE]
    file[PLACE] = link


CHANGES: dict[str, tuple[Callable[[dict[str, bytes]], dict[str, bytes]], str]] = {
    "no config": (lambda p: {"metadata.json": p["metadata.json"]}, "it holds no config.json"),
    "not JSON": (lambda p: p | {"config.json": b"{"}, "config.json is not JSON"),
    "deep": (lambda p: p | {"config.json": b"[" * 10**5}, "config.json is not JSON"),
    "a list": (lambda p: p | {"config.json": b"[]"}, "config.json is a list of 0; expected"),
    "no weights": (lambda p: p | {"model.weights.h5": b""}, "damaged: model.weights.h5"),
    "units": (lambda p: with_options(p, units=10**9), r"have shape \(3, 16\); expected"),
    "units of a text": (lambda p: with_options(p, units="4"), "units is '4'; expected a whole"),
    "another layer's": (lambda p: with_options(p, name="other"), "belong to lstm.*expected other"),
    "shape": (
        lambda p: with_weights(p, lambda file: replaced(file, data=np.ones((3, 8), "f4"))),
        r"have shape \(3, 8\); expected \(any, 16\)",
    ),
    "huge": (
        lambda p: with_weights(p, lambda file: replaced(file, shape=(10**9, 16), dtype="f4")),
        "have 64,000,000,000 bytes, and the file has",
    ),
    "compressed": (
        lambda p: with_weights(
            p, lambda file: replaced(file, shape=(10**9, 16), dtype="f4", compression="gzip")
        ),
        "are no plain table",
    ),
    "whole numbers": (
        lambda p: with_weights(p, lambda file: replaced(file, data=np.ones((3, 16), "i4"))),
        "are no plain table",
    ),
    "infinite": (
        lambda p: with_weights(p, lambda file: replaced(file, data=np.full((3, 16), np.inf, "f4"))),
        "are not finite",
    ),
    "a link": (
        lambda p: with_weights(p, lambda file: linked(file, h5py.ExternalLink("/etc/x.h5", "/a"))),
        f"it holds no weights {PLACE}",
    ),
    "outside": (
        lambda p: with_weights(
            p,
            lambda file: replaced(
                file, shape=(3, 16), dtype="f4", external=[("/etc/hostname", 0, 192)]
            ),
        ),
        "are no plain table",
    ),
}


def run_here(command: Any, *, input: bytes, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Read HDF5 in this process, in a tenth of the time that one of its own takes."""
    try:
        output = io.BytesIO()
        np.savez(output, **hdf5_worker.read_cells(input))
    except OSError as error:
        return subprocess.CompletedProcess(command, 1, b"", str(error).encode())
    return subprocess.CompletedProcess(command, 0, output.getvalue(), b"")


@pytest.mark.parametrize("name", CHANGES)
def test_damaged_files_are_refused(
    name: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(keras_archive.subprocess, "run", run_here)
    change, message = CHANGES[name]
    path = written(tmp_path / "peer.keras", change(parts_of(files / "stack.keras")))
    with pytest.raises(ModelError, match=message):
        gw.convert(path)


def test_files_of_earlier_versions_and_of_other_kinds_are_refused(files: Path, tmp_path: Path):
    parts = parts_of(files / "stack.keras") | {"metadata.json": b'{"keras_version": "2.15.0"}'}
    with pytest.raises(ArgumentError, match=r"was written by Keras 2.15.0"):
        gw.convert(written(tmp_path / "old.keras", parts))
    (tmp_path / "text.keras").write_text("nothing of the kind")
    with pytest.raises(ModelError, match="is damaged, or no file of Keras 3"):
        gw.convert(tmp_path / "text.keras")
    with pytest.raises(ArgumentError, match=r"cannot read .*No such file"):
        gw.convert(tmp_path / "missing.keras")


def test_an_archive_that_unpacks_without_end_is_refused(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(keras_archive, "MAX_CONFIG_BYTES", 10**6)
    parts = parts_of(files / "stack.keras")
    for name in ("config.json", "model.weights.h5"):
        bomb = written(
            tmp_path / "peer.keras", parts | {name: bytes(5 * 10**7)}, zipfile.ZIP_DEFLATED
        )
        with pytest.raises(ModelError, match=f"{name} unpacks to more than"):
            gw.convert(bomb)


def test_random_damage_raises_errors_of_ours(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Bytes are changed in the weights, in the configuration, or in the archive."""
    monkeypatch.setattr(keras_archive, "MAX_SECONDS", 2.0)
    parts = parts_of(files / "masked.keras")
    draw, path = random.Random(0), tmp_path / "peer.keras"
    refused = 0
    for _ in range(example_count(6)):
        name = draw.choice(["config.json", "model.weights.h5", None])
        if name is None:
            content = (files / "masked.keras").read_bytes()
            path.write_bytes(content[: draw.randrange(len(content))])
        else:
            damaged = bytearray(parts[name])
            for _ in range(draw.randrange(1, 9)):
                # The first bytes of HDF5 have the structure, the end has the numbers.
                damaged[draw.randrange(min(len(damaged), 2048))] = draw.randrange(256)
            written(path, parts | {name: bytes(damaged)})
        try:
            gw.convert(path)
        except GatewrightError:
            refused += 1
    assert refused


@pytest.mark.parametrize(
    ("program", "seconds", "message"),
    [
        ("while True: pass", 0.2, "could not be read within"),
        ("import os; os.abort()", 30.0, "the library of HDF5 crashed"),
    ],
)
def test_a_library_that_hangs_or_crashes_does_no_harm(
    program: str, seconds: float, message: str, files: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(keras_archive, "MAX_SECONDS", seconds)
    command = [sys.executable, "-c", program]
    monkeypatch.setattr(keras_archive, "module_command", lambda module: command)
    with pytest.raises(ModelError, match=message):
        gw.convert(files / "masked.keras")
