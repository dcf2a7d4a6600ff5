"""Whole models in C, JavaScript and NumPy: from raw values to the answers of the model."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import gatewright as gw
from exported import (
    GCC,
    LIMIT,
    NODE,
    STRICT,
    LazyNetworks,
    from_javascript,
    from_python,
    python_scope,
    run_replay,
    worst,
    write_c,
)
from gatewright.deploy.network import exported_network
from gatewright.designs.design import DESIGNS
from gatewright.errors import ArgumentError
from gatewright.exports import c
from gatewright.exports.network import INT8_TOLERANCE
from gatewright.layers.precision import layers_in
from gatewright.training.ensemble import Ensemble
from whole_models import FORECASTS, MODELS, STREAMS, WHOLE, model_of


@pytest.fixture(scope="module")
def networks() -> LazyNetworks:
    """Every model as a network."""
    return LazyNetworks(MODELS, lambda name: exported_network(MODELS[name](), name))


@pytest.mark.parametrize("name", MODELS)
def test_as_python(name: str, networks: LazyNetworks) -> None:
    assert networks[name].streams == (name in STREAMS or name in FORECASTS)
    assert worst(networks[name], from_python(networks[name])) < LIMIT


@pytest.mark.slow(instead="test_round_trip.py::test_javascript")
@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_as_javascript(networks: LazyNetworks, tmp_path: Path) -> None:
    answers = from_javascript(list(networks.values()), tmp_path)
    apart = {name: worst(network, answers[name]) for name, network in networks.items()}
    assert {name: value for name, value in apart.items() if not value < LIMIT} == {}


@pytest.mark.skipif(GCC is None, reason="gcc is not installed")
@pytest.mark.parametrize("name", MODELS)
def test_as_c(name: str, networks: LazyNetworks, tmp_path: Path) -> None:
    run_replay(networks[name], tmp_path, "-O0", "-Wconversion")


@pytest.mark.skipif(GCC is None, reason="gcc is not installed")
def test_c_reads_and_writes_nothing_of_too_few_steps(
    networks: LazyNetworks, tmp_path: Path
) -> None:
    """All pointers but that of the answer are null here."""
    names = ["classify", "pooled", "segments", "known"]
    calls = []
    for name in names:
        network = networks[name]
        few = 0 if network.forecast is None else network.forecast.steps - 1
        arguments = ", ".join("0" * (1 + len(network.further)))
        calls += [
            f"{name}_run({arguments}, {steps}, 0, y);" for steps in {-(2**31) + 1, -1, 0, few}
        ]
        write_c(network, tmp_path)
    (tmp_path / "main.c").write_text(f"""
{"".join(f'#include "{name}.h"' + chr(10) for name in names)}
int main(void)
{{
    float y[1] = {{7.0f}};
    {" ".join(calls)}
    return y[0] == 7.0f ? 0 : 1;
}}
""")
    sources = ["main.c", *(f"{name}.c" for name in names)]
    flags = [*STRICT, "-O0", "-fsanitize=address,undefined", "-o", "main"]
    command = [str(GCC), *flags, *sources, "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "main"], check=True)
    for name in names:
        assert "With fewer steps, nothing is written." in (tmp_path / f"{name}.h").read_text()


def test_no_index_of_c_counts_numbers_of_all_steps_in_int(
    networks: LazyNetworks,
) -> None:
    texts = {name: c.source_files(network)[".c"] for name, network in networks.items()}
    programs = {name: text.split("_TEST\n")[0] for name, text in texts.items()}
    assert any("k < (size_t)steps * " in text for text in programs.values())
    for name, text in programs.items():
        assert not re.search(r"(?<!\(size_t\))\bsteps \* ", text), name


@pytest.mark.slow(instead="test_as_c")
@pytest.mark.skipif(NODE is None or GCC is None, reason="node or gcc is not installed")
def test_in_int8(tmp_path: Path) -> None:
    networks = []
    for name in ("pooled", "convolutional", "ensemble", "known"):
        model = MODELS[name]()
        with layers_in(model, int8=True):
            networks.append(exported_network(model, name).in_int8())
    answers = from_javascript(networks, tmp_path)
    for network in networks:
        assert network.is_int8
        assert worst(network, from_python(network)) < INT8_TOLERANCE
        assert worst(network, answers[network.name]) < INT8_TOLERANCE
        run_replay(network, tmp_path, "-O0", "-Wconversion", limit=INT8_TOLERANCE)


@pytest.mark.parametrize("name", ["both_ways", "ensemble", "known"])
def test_the_recorded_answers_depend_on_the_events(name: str, networks: LazyNetworks) -> None:
    """Check that exports are not compared with a constant."""
    outputs = np.concatenate([record.outputs for record in networks[name].records])
    assert np.nanstd(outputs, axis=0).min() > 1e-4


@pytest.mark.parametrize("name", [*STREAMS, *FORECASTS])
def test_python_advances_a_batch_of_streams(name: str, networks: LazyNetworks) -> None:
    network = networks[name]
    record = network.records[0]
    scope = python_scope(network)
    x = record.events[:, 0].astype(int) if network.symbols else record.events
    further = [np.stack([rows, rows], 1) for rows in record.further.values()]
    answers = scope["Stream"]().run(np.stack([x, x[::-1]], 1), *further)
    np.testing.assert_allclose(
        answers[:, 0].reshape(len(x), -1), record.outputs, rtol=1e-4, atol=1e-4
    )
    assert answers.shape[1] == 2 and not np.array_equal(answers[-1, 0], answers[-1, 1])


def test_the_answers_are_those_of_predict() -> None:
    model = Ensemble([model_of("classify", DESIGNS["both-ways"]), model_of("classify", seed=3)])
    scope = python_scope(exported_network(model, "model"))
    draw = np.random.default_rng(0)
    sequences = [draw.normal(size=(4 + k, 2)).astype(np.float32) for k in range(3)]
    expected = model.predict(sequences)
    np.testing.assert_allclose(scope["run_all"](sequences), expected, rtol=1e-4, atol=1e-6)
    assert scope["LABELS"] == ["no", "yes"]


def test_the_forecast_is_that_of_predict() -> None:
    from whole_models import forecast_of, series

    data = series(kind="counts")
    model = forecast_of(data, transform="root", per_window=True)
    run = python_scope(exported_network(model, "model"))["run"]
    for future, values in zip(model.predict(data), data.values, strict=True):
        np.testing.assert_allclose(run(values), future.quantiles, rtol=1e-4, atol=1e-5)


def test_a_text_goes_out_without_its_counts_only_when_asked(tmp_path: Path) -> None:
    model = model_of("counted text")
    with pytest.raises(ArgumentError, match="--network-only"):
        gw.export(model, tmp_path / "text.py")
    assert list(tmp_path.iterdir()) == []
    (file,) = gw.export(model, tmp_path / "text.py", network_only=True)
    assert "the probability of each next symbol" in file.read_text()


@pytest.mark.parametrize("name", ["known", "layer"])
def test_the_head_of_a_file_documents_its_inputs(
    name: str, networks: LazyNetworks, tmp_path: Path
) -> None:
    from gatewright.exports import c, javascript, python

    network = networks[name]
    texts = [c.header(network), javascript.module(network), python.source(network)]
    expected = {
        "known": ["holiday", "day of week (cos)", "quantiles at 0.1, 0.2", "units of the data"],
        "layer": ["GRUD with 4 units read from both ends"],
    }[name]
    for text in texts:
        assert [words for words in expected if words not in text] == []


def test_names_of_channels_cannot_end_a_comment() -> None:
    from gatewright.exports import c, javascript, python

    network = exported_network(model_of("tag"), "model")
    task = model_of("tag").task
    assert network.notes == (f"The values of an event: {', '.join(task.seen.channels)}.",)
    model = model_of("tag")
    seen = replace(model.task.seen, channels=('*/"""', "a\nb\\"))
    model.task = replace(model.task, seen=seen)
    hostile = exported_network(model, "model")
    assert hostile.notes == ("The values of an event: _____, a_b_.",)
    assert c.header(hostile).count("*/") == c.header(network).count("*/")
    compile(python.source(hostile), "exported", "exec")
    assert "\na" not in javascript.module(hostile).split("export")[0]


@pytest.mark.skipif(GCC is None, reason="gcc is not installed")
@pytest.mark.parametrize("name", ["l0", "input", "gw", "readout"])
def test_no_name_of_a_program_hides_another(
    name: str, networks: LazyNetworks, tmp_path: Path
) -> None:
    run_replay(replace(networks["classify"], name=name), tmp_path, "-O0")


@pytest.mark.parametrize(
    ("name", "message"),
    [("both_ways", "has no single step to show the values of"), ("segments", "leave values out")],
)
def test_values_of_a_step_need_steps(name: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        exported_network(WHOLE[name](), "model", values=True)


def test_wrong_inputs_are_refused_by_the_program(networks: LazyNetworks) -> None:
    run = python_scope(networks["classify"])["run"]
    with pytest.raises(ValueError, match=r"x has shape \(4, 3\); expected \(steps, 2\)"):
        run(np.zeros((4, 3)))
    with pytest.raises(ValueError, match="x has 0 steps; expected at least 1"):
        run(np.zeros((0, 2)))
    with pytest.raises(ValueError, match="x has 13 steps; expected at least 14"):
        python_scope(networks["forecast"])["run"](np.zeros((13, 1)))
    with pytest.raises(ValueError, match="symbol 9; expected whole numbers below 5"):
        python_scope(networks["text"])["Stream"]().step(9)
