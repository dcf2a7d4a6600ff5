"""Exports: C, JavaScript and NumPy compute what the layer or the model computes."""

from __future__ import annotations

import keyword
import linecache
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

import gatewright as gw
from example_count import example_count
from exported import (
    GCC,
    LIMIT,
    NODE,
    LazyNetworks,
    from_javascript,
    from_python,
    off,
    python_scope,
    run_replay,
    worst,
)
from gatewright.cells import CELLS
from gatewright.errors import ArgumentError
from gatewright.exports import c, javascript, python
from gatewright.exports.input_names import printed_names
from gatewright.exports.network import ExportedNetwork, network_of_layer
from gatewright.language.signature import RESERVED
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
def networks() -> LazyNetworks:
    """Every cell that ships, in two layers."""
    return LazyNetworks(CELLS, lambda name: network_of_layer(layer_of(name), name))


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_as_python(name: str, networks: LazyNetworks) -> None:
    assert worst(networks[name], from_python(networks[name])) < LIMIT


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_every_cell_as_javascript(networks: LazyNetworks, tmp_path: Path) -> None:
    answers = from_javascript(list(networks.values()), tmp_path)
    assert {name for name in CELLS if not worst(networks[name], answers[name]) < LIMIT} == set()


@pytest.mark.skipif(GCC is None, reason="gcc is not installed")
@pytest.mark.parametrize("name", CELLS)
def test_every_cell_as_c(name: str, networks: LazyNetworks, tmp_path: Path) -> None:
    run_replay(networks[name], tmp_path, "-O0")


@pytest.mark.slow(instead="test_random_cells_as_javascript_and_c")
@pytest.mark.skipif(GCC is None, reason="gcc is not installed")
@pytest.mark.parametrize("name", ["lstm", "gru_d", "layer_norm_lstm", "mut2"])
def test_c_under_the_sanitizers(name: str, networks: LazyNetworks, tmp_path: Path) -> None:
    run_replay(networks[name], tmp_path, "-O2", "-Wconversion", "-fsanitize=address,undefined")


@settings(
    max_examples=example_count(12),
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
    with np.errstate(over="ignore", invalid="ignore"):  # of values that no output reads
        answers = from_python(network)
    # Some random cells are chaotic: what rounding changes grows from step to step.
    assert worst(network, answers, 8) < 1e-4


@pytest.mark.skipif(NODE is None or GCC is None, reason="node or gcc is not installed")
def test_random_cells_as_javascript_and_c(tmp_path: Path) -> None:
    drawn: list[ExportedNetwork] = []

    @hypothesis.seed(7)
    @settings(
        max_examples=example_count(10),
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


# Further inputs with names that the programs use.
def cell_with_inputs(names: Sequence[str]) -> type[gw.Cell]:
    """A cell whose every further input has an effect of its own."""
    total = " + ".join(f"{k + 1} * {name}" for k, name in enumerate(names))
    text = f"""
class Odd(gw.Cell):
    sizes = {dict.fromkeys(names, 1)}

    def step(cell, event, unit, *, {", ".join(names)}):
        return gw.state(unit=gw.tanh(gw.linear(event, unit) + 0.01 * ({total})))
"""
    scope: dict[str, Any] = {"gw": gw}
    source = f"<cell of {len(names)} inputs>"
    linecache.cache[source] = (len(text), None, text.splitlines(keepends=True), source)
    exec(compile(text, source, "exec"), scope)
    return scope["Odd"]


def network_with_inputs(names: Sequence[str], name: str = "m", **options: Any) -> ExportedNetwork:
    torch.manual_seed(0)
    layer = gw.Recurrent(cell_with_inputs(names), 2, 3, backend="reference", **options)
    return network_of_layer(layer, name)


def identifiers(network: ExportedNetwork) -> set[str]:
    """All names in the exported texts, without comments and literals."""
    texts = [*c.source_files(network).values(), *javascript.source_files(network).values()]
    texts = [re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL) for text in texts]
    texts.append(re.sub(r'""".*?"""|#[^\n]*', "", python.source(network), flags=re.DOTALL))
    text = re.sub(r'"[^"\n]*"|`[^`]*`', "", "\n".join(texts))
    return set(re.findall(r"(?<![\w.])[A-Za-z_]\w*", text))


@pytest.mark.slow(instead="test_names_of_inputs_are_found_in_any_program")
def test_inputs_may_have_names_that_a_program_uses(tmp_path: Path) -> None:
    """Each name of the text, and keywords, as an input: programs compute what the layer does."""
    plain = network_with_inputs(["dt"], num_layers=2)
    both = network_with_inputs(["dt"], bidirectional=True)
    issue = "INPUT OUTPUT input Test h WORKSPACE y steps workspace size_t NAN int float double"
    issue += " static restrict var function xs stream np PI l0_dt M_PI matrix_1 int8_t Dt linux"
    names = {*identifiers(plain), *identifiers(both), *issue.split()} - {"dt"}
    names -= {*keyword.kwlist, *RESERVED, "gw", "event", "unit", "cell", "self"}
    names = {name for name in names if not name.startswith("__")}
    assert {"m_run", "l0_matrix_1", "enumerate", "let", "steps", "M_H", "t"} <= names
    for options in ({"num_layers": 2}, {"bidirectional": True}):
        network = network_with_inputs(sorted(names), **options)
        assert worst(network, from_python(network)) < LIMIT
        if NODE is not None:
            assert worst(network, from_javascript([network], tmp_path)["m"]) < LIMIT
        if GCC is not None:
            run_replay(network, tmp_path, "-O0")
            run_replay(network, tmp_path, "-O0", "-std=gnu99")


def test_an_input_that_is_called_differently_is_noted(tmp_path: Path) -> None:
    layer = gw.Recurrent(cell_with_inputs(["INPUT", "steps", "fine", "FINE"]), 2, 3)
    gw.export(layer, tmp_path / "m.c")
    header = (tmp_path / "m.h").read_text()
    assert "#define M_INPUT 2\n" in header and "#define M_INPUT_STEPS 1\n" in header
    assert "The input INPUT of the cell is called input_INPUT here." in header
    assert "The input FINE of the cell is called input_FINE here." in header
    assert "called fine" not in header and "const float *fine," in header


@pytest.mark.parametrize("name", ["x", "y", "unit_in", "unit_out"])
def test_an_input_with_the_name_of_another_value_is_refused_in_onnx(
    name: str, tmp_path: Path
) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")
    layer = gw.Recurrent(cell_with_inputs(["dt", name]), 2, 3)
    with pytest.raises(ArgumentError, match=f"further input {name} has the name of another"):
        gw.export(layer, tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_names_of_inputs_are_found_in_any_program() -> None:
    for name in ("m", "input", "input_input", "l0", "int8", "h"):
        for text in ("PI", "MAX", "run", "state", "input", "_", "__x", "l0_x", "gw_exp", "size_t"):
            printed = printed_names([text, text.swapcase(), f"input_{text}"], name)
            assert len({new.upper() for new in printed.values()}) == len(printed), printed


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
