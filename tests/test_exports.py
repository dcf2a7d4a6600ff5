"""Exports: C, JavaScript and NumPy compute what the layer or the model computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

import gatewright as gw
from exported import (
    GCC,
    LIMIT,
    NODE,
    from_javascript,
    from_python,
    off,
    python_scope,
    run_replay,
    worst,
)
from gatewright.cells import CELLS
from gatewright.errors import ArgumentError
from gatewright.exports.network import ExportedNetwork, network_of_layer
from random_cells import Program, build, programs
from whole_models import model_of


def is_finite(network: ExportedNetwork) -> bool:
    """True if the recorded outputs are numbers."""
    return all(np.isfinite(record.outputs).all() for record in network.records)


def layer_of(cell: Any, *, layers: int = 2, **options: Any) -> gw.Recurrent:
    """A layer with weights that matter."""
    torch.manual_seed(0)
    layer = gw.Recurrent(cell, 6, 6, num_layers=layers, backend="reference", **options)
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return layer


@pytest.fixture(scope="module")
def networks() -> dict[str, ExportedNetwork]:
    """Every cell that ships, in two layers."""
    return {name: network_of_layer(layer_of(name), name) for name in CELLS}


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_as_python(name: str, networks: dict[str, ExportedNetwork]) -> None:
    assert worst(networks[name], from_python(networks[name])) < LIMIT


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_every_cell_as_javascript(networks: dict[str, ExportedNetwork], tmp_path: Path) -> None:
    answers = from_javascript(list(networks.values()), tmp_path)
    assert {name for name in CELLS if not worst(networks[name], answers[name]) < LIMIT} == set()


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
    hypothesis.assume(is_finite(network))
    # Some random cells are chaotic: what rounding changes grows from step to step.
    assert worst(network, from_python(network), 8) < 1e-4


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
        if is_finite(network):
            drawn.append(network)

    draw()
    answers = from_javascript(drawn, tmp_path)
    for network in drawn:
        assert worst(network, answers[network.name], 8) < 1e-4
        run_replay(network, tmp_path, "-O1", "-fsanitize=address,undefined")


def test_the_values_of_a_step_are_those_of_the_trace() -> None:
    layer = layer_of("lstm")
    network = network_of_layer(layer, "model", values=True)
    stream, x = python_scope(network)["Stream"](), network.records[0].events[:9]
    stream.run(x)
    traces = layer.trace(torch.from_numpy(x)[:, None])
    for name, value in stream.values.items():
        place, gate = name.split(".", 1)
        expected = traces[f"{place}.forward.{gate}"][-1, 0]
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)
    assert "l1.forget" in stream.values


def test_a_state_that_is_put_back() -> None:
    network = network_of_layer(layer_of("gru"), "model")
    stream, x = python_scope(network)["Stream"](), network.records[0].events
    stream.run(x[:20])
    state = {name: value.copy() for name, value in stream.state.items()}
    rest = stream.run(x[20:])
    stream.state = state
    np.testing.assert_array_equal(stream.run(x[20:]), rest)
    assert off(rest, network.records[0].outputs[20:]) < LIMIT


@pytest.mark.parametrize("kind", ["tag", "text"])
def test_the_names_of_the_files(kind: str, tmp_path: Path) -> None:
    model = model_of(kind)
    files = [
        file.name
        for ending in (".py", ".js", ".c")
        for file in gw.export(model, tmp_path / f"Wake word{ending}")
    ]
    assert files == [
        "Wake word.py",
        "Wake word.js",
        "Wake word.d.ts",
        "Wake word.h",
        "Wake word.c",
    ]
    assert "wake_word_step" in (tmp_path / "Wake word.h").read_text()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: torch.nn.Linear(2, 3), "a Linear cannot be exported.*gw.convert.*export each of"),
        (lambda: torch.nn.LSTM(2, 3), r"a LSTM cannot be .*: make it .* gw.convert\(module\)"),
        (lambda: None, "None cannot be exported; .* give what gw.load or gw.train returned"),
        (lambda: "vplain", r"'vplain' cannot be .*load it first: gw.export\(gw.load\('vplain'\), "),
        (lambda: gw.cells.LSTM, r"a LSTM .*: gw.Recurrent\(cell, input_size, hidden_size\)"),
        (lambda: gw.cells.LSTM(), r"a LSTM .*: gw.Recurrent\(cell, input_size, hidden_size\)"),
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
