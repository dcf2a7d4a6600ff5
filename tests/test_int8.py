"""int8: the same integers in every language, close to float32, and refusals with a way out."""

from __future__ import annotations

import copy
import re
import subprocess
from dataclasses import replace
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
    run_replay,
    worst,
)
from gatewright.backends import int8 as arithmetic
from gatewright.backends.checked_build import checked
from gatewright.backends.int8 import Int8Matrix, quantise_rows
from gatewright.backends.llvm import build, cache, digest, stepping
from gatewright.backends.llvm.target import Target, levels, target
from gatewright.cells import CELLS
from gatewright.cli.app import app
from gatewright.deploy.network import exported_network
from gatewright.exports import c, python
from gatewright.exports.network import INT8_TOLERANCE, ExportedNetwork
from gatewright.exports.onnx import layer_model
from gatewright.layers.precision import layers_in
from odd_cells import make, sequences
from random_cells import Program, programs
from random_cells import build as build_cell
from test_exports import layer_of
from whole_models import model_of

F32 = torch.float32
#: The number of random cells, whose kernels are built.
EXAMPLES = example_count(12 if checked() else 3)
SIZES = [(1, 1), (3, 17), (64, 65), (130, 3)]


class Sums(gw.Cell):
    """Products whose results go out as they are: of an unbounded source, and of a bounded one.

    In two heads they are products of the halves.
    """

    heads: int = 1

    def step(self, x, h):
        held = gw.minimum(gw.maximum(x, -1.0), 1.0)
        free = gw.linear(x, bias=False, heads=self.heads, name="free")
        bounded = gw.linear(held, bias=False, heads=self.heads, name="bounded")
        return gw.state(h=free, output=bounded)


def sums_layer(units: int, outputs: int, heads: int = 1) -> gw.Recurrent:
    torch.manual_seed(0)
    layer = gw.Recurrent(Sums(heads=heads), units, outputs, dtype=F32).eval()
    for weight in layer.parameters():
        torch.nn.init.normal_(weight)
    return layer


def by_hand(weight: Any, rows: Any, *, bounded: bool) -> Any:
    """The sums of integers and the products, in plain NumPy: `(B, O)` each.

    Args:
        weight: (heads, rows, columns).
    """
    f32 = np.float32
    heads, units, columns = weight.shape
    sums = np.zeros((len(rows), heads * units), np.int64)
    products = np.zeros(sums.shape, f32)
    for b, row in enumerate(rows):
        peak = f32(1.0) if bounded else max(np.abs(row).max(), f32(1e-30))
        source = np.rint(np.clip(row, -peak, peak) * (f32(127) / peak)).astype(np.int64)
        assert np.abs(source).max() <= 127
        for head in range(heads):
            for unit in range(units):
                own, k = weight[head, unit], head * units + unit
                scale = np.abs(own).max() / f32(127)
                codes = np.rint(own / scale).astype(np.int64)
                sums[b, k] = codes @ source[head * columns : (head + 1) * columns]
                products[b, k] = f32(sums[b, k]) * (scale * (peak * f32(1.0 / 127.0)))
    return sums, products


def expected_of(layer: gw.Recurrent, x: Any, name: str) -> Any:
    weight = layer.weights(name)["x" if name == "free" else "held"][0].numpy()
    rows = np.clip(x, -1.0, 1.0) if name == "bounded" else x
    blocks = weight if weight.ndim == 3 else weight[None]
    return by_hand(blocks, rows, bounded=name == "bounded")[1]


def events(*shape: int) -> Any:
    """Events beyond 1, with rows of different spread, and a row of zeros if there are several."""
    x = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    x *= np.logspace(-2, 2, len(x), dtype=np.float32)[:, None]
    if len(x) > 1:
        x[1] = 0.0
    return x


def fresh_kernels(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Build kernels as for a processor that differs in some respects."""
    numbers = build.numbers
    changed = lambda bits, **how: replace(numbers(bits, **how), **changes)  # noqa: E731
    monkeypatch.setattr(build, "numbers", changed)
    stepping.step_kernel.cache_clear()


@pytest.mark.parametrize("byte_products", [True, False])
@pytest.mark.parametrize("heads", [1, 2])
def test_the_kernels_sums_are_those_by_hand(
    heads: int, byte_products: bool, monkeypatch: pytest.MonkeyPatch
):
    """To the last bit, with and without the instructions for bytes."""
    if byte_products and not target().byte_products:
        pytest.skip("this processor has no instruction that adds products of bytes")
    fresh_kernels(monkeypatch, byte_products=byte_products)
    for units, outputs in SIZES if heads == 1 else [(2, 2), (6, 10), (66, 130), (64, 4)]:
        layer = sums_layer(units, outputs, heads)
        for batch in (1, 7):
            stepper = layer.stepper(batch, precision="int8")
            assert stepper.backend == "llvm"
            x = events(batch, units)
            np.testing.assert_array_equal(stepper.step(x), expected_of(layer, x, "bounded"))
            np.testing.assert_array_equal(stepper.state[0], expected_of(layer, x, "free"))
    stepping.step_kernel.cache_clear()


@pytest.mark.parametrize("heads", [1, 2])
def test_the_sums_are_those_by_hand_elsewhere(heads: int, tmp_path: Path):
    """On the reference, in the exported NumPy and C, and in ONNX's own evaluator."""
    layer = sums_layer(6, 10, heads)
    x = events(5, 6)
    expected = {name: expected_of(layer, x, name) for name in ("free", "bounded")}
    layer.backend = "reference"
    stepper = layer.stepper(5, precision="int8")
    np.testing.assert_array_equal(stepper.step(x), expected["bounded"])
    np.testing.assert_array_equal(stepper.state[0], expected["free"])
    layer.backend = "int8"
    with torch.no_grad():
        output, _ = layer(torch.from_numpy(x)[None])
    np.testing.assert_array_equal(output[0], expected["bounded"])

    network = exported_network(layer, "sums").in_int8()
    scope: dict[str, Any] = {}
    exec(compile(python.source(network), "exported", "exec"), scope)
    np.testing.assert_array_equal(scope["Stream"]().step(x), expected["bounded"])
    if GCC:
        np.testing.assert_array_equal(from_c(network, x, tmp_path), expected["bounded"])
    pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    model = layer_model(layer, streaming=True, int8=True)
    h = np.zeros((1, 5, 10), np.float32)
    answers = ReferenceEvaluator(model).run(["y", "h_out"], {"x": x, "h_in": h})
    np.testing.assert_allclose(answers[0], expected["bounded"], rtol=1e-6)
    np.testing.assert_allclose(answers[1][0], expected["free"], rtol=1e-6)


MAIN = """
#include "sums.h"
#include <stdio.h>
int main(void)
{
    sums_state state;
    float x[SUMS_INPUT], y[SUMS_OUTPUT];
    sums_reset(&state);
    while (fread(x, sizeof x, 1, stdin) == 1) {
        sums_step(&state, x, y);
        fwrite(y, sizeof y, 1, stdout);
    }
    return 0;
}
"""


def from_c(network: ExportedNetwork, x: Any, folder: Path) -> Any:
    """The outputs of exported C for rows of events, without rounding on the way."""
    for ending, text in {**c.source_files(network), "_main.c": MAIN}.items():
        (folder / f"sums{ending}").write_text(text)
    program = str(folder / "sums")
    command = [str(GCC), "-O2", "sums.c", "sums_main.c", "-o", program, "-lm"]
    subprocess.run(command, cwd=folder, check=True)
    run = subprocess.run([program], input=x.tobytes(), capture_output=True, check=True)
    return np.frombuffer(run.stdout, np.float32).reshape(len(x), -1)


def test_the_extremes_of_a_row():
    """The largest sums, the least numbers, and rows that have no finite scale."""
    columns = 1000
    ones = Int8Matrix.of(torch.ones(2, columns) * torch.tensor([[3.0], [-3.0]]))
    product = ones.product(torch.full((1, columns), 1.0), bounded=True)
    torch.testing.assert_close(product, torch.tensor([[3.0, -3.0]]) * columns)
    tiny = torch.finfo(F32).tiny
    matrix = Int8Matrix.of(torch.tensor([[tiny, -tiny], [torch.inf, 1.0], [torch.nan, 1.0]]))
    assert matrix.scales.isnan().tolist() == [False, True, True]
    assert matrix.codes.tolist() == [[0, 0], [0, 0], [0, 0]]
    codes, steps = quantise_rows(torch.tensor([[tiny, 0.0]]), bounded=False)
    assert codes.tolist() == [[0, 0]] and steps.isfinite().all()
    codes, _ = quantise_rows(torch.tensor([[7.0, -7.0, 1.0000001]]), bounded=True)
    assert codes.tolist() == [[127, -127, 127]]


@pytest.mark.parametrize("name", ["gru_before", "heads", "peak", "timed", "wide"])
def test_a_stream_is_that_of_the_reference(name: str):
    """Two layers, for one row and three: cells with several stages, heads and further inputs."""
    layer = make(name, num_layers=2).float()
    plain = copy.copy(layer)
    plain.backend = "reference"
    for batch in (1, 3):
        inputs = {n: rows.float() for n, rows in sequences(layer, 6, batch).items()}
        event, *further = inputs
        exact = layer.stepper(batch, precision="float32")
        fast, slow = (own.stepper(batch, precision="int8") for own in (layer, plain))
        assert (fast.backend, slow.backend) == ("llvm", "reference")
        for t in range(6):
            own = {n: inputs[n][t] for n in further}
            y = fast.step(inputs[event][t], **own)
            torch.testing.assert_close(y, slow.step(inputs[event][t], **own), atol=1e-5, rtol=1e-5)
            assert (y - exact.step(inputs[event][t], **own)).abs().max() < 0.1


@hypothesis.seed(1)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@hypothesis.given(programs())
def test_random_cells_stream_as_the_reference(program: Program):
    torch.manual_seed(0)
    try:
        layer = gw.Recurrent(build_cell(program), 5, 6, dtype=F32).eval()
    except gw.SizeError:
        hypothesis.reject()
    plain = copy.copy(layer)
    plain.backend = "reference"
    inputs = {n: rows.float() for n, rows in sequences(layer, 3, 3).items()}
    event, *further = inputs
    fast, slow = (own.stepper(3, precision="int8") for own in (layer, plain))
    for t in range(3):
        own = {n: inputs[n][t] for n in further}
        y, expected = fast.step(inputs[event][t], **own), slow.step(inputs[event][t], **own)
        off = ((y - expected) / (1.0 + expected.abs())).abs()[expected.isfinite()]
        assert torch.equal(y.isfinite(), expected.isfinite())
        # A difference of rounding may move a number to the next code.
        assert (off < 1e-4).float().mean() > 0.9 and (off < 0.05).all()


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_the_error_against_float32_is_small(name: str):
    """At most 2 % of the outputs' norm, with the weights that a layer starts with."""
    torch.manual_seed(0)
    layer = gw.Recurrent(name, 20, 64).eval()
    x = torch.randn(50, 4, 20)
    with torch.no_grad():
        exact, _ = layer(x)
        layer.backend = "int8"
        rounded, states = layer(x)
    assert 1e-4 < float((rounded - exact).norm() / exact.norm()) < 0.02
    stepper = layer.stepper(4, precision="int8")
    streamed = torch.stack([stepper.step(row).clone() for row in x])
    torch.testing.assert_close(streamed, rounded, atol=2e-3, rtol=0)
    assert (streamed - rounded).abs().median() < 1e-6
    assert isinstance(states, tuple) == (name == "lstm")


def int8_network(layer: Any, name: str) -> ExportedNetwork:
    with layers_in(layer, int8=True):
        return exported_network(layer, name).in_int8()


@pytest.fixture(scope="module")
def networks() -> LazyNetworks:
    """Every cell that ships."""
    return LazyNetworks(CELLS, lambda name: int8_network(layer_of(name, layers=1), name))


@pytest.mark.slow(instead="test_a_layer_on_int8_streams_in_int8_and_is_exported_as_asked")
def test_every_cell_as_python(networks: LazyNetworks):
    assert {n for n in CELLS if not worst(networks[n], from_python(networks[n])) < LIMIT} == set()


@pytest.mark.slow(instead="test_a_layer_on_int8_streams_in_int8_and_is_exported_as_asked")
@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_every_cell_as_javascript(networks: LazyNetworks, tmp_path: Path):
    answers = from_javascript(list(networks.values()), tmp_path)
    assert {n for n in CELLS if not worst(networks[n], answers[n]) < LIMIT} == set()


@pytest.mark.skipif(GCC is None, reason="gcc is not installed")
@pytest.mark.parametrize("name", ["lstm", "mut2"])
def test_cells_as_c(name: str, networks: LazyNetworks, tmp_path: Path):
    run_replay(networks[name], tmp_path, "-fsanitize=address,undefined")


@pytest.mark.skipif(GCC is None, reason="gcc is not installed")
def test_a_model_goes_out_in_int8(tmp_path: Path):
    model = model_of("tag")
    backend = model.recurrent.backend
    for ending in (".c", ".js", ".py"):
        gw.export(model, tmp_path / f"model{ending}", precision="int8")
    assert model.recurrent.backend == backend
    text = (tmp_path / "model.c").read_text()
    header = (tmp_path / "model.h").read_text()
    assert "gw_int8_product" in text and "with products in int8" in header
    command = [str(GCC), "-DMODEL_TEST", "model.c", "-o", "model", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    run = subprocess.run(["./model"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    assert float(run.stdout.rsplit(" ", 1)[1]) < INT8_TOLERANCE


@pytest.mark.parametrize("name", ["lstm", "gru_before", "timed"])
def test_onnx_runtime_has_the_numbers_of_the_layer(name: str):
    """Whole sequences and single steps, for rows that need different scales."""
    runtime = pytest.importorskip("onnxruntime")
    runtime.set_default_logger_severity(3)
    layer = make(name, num_layers=2, batch_first=False).float()
    inputs = {n: rows.float() for n, rows in sequences(layer, 6, 3).items()}
    event, *further = inputs
    inputs[event] = inputs[event] * torch.tensor([0.1, 1.0, 10.0])[:, None]
    with layers_in(layer, int8=True), torch.no_grad():
        expected, _ = layer(inputs[event], **{n: inputs[n] for n in further})

    def opened(*, streaming: bool) -> Any:
        model = layer_model(layer, streaming=streaming, int8=True)
        return runtime.InferenceSession(model.SerializeToString())

    feeds = {"x": inputs[event], **{n: inputs[n] for n in further}}
    feeds = {n: rows.numpy() for n, rows in feeds.items()}
    session = opened(streaming=False)
    starts = {
        own.name: np.zeros((own.shape[0], 3, own.shape[2]), np.float32)
        for own in session.get_inputs()
        if own.name.endswith("_in")
    }
    y = session.run(["y"], {**feeds, **starts})[0]
    np.testing.assert_allclose(y, expected, atol=1e-5)
    session = opened(streaming=True)
    names = [output.name for output in session.get_outputs()]
    for t, row in enumerate(expected):
        now = {n: rows[t] for n, rows in feeds.items()}
        answers = dict(zip(names, session.run(None, {**now, **starts}), strict=True))
        np.testing.assert_allclose(answers["y"], row, atol=1e-5)
        starts = {n: answers[f"{n.removesuffix('_in')}_out"] for n in starts}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_becomes_nan_in_its_row_only(bad: float, tmp_path: Path):
    torch.manual_seed(0)
    layer = gw.GRU(3, 5)
    x = np.ones((3, 3), np.float32)
    clean = layer.stepper(3, precision="int8").step(x).copy()
    x[1, 2] = bad
    steppers = [layer.stepper(3, precision="int8")]
    layer.backend = "reference"
    steppers.append(layer.stepper(3, precision="int8"))
    for stepper in steppers:
        y = stepper.step(x)
        assert np.isnan(y[1]).all()
        np.testing.assert_allclose(y[[0, 2]], clean[[0, 2]], atol=1e-6)
        stepper.reset([1])
        np.testing.assert_allclose(stepper.step(np.ones_like(x))[1], clean[1], atol=1e-6)
    scope: dict[str, Any] = {}
    exec(python.source(int8_network(layer, "gru")), scope)
    assert np.isnan(scope["Stream"]().step(x)).tolist() == [[False] * 5, [True] * 5, [False] * 5]
    if GCC:
        network = int8_network(sums_layer(4, 3), "sums")
        rows = np.ones((2, 4), np.float32)
        rows[1, 0] = bad
        y = from_c(network, rows, tmp_path)
        # The bounded source is cut to 1 before it is rounded.
        assert np.isfinite(y[0]).all() and np.isnan(y[1]).all() == np.isnan(bad)


def test_a_row_of_weights_that_is_not_finite_makes_its_unit_nan():
    layer = gw.RNN(3, 4)
    with torch.no_grad():
        layer.weight_ih_l0[2, 1] = torch.inf
    y = layer.stepper(precision="int8").step(np.ones(3, np.float32))
    assert np.isnan(y).tolist() == [False, False, True, False]


def test_the_matrices_have_a_quarter_of_the_bytes():
    layer = gw.GRU(256, 256)
    stepper = layer.stepper(precision="int8")
    bytes_of_layer = sum(own.int8.weight_bytes for own in stepper._stream.layers)
    matrices = 4 * sum(weight.numel() for weight in layer.parameters() if weight.dim() == 2)
    assert bytes_of_layer < 0.26 * matrices
    network = exported_network(layer, "gru")
    assert network.in_int8().weight_bytes < 0.27 * network.weight_bytes


def test_new_weights_are_taken_on_refresh():
    layer = gw.LSTM(3, 5)
    stepper, x = layer.stepper(precision="int8"), np.ones(3, np.float32)
    first = stepper.step(x).copy()
    with torch.no_grad():
        for weight in layer.parameters():
            weight.neg_()
    stepper.refresh()
    stepper.reset()
    second = stepper.step(x).copy()
    assert np.abs(second - first).max() > 0.01
    np.testing.assert_array_equal(layer.stepper(precision="int8").step(x), second)


def test_saved_states_go_on_elsewhere():
    layer = gw.LSTM(3, 5)
    stepper, other = layer.stepper(precision="int8"), layer.stepper(precision="int8")
    x = np.ones(3, np.float32)
    stepper.step(x)
    other.restore(stepper.save())
    np.testing.assert_array_equal(other.step(x), stepper.step(x))
    again = layer.stepper()  # states are float32 in both
    again.restore(stepper.save())


# Refusals.
def test_states_beyond_their_bounds_are_refused():
    layer = gw.LSTM(3, 4)
    stepper = layer.stepper(precision="int8")
    h, large = torch.full((1, 1, 4), 0.5), torch.full((1, 1, 4), 3.0)
    stepper.state = h, large  # c has no bounds
    with pytest.raises(gw.ArgumentError, match=r"state h holds 3; with precision='int8' it lies"):
        stepper.state = large, h
    assert torch.equal(stepper.state[0], h)
    exact = layer.stepper()
    exact.state = large, h
    with pytest.raises(gw.ArgumentError, match="state h holds 3"):
        stepper.restore(exact.save())
    assert torch.equal(stepper.state[0], h)


def test_a_nan_does_not_hide_a_state_beyond_its_bounds():
    layer = gw.GRU(3, 4).eval()
    h = torch.zeros(1, 2, 4)
    h[0, 0, 0], h[0, 1, 1] = torch.nan, 50.0
    stepper = layer.stepper(2, precision="int8")
    with pytest.raises(gw.ArgumentError, match="state h holds 50"):
        stepper.state = h
    layer.backend = "int8"
    for state in (h, h.nan_to_num()):
        with torch.no_grad(), pytest.raises(gw.BackendError, match="state h holds 50"):
            layer(torch.zeros(5, 2, 3), state)
    with torch.no_grad():
        output, _ = layer(torch.zeros(5, 2, 3), h.clamp(max=1.0))
    assert output[:, 0].isnan().all() and output[:, 1].isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "int4"}, "precision is 'int4'; .*expected float32, float64, bfloat16, int8"),
        ({"precision": "int8", "dtype": torch.float64}, "leave dtype out"),
        ({"precision": "float32", "dtype": torch.float64}, "leave dtype out"),
    ],
)
def test_unknown_precisions_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(gw.ArgumentError, match=message):
        gw.GRU(3, 4).stepper(**options)


def test_the_dtype_of_each_precision():
    layer = gw.GRU(3, 4, dtype=torch.float64)
    dtypes = {p: layer.stepper(precision=p).dtype for p in (None, "float32", "float64", "int8")}
    assert dtypes == {None: torch.float64, "float32": F32, "float64": torch.float64, "int8": F32}
    assert "int8" in repr(layer.stepper(precision="int8"))


def test_sums_that_could_overflow_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert 127 * 127 * arithmetic.MOST_COLUMNS < 2**31 <= 127 * 127 * (1 + arithmetic.MOST_COLUMNS)
    monkeypatch.setattr(arithmetic, "MOST_COLUMNS", 5)
    layer = gw.GRU(3, 6)
    for run in (
        lambda: layer.stepper(precision="int8"),
        lambda: gw.export(layer, tmp_path / "a.c", precision="int8"),
    ):
        with pytest.raises(gw.SizeError, match="a product has 6 columns"):
            run()
    assert layer.backend == "auto" and not list(tmp_path.iterdir())


def test_gradients_through_int8_are_refused():
    layer = gw.GRU(3, 4, backend="int8")
    with pytest.raises(gw.BackendError, match=r"rounding to int8 has no gradient: run it under"):
        layer(torch.zeros(2, 1, 3))
    with torch.no_grad():
        layer(torch.zeros(2, 1, 3))


def test_a_layer_on_int8_streams_in_int8_and_is_exported_as_asked(tmp_path: Path):
    layer = gw.GRU(3, 4, backend="int8")
    stepper = layer.stepper()
    assert (stepper.precision, stepper.backend) == ("int8", "llvm")
    assert layer.stepper(precision="float32").precision == "float32"
    gw.export(layer, tmp_path / "exact.py")
    layer.backend = "auto"
    gw.export(layer, tmp_path / "expected.py")
    exact, expected = ((tmp_path / f"{n}.py").read_text() for n in ("exact", "expected"))
    assert exact == expected
    if GCC:
        layer.backend = "int8"
        gw.export(layer, tmp_path / "exact.c")
        command = [str(GCC), "-DEXACT_TEST", "exact.c", "-o", "exact", "-lm"]
        subprocess.run(command, cwd=tmp_path, check=True)
        subprocess.run(["./exact"], cwd=tmp_path, check=True)


def test_a_bidirectional_layer_computes_in_int8_but_does_not_stream():
    layer = gw.GRU(3, 4, bidirectional=True)
    x = torch.randn(5, 2, 3)
    with torch.no_grad():
        exact, _ = layer(x)
        layer.backend = "int8"
        rounded, _ = layer(x)
    assert 0 < (exact - rounded).abs().max() < 0.02
    with pytest.raises(gw.ArgumentError, match="cannot be streamed"):
        layer.stepper(precision="int8")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    gw.save(gw.GRU(3, 4), tmp_path / "gru")
    folder = str(tmp_path / "gru")
    with pytest.raises(SystemExit) as done:
        app(["export", folder, "--to", "c", "--precision", "int8"])
    assert done.value.code in (0, None)
    assert "gw_int8_product" in (tmp_path / "gru.c").read_text()
    capsys.readouterr()
    with pytest.raises(gw.ArgumentError, match="is not there yet; expected float32 or int8"):
        gw.export(gw.GRU(3, 4), tmp_path / "b.c", precision="bfloat16")
    assert not (tmp_path / "b.c").exists()


# The emitted code.
X86 = levels("x86_64-unknown-linux-gnu")
# Their instruction is asked for by name; that for 16 bits is one that LLVM's optimiser recognises.
VNNI = replace(X86["avx512"], features="+avx512vnni", byte_products=True, optimised=False)
AVX_VNNI = replace(X86["avx2"], features="+avxvnni", byte_products=True, optimised=False)
NEON = Target("aarch64-unknown-linux-gnu", "generic", "+neon", 128, 32, optimised=False)


@pytest.mark.parametrize(
    ("goal", "instruction"),
    [
        (VNNI, r"vpdpbusd.*%zmm"),
        (AVX_VNNI, r"vpdpbusd.*%ymm"),
        (X86["avx2"], r"vpmaddwd.*%ymm"),
        (X86["sse2"], r"pmaddwd.*%xmm"),
        (NEON, r"\bs?m(ul|la)l?2?\b.*\.4s"),
    ],
)
def test_kernels_use_the_products_of_the_processor(
    goal: Target, instruction: str, monkeypatch: pytest.MonkeyPatch
):
    texts: list[str] = []
    original = build.optimised

    def optimised(module: Any, goal: Target) -> Any:
        parsed = original(module, goal)
        texts.append(goal.machine().emit_assembly(parsed))
        return parsed

    monkeypatch.setenv("GATEWRIGHT_CACHE", "")
    monkeypatch.setattr(build, "optimised", optimised)
    monkeypatch.setattr(build, "Library", lambda code: type("L", (), {"function": lambda *_: 0})())
    monkeypatch.setattr(cache, "read", lambda entry: None)
    for module in (build, digest):
        monkeypatch.setattr(module, "target", lambda: goal)
    stepping.StepKernel(CELLS["elman_rnn"]().graph, 32, "int8")
    assert re.search(instruction, texts[0])
