"""Exports: C, JavaScript and NumPy compute what the layer or the model computes."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

import gatewright as gw
from gatewright.cells import CELLS
from gatewright.data import Recordings, Tagged, Text
from gatewright.designs.design import DESIGNS, PLAIN, Design
from gatewright.errors import ArgumentError
from gatewright.exports import c, javascript, python
from gatewright.exports.network import ExportedNetwork, network_of_layer
from gatewright.tasks.classify import Classify
from gatewright.tasks.tag import Tag
from gatewright.tasks.text.task import NextSymbol
from gatewright.training.ensemble import Ensemble
from gatewright.training.model import Model
from gatewright.training.networks import NETWORKS
from random_cells import Program, build, programs

#: The largest difference, as a share of 1 + the value.
LIMIT = 1e-5
NODE = shutil.which("node")
GCC = shutil.which("gcc")
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
#: Runs the two streams of every module in turn, and prints the outputs.
RUN_ALL = """
import fs from "fs";
const answers = {};
for (const [name, data] of Object.entries(JSON.parse(fs.readFileSync("records.json")))) {
  const { create } = await import(`./${name}.js`);
  const stream = create();
  answers[name] = data.x.map((x, t) => {
    if (t === data.x.length / 2) stream.reset();
    return Array.from(stream.step(x, ...data.further.map((rows) => rows[t])));
  });
}
console.log(JSON.stringify(answers));
"""


def layer_of(cell: Any, *, layers: int = 2, **options: Any) -> gw.Recurrent:
    """A layer with weights that matter."""
    torch.manual_seed(0)
    layer = gw.Recurrent(cell, 6, 6, num_layers=layers, backend="reference", **options)
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return layer


def off(outputs: Any, network: ExportedNetwork, steps: int | None = None) -> float:
    """The largest difference of outputs from the recorded ones, on the first steps of a stream."""
    expected = network.record.outputs[:steps]
    difference = np.abs(np.asarray(outputs)[:steps] - expected)
    return float((difference / (1.0 + np.abs(expected))).max())


def events(network: ExportedNetwork) -> Any:
    return (
        network.record.events[:, 0].astype(int) if network.reads_symbols else network.record.events
    )


def from_python(network: ExportedNetwork) -> np.ndarray:
    """The outputs of the exported Python, with a reset between the streams."""
    scope: dict[str, Any] = {}
    exec(compile(python.source(network), "exported", "exec"), scope)
    stream, half = scope["Stream"](), network.record.steps // 2
    outputs = []
    for part in (slice(0, half), slice(half, None)):
        stream.reset()
        further = [rows[part] for rows in network.record.further.values()]
        outputs.append(stream.run(events(network)[part], *further))
    return np.concatenate(outputs)


def from_javascript(networks: Sequence[ExportedNetwork], folder: Path) -> dict[str, Any]:
    """The outputs of exported modules, all in one process."""
    records = {}
    for network in networks:
        (folder / f"{network.name}.js").write_text(javascript.module(network))
        record = network.record
        further = [rows.tolist() for rows in record.further.values()]
        records[network.name] = {"x": events(network).tolist(), "further": further}
    (folder / "records.json").write_text(json.dumps(records))
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "run_all.js").write_text(RUN_ALL)
    run = subprocess.run([str(NODE), "run_all.js"], cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def run_replay(network: ExportedNetwork, folder: Path, *flags: str) -> None:
    """Compile the replay test of exported C, and run it."""
    for ending, text in c.source_files(network).items():
        (folder / f"{network.name}{ending}").write_text(text)
    program = folder / f"{network.name}.test"
    define = f"-D{network.name.upper()}_TEST"
    source = f"{network.name}.c"
    command = [str(GCC), *STRICT, *flags, define, source, "-o", str(program), "-lm"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    run = subprocess.run([str(program)], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert float(run.stdout.rsplit(" ", 1)[1]) < LIMIT


@pytest.fixture(scope="module")
def networks() -> dict[str, ExportedNetwork]:
    """Every cell that ships, in two layers."""
    return {name: network_of_layer(layer_of(name), name) for name in CELLS}


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_as_python(name: str, networks: dict[str, ExportedNetwork]) -> None:
    assert off(from_python(networks[name]), networks[name]) < LIMIT


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_every_cell_as_javascript(networks: dict[str, ExportedNetwork], tmp_path: Path) -> None:
    outputs = from_javascript(list(networks.values()), tmp_path)
    assert {name for name in CELLS if not off(outputs[name], networks[name]) < LIMIT} == set()


@pytest.mark.skipif(GCC is None, reason="gcc is not installed")
@pytest.mark.parametrize("name", CELLS)
def test_every_cell_as_c(name: str, networks: dict[str, ExportedNetwork], tmp_path: Path) -> None:
    run_replay(networks[name], tmp_path, "-O0")


@pytest.mark.skipif(GCC is None, reason="gcc is not installed")
@pytest.mark.parametrize("name", ["lstm", "gru_d", "layer_norm_lstm", "mut2"])
def test_c_under_the_sanitizers(
    name: str, networks: dict[str, ExportedNetwork], tmp_path: Path
) -> None:
    run_replay(networks[name], tmp_path, "-O2", "-Wconversion", "-fsanitize=address,undefined")


@settings(
    max_examples=12,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@hypothesis.given(programs())
def test_random_cells_as_python(program: Program) -> None:
    torch.manual_seed(0)
    try:
        layer = gw.Recurrent(build(program), 5, 6, backend="reference")
    except gw.SizeError:
        hypothesis.reject()
    network = network_of_layer(layer, "model", values=True)
    hypothesis.assume(bool(np.isfinite(network.record.outputs).all()))
    # Some random cells are chaotic: what rounding changes grows from step to step.
    assert off(from_python(network), network, 8) < 1e-4


@pytest.mark.skipif(NODE is None or GCC is None, reason="node or gcc is not installed")
def test_random_cells_as_javascript_and_c(tmp_path: Path) -> None:
    drawn: list[ExportedNetwork] = []

    @hypothesis.seed(7)
    @settings(
        max_examples=10,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(programs())
    def draw(program: Program) -> None:
        layer = gw.Recurrent(build(program), 5, 6, backend="reference")
        network = network_of_layer(layer, f"cell{len(drawn)}")
        if np.isfinite(network.record.outputs).all():
            drawn.append(network)

    draw()
    outputs = from_javascript(drawn, tmp_path)
    for network in drawn:
        assert off(outputs[network.name], network, 8) < 1e-4
        run_replay(network, tmp_path, "-O1", "-fsanitize=address,undefined")


def test_the_values_of_a_step_are_those_of_the_trace() -> None:
    layer = layer_of("lstm")
    network = network_of_layer(layer, "model", values=True)
    scope: dict[str, Any] = {}
    exec(compile(python.source(network), "exported", "exec"), scope)
    stream, x = scope["Stream"](), network.record.events[:9]
    stream.run(x)
    traces = layer.trace(torch.from_numpy(x)[:, None])
    for name, value in stream.values.items():
        place, gate = name.split(".", 1)
        expected = traces[f"{place}.forward.{gate}"][-1, 0]
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)
    assert "l1.forget" in stream.values


def test_a_batch_of_streams_in_python_and_a_state_that_is_put_back() -> None:
    network = network_of_layer(layer_of("gru"), "model")
    scope: dict[str, Any] = {}
    exec(compile(python.source(network), "exported", "exec"), scope)
    stream, half = scope["Stream"](), network.record.steps // 2
    both = np.stack([network.record.events[:half], network.record.events[half:]], 1)
    first = stream.run(both[:20])
    state = {name: value.copy() for name, value in stream.state.items()}
    rest = stream.run(both[20:])
    stream.state = state
    np.testing.assert_array_equal(stream.run(both[20:]), rest)
    together = np.concatenate([first, rest])
    assert off(together.transpose(1, 0, 2).reshape(network.record.outputs.shape), network) < LIMIT


def model_of(kind: str, design: Design = PLAIN, network: str = "lstm") -> Model:
    draw = np.random.Generator(np.random.PCG64(0))
    sequences = tuple(3.0 + draw.normal(size=(9, 2)).astype(np.float32) for _ in range(6))
    task: Any
    if kind == "tag":
        labels = tuple(draw.integers(0, 3, size=9) for _ in range(6))
        data: Any = Tagged(sequences, labels, ("a", 'quote"\\', "ü"))
        task = Tag.of(data)
    elif kind == "classify":
        data = Recordings(sequences, np.arange(6) % 2, ("no", "yes"))
        task = Classify.of(data)
    else:
        data = Text((np.arange(300) % 5).astype(np.uint8), tuple('ab"\n?'))
        task = replace(NextSymbol.of(data), counted=kind == "counted text")
    torch.manual_seed(0)
    model = Model(task, network, NETWORKS[network].build(task, 5, design)).eval()
    model.fit_scaling(data)
    return model


@pytest.mark.parametrize("kind", ["tag", "classify", "text"])
def test_a_model_goes_out_whole(kind: str, tmp_path: Path) -> None:
    model = model_of(kind)
    files = [
        file
        for ending in (".py", ".js", ".c")
        for file in gw.export(model, tmp_path / f"Wake word{ending}")
    ]
    assert [file.name for file in files] == [
        "Wake word.py",
        "Wake word.js",
        "Wake word.d.ts",
        "Wake word.h",
        "Wake word.c",
    ]
    from gatewright.deploy.stream import stream_network

    network = stream_network(model, "wake_word")
    assert off(from_python(network), network) < LIMIT
    np.testing.assert_allclose(network.record.outputs.sum(-1), 1.0, rtol=1e-5)
    if NODE:
        assert off(from_javascript([network], tmp_path)["wake_word"], network) < LIMIT
    if GCC:
        run_replay(network, tmp_path, "-O1", "-fsanitize=address,undefined")


def test_a_classification_by_the_exported_stream_is_that_of_the_model() -> None:
    from gatewright.deploy.stream import stream_network

    model = model_of("classify")
    scope: dict[str, Any] = {}
    source = python.source(stream_network(model, "model"))
    exec(compile(source, "exported", "exec"), scope)
    sequences = [
        np.random.default_rng(k).normal(size=(4 + k, 2)).astype(np.float32) for k in range(3)
    ]
    stream = scope["Stream"]()
    for sequence, expected in zip(sequences, model.predict(sequences), strict=True):
        stream.reset()
        np.testing.assert_allclose(stream.run(sequence)[-1], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: gw.GRU(3, 4, bidirectional=True), "the layer is bidirectional"),
        (lambda: model_of("classify", DESIGNS["both-ways"]), "needs a whole sequence"),
        (lambda: model_of("classify", Design(readout=("mean",))), "needs a whole sequence"),
        (lambda: model_of("classify", network="window"), "has no recurrent layer"),
        (lambda: Ensemble([model_of("tag"), model_of("tag")]), "is the mean of 2 networks"),
        (lambda: torch.nn.Linear(2, 3), "a Linear cannot be exported"),
        (lambda: model_of("counted text"), "is mixed with counts of its training text"),
    ],
)
def test_what_cannot_go_out_is_refused(model: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=message):
        gw.export(model(), tmp_path / "model.c")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unless_asked(tmp_path: Path) -> None:
    gw.export(gw.GRU(2, 3), tmp_path / "model.c")
    before = (tmp_path / "model.c").read_text()
    (tmp_path / "model.h").unlink()
    with pytest.raises(ArgumentError, match=r"model\.c"):
        gw.export(gw.GRU(2, 5), tmp_path / "model.c")
    assert (tmp_path / "model.c").read_text() == before and not (tmp_path / "model.h").exists()
    gw.export(gw.GRU(2, 5), tmp_path / "model.c", overwrite=True)
    assert (tmp_path / "model.c").read_text() != before
    with pytest.raises(ArgumentError, match=r"expected \.c, \.js, \.py"):
        gw.export(gw.GRU(2, 3), tmp_path / "model.cpp")
