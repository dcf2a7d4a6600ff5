"""Cells from differential equations, with time as an input, or with exponential gates:
each compared with plain torch, written from its paper with explicit matrices and a Python loop."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu
from torch.nn.utils import parametrize

import gatewright as gw
from gatewright.backends.weights import collect
from gatewright.cells import (
    GRUD,
    LEM,
    SLSTM,
    AntisymmetricRNN,
    CfC,
    CoRNN,
    LeakyRNN,
    MinGRU,
    MinLSTM,
    RecurrentHighway,
)
from gatewright.graph.sizes import number
from gatewright.language.cell import StoredCell
from gatewright.language.equations import Equations
from papers import F64, ROWS, STEPS, States, Weights, held_to_paper, own_weights, randomised, read
from test_kernels import held_to_reference, task_of
from tolerances import close, gradients

F32 = torch.float32
sigmoid, tanh, exp = torch.sigmoid, torch.tanh, torch.exp


# One step of each, from its paper.
def antisymmetric(w: Weights, x: Tensor, h: Tensor, *, gated: bool) -> States:
    matrix = w["turn.h.weight"]
    own = matrix - matrix.T - 0.1 * torch.eye(len(matrix), dtype=matrix.dtype)
    move = tanh(h @ own.T + read(w, "move", x=x))
    if gated:
        move = sigmoid(h @ own.T + read(w, "gate", x=x)) * move
    return (h + 0.1 * move,)


def cornn(w: Weights, x: Tensor, y: Tensor, z: Tensor) -> States:
    z = z + 0.042 * (read(w, "force", x=x, y=y, z=z).tanh() - 2.7 * y - 4.7 * z)
    return y + 0.042 * z, z


def lem(w: Weights, x: Tensor, y: Tensor, z: Tensor) -> States:
    slow = 0.7 * 0.5 * (1 + tanh(read(w, "pace_z", x=x, y=y) / 2))
    fast = 0.7 * 0.5 * (1 + tanh(read(w, "pace_y", x=x, y=y) / 2))
    z = z + slow * (tanh(read(w, "new_z", x=x, y=y)) - z)
    return y + fast * (tanh(read(w, "new_y", x=x, z=z)) - y), z


def slstm(w: Weights, x: Tensor, h: Tensor, c: Tensor, n: Tensor, m: Tensor, **how) -> States:
    z, o, i, f = slstm_gates(w, x, h)
    f = f if how["exponential"] else logsigmoid(f)
    new = torch.maximum(f + m, i)
    c = exp(f + m - new) * c + exp(i - new) * z
    n = exp(f + m - new) * n + exp(i - new)
    return o * c / n, c, n, new


def slstm_gates(w: Weights, x: Tensor, h: Tensor) -> list[Tensor]:
    gates = []
    for name in "zoif":
        own = w[f"{name}.h.weight"]
        blocks = torch.block_diag(*own) if own.dim() == 3 else own
        gates.append(read(w, name, x=x) + h @ blocks.T)
    return [gates[0].tanh(), gates[1].sigmoid(), *gates[2:]]


def highway(w: Weights, x: Tensor, s: Tensor, *, depth: int, coupled: bool) -> States:
    for level in range(1, depth + 1):
        sources = {"x": x, "s": s} if level == 1 else {"s": s}
        h = tanh(read(w, f"h{level}", **sources))
        t = sigmoid(read(w, f"t{level}", **sources))
        c = 1 - t if coupled else sigmoid(read(w, f"c{level}", **sources))
        s = h * t + s * c
    return (s,)


def min_gru(w: Weights, x: Tensor, h: Tensor) -> States:
    z = 1 - sigmoid(read(w, "z", x=x))  # the paper's z is the share of the new value
    return ((1 - z) * h + z * read(w, "n", x=x),)


def min_lstm(w: Weights, x: Tensor, h: Tensor) -> States:
    f, i = sigmoid(read(w, "f", x=x)), sigmoid(read(w, "i", x=x))
    return (f / (f + i) * h + i / (f + i) * read(w, "n", x=x),)


def leaky(w: Weights, x: Tensor, h: Tensor, *, dt: Tensor) -> States:
    target = tanh(read(w, "target", x=x, h=h))
    return (target + (h - target) * exp(-dt * exp(w["rate"])),)


def cfc(w: Weights, x: Tensor, h: Tensor, *, dt: Tensor) -> States:
    shared = tanh(read(w, "shared", x=x, h=h))
    gate = 1 / (1 + exp(read(w, "rate", shared=shared) * dt))
    near, far = (tanh(read(w, name, shared=shared)) for name in ("near", "far"))
    return (gate * near + (1 - gate) * far,)


def gru_d(w: Weights, x: Tensor, h: Tensor, last: Tensor, *, mask: Tensor, delta: Tensor) -> States:
    mean, seen = w["mean"], mask.detach() > 0
    last = torch.where(
        seen, x, last + mean
    )  # as in the paper: the value itself, its mean not subtracted
    fade = exp(-relu(w["fade_x.delta*.weight"] * delta + w["fade_x_bias"]))
    x = torch.where(seen, x, fade * last + (1 - fade) * mean)
    h = exp(-relu(read(w, "fade_h", delta=delta))) * h
    r = sigmoid(read(w, "r", x=x, h=h, mask=mask))
    z = 1 - sigmoid(read(w, "z", x=x, h=h, mask=mask))
    new = tanh(read(w, "n", x=x, h=r * h, mask=mask))
    return (1 - z) * h + z * new, last - mean


#: By name: the cell, its hidden size, its plain step, and the options of the step.
CASES: dict[str, tuple[gw.Cell, int, Callable[..., States], dict[str, object]]] = {
    "antisymmetric": (AntisymmetricRNN(), 5, antisymmetric, {"gated": False}),
    "antisymmetric_gated": (AntisymmetricRNN(gated=True), 5, antisymmetric, {"gated": True}),
    "cornn": (CoRNN(), 5, cornn, {}),
    "lem": (LEM(dt=0.7), 5, lem, {}),
    "slstm": (SLSTM(), 5, slstm, {"exponential": False}),
    "slstm_heads": (SLSTM(heads=3, forget="exponential"), 6, slstm, {"exponential": True}),
    "highway": (RecurrentHighway(), 5, highway, {"depth": 3, "coupled": True}),
    "highway_carry": (RecurrentHighway(2, False), 5, highway, {"depth": 2, "coupled": False}),
    "min_gru": (MinGRU(), 5, min_gru, {}),
    "min_lstm": (MinLSTM(), 5, min_lstm, {}),
    "leaky": (LeakyRNN(), 5, leaky, {}),
    "cfc": (CfC(backbone=7), 5, cfc, {}),
    "gru_d": (GRUD(), 5, gru_d, {}),
}
OPTIONS = ("antisymmetric_gated", "slstm_heads")
#: Compiling takes a second a cell; of two cells that differ by a gate, one is compiled.
COMPILED = [name for name in CASES if name not in ("antisymmetric", "highway")]


def make(cell: gw.Cell, hidden: int, **options) -> gw.Recurrent:
    """A layer with every weight its own random number."""
    return randomised(gw.Recurrent(cell, 4, hidden, **{"dtype": F64, **options}))


def inputs_of(layer: gw.Recurrent, rows: int = ROWS) -> dict[str, Tensor]:
    """The event, times between 0 and 1 and masks of 0 and 1, `(T, B, size)`."""
    draw = torch.Generator().manual_seed(1)
    inputs = {}
    for name, term in layer.graph.inputs.items():
        shape = (STEPS, rows, number(term.size, layer.sizes(0)))
        kind = torch.rand if inputs else torch.randn
        inputs[name] = kind(shape, generator=draw, dtype=F64)
        if name == "mask":
            inputs[name] = (inputs[name] < 0.6).double()
    return {name: one.requires_grad_() for name, one in inputs.items()}


def run(layer: gw.Recurrent, inputs: dict[str, Tensor], hx=None, **how):
    event, *further = inputs.values()
    return layer(event, hx, **dict(zip(layer.graph.equations.inputs, further, strict=True)), **how)


@pytest.mark.parametrize("name", CASES)
def test_a_cell_is_what_its_paper_says(name: str):
    cell, hidden, step, options = CASES[name]
    layer = make(cell, hidden, backend="reference")
    inputs = inputs_of(layer)
    start = [
        torch.randn(1, ROWS, number(term.size, layer.sizes(0)), dtype=F64)
        for term in layer.graph.states.values()
    ]
    if name.startswith("slstm"):
        start[2].abs_()  # a sum of weights
    held_to_paper(layer, partial(step, **options), inputs, start)


@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", COMPILED)
def test_the_kernels_compute_what_the_reference_does(name: str, dtype: torch.dtype):
    cell, hidden, _, _ = CASES[name]
    graph = cell.graph
    for sizes, layout, restart in [
        ({"input": 3, "hidden": hidden}, (3, (3, 3, 2, 1)), True),
        ({"input": 17, "hidden": 33}, (7, (7, 5, 0)), False),
    ]:
        held_to_reference(task_of(graph, sizes, dtype, layout, restart=restart, names=False))


@pytest.mark.parametrize("name", OPTIONS)
def test_options_keep_the_laws(name: str):
    """As without options; see `test_check.py`."""
    gw.check_cell(CASES[name][0], backend="reference")


# The scalar LSTM: the stabiliser changes nothing but the range.
@pytest.mark.parametrize("forget", ["sigmoid", "exponential"])
def test_the_output_of_the_slstm_is_that_without_a_stabiliser(forget: str):
    layer = make(SLSTM(heads=2, forget=forget), 6, backend="reference")
    inputs = inputs_of(layer)
    weights, outputs = own_weights(layer), []
    h = c = n = torch.zeros(ROWS, 6, dtype=F64)
    for x in inputs["x"]:
        z, o, i, f = slstm_gates(weights, x, h)
        f = exp(f) if forget == "exponential" else sigmoid(f)
        c, n = f * c + exp(i) * z, f * n + exp(i)
        h = o * c / n
        outputs.append(h)
    output = run(layer, inputs)[0]
    leaves = [*weights.values(), inputs["x"]]
    close(output, torch.stack(outputs))
    close(gradients(output, leaves), gradients(torch.stack(outputs), leaves))


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("dtype", [F64, F32], ids=["float64", "float32"])
def test_the_slstm_is_finite_at_extremes_and_over_restarts(dtype: torch.dtype, backend: str):
    for heads in (1, 2):
        layer = make(SLSTM(heads=heads), 16, dtype=dtype, backend=backend)
        weights = own_weights(layer)
        # Each unit has its own combination of gates at -100 and 100.
        signs = torch.tensor(list(itertools.product([-100.0, 100.0], repeat=4)), dtype=dtype)
        with torch.no_grad():
            for name, column in zip("zoif", signs.T, strict=True):
                weights[f"{name}.x.bias"].copy_(column)
        x = inputs_of(layer)["x"].detach().to(dtype).requires_grad_()
        starts = torch.zeros(STEPS, ROWS, dtype=torch.bool)
        starts[0, 0] = starts[2, 0] = starts[3, 1] = True
        for marks in (None, starts):
            output, states = layer(x, starts=marks)
            results = [output, *states, *gradients((output, states), [*weights.values(), x])]
            assert all(one.isfinite().all() for one in results)
        assert output.abs().max() > 0.9  # an open gate lets a full memory out
        again = layer(x[2:], hx=None)[0]
        close(output[2:, 0], again[:, 0], "after a restart")


def test_closed_gates_of_the_min_lstm_still_share_out_one_whole():
    layer = make(MinLSTM(), 5, dtype=F32, backend="reference")
    weights = own_weights(layer)
    x = torch.randn(STEPS, ROWS, 4)
    with torch.no_grad():
        for name in "fi":
            weights[f"{name}.x.bias"].sub_(300.0)  # the sigmoid is 0 in float32
        keep = sigmoid(read(weights, "f", x=x) - read(weights, "i", x=x))
        h = torch.zeros(ROWS, 5)
        for t, new in enumerate(read(weights, "n", x=x)):
            h = keep[t] * h + (1 - keep[t]) * new
    output, _ = layer(x)
    close(output[-1].detach(), h, table={F32: 1e-4})
    assert all(one.isfinite().all() for one in gradients(output, list(weights.values())))


# Missing values are not read.
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_gru_d_does_not_read_what_is_missing(backend: str):
    layer = make(GRUD(), 5, backend=backend)
    inputs = inputs_of(layer)
    dirty = {**inputs, "x": inputs["x"].detach().clone()}
    dirty["x"][inputs["mask"] == 0] = math.nan
    dirty["x"].requires_grad_()
    expected, states = run(layer, inputs)
    output, after = run(layer, dirty)
    close((output, after), (expected, states))
    own = list(own_weights(layer).values())
    close(
        gradients((output, after), [*own, dirty["x"]]),
        gradients((expected, states), [*own, inputs["x"]]),
    )


def test_gru_d_starts_at_the_mean_and_fades_to_it():
    layer = make(GRUD(), 5, backend="reference")
    mean = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=F64)
    layer.weights("mean")["mean"] = mean
    layer.freeze("mean")
    mask = torch.zeros(STEPS, 1, 4, dtype=F64)
    x = torch.full((STEPS, 1, 4), math.nan, dtype=F64)
    mask[1], x[1] = 1.0, 7.0
    layer.weights("fade_x")["delta*"] = torch.ones(4)
    layer.weights("fade_x_bias")["fade_x_bias"] = torch.zeros(4)
    delta = torch.tensor([1.0, 2.0, 1.0, 2.0, 60.0], dtype=F64).view(STEPS, 1, 1)
    filled = layer.trace(x, mask=mask, delta=delta)["x_hat"][:, 0]
    close(filled[0], mean)
    close(filled[1], torch.full((4,), 7.0, dtype=F64))
    close(filled[3], mean + math.exp(-2.0) * (7.0 - mean))
    close(filled[4], mean)


# Time.
@pytest.mark.parametrize("name", ["leaky_rnn", "cfc"])
def test_a_time_difference_is_one_value_a_step(name: str):
    layer = make(gw.CELLS[name](), 5, backend="reference")
    x = torch.randn(STEPS, ROWS, 4, dtype=F64)
    dt = torch.rand(STEPS, ROWS, dtype=F64)
    close(layer(x, dt=dt), layer(x, dt=dt.unsqueeze(-1)))
    with pytest.raises(gw.ArgumentError, match=r"reads \['dt'\]"):
        layer(x)


def test_leaks_over_two_spans_are_one_over_their_sum():
    layer = make(LeakyRNN(), 5, backend="reference")
    layer.weights("target")["h"] = torch.zeros(5, 5)
    x = torch.randn(1, ROWS, 4, dtype=F64)
    start = torch.randn(1, ROWS, 5, dtype=F64)
    spans = torch.tensor([0.3, 1.9], dtype=F64).view(2, 1).expand(2, ROWS)
    twice = layer(x.expand(2, -1, -1), start, dt=spans)[1]
    close(layer(x, start, dt=spans.sum(0, keepdim=True))[1], twice)


# Antisymmetric products.
class Turning(gw.Cell):
    """An antisymmetric product in blocks, and another with a bias."""

    def step(self, x, h):
        a = gw.linear(h, heads=2, antisymmetric=True) + gw.linear(x)
        h = gw.tanh(a + gw.linear(h, antisymmetric=True, name="b"))
        return gw.state(h=h)


def test_antisymmetric_matrices_have_imaginary_eigenvalues_in_each_head():
    layer = make(Turning(), 6)
    weights = collect(layer.graph, layer.pairs(0, False))
    for path in ("a.h.weight", "b.h.weight"):
        close(weights[path], -weights[path].transpose(-1, -2))
        assert torch.linalg.eigvals(weights[path]).real.abs().max() < 1e-12
        assert weights[path].abs().max() > 0.1
    own = own_weights(layer)
    assert own["a.h.weight"].shape == (2, 3, 3)  # the learned matrix is unconstrained
    assert not torch.equal(own["b.h.weight"], -own["b.h.weight"].T)
    gw.check_cell(Turning(), backend="reference")


def test_an_antisymmetric_layer_saves_loads_and_is_parametrized(tmp_path: Path):
    layer = make(AntisymmetricRNN(), 5, num_layers=2, bidirectional=True, backend="reference")
    inputs = inputs_of(layer)
    expected = run(layer, inputs)
    again = gw.load(gw.save(layer, tmp_path / "model"))
    again.backend = layer.backend
    close(run(again, inputs), expected, table={F64: 0.0})
    assert str(again.cell) == str(layer.cell)
    assert "(W_turn - W_turn^T) h" in str(layer.cell)
    assert r"\left(W_{\mathrm{turn}} - W_{\mathrm{turn}}^{\top}\right)" in layer.cell.latex()

    class Halved(torch.nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return weight / 2

    with torch.no_grad():
        for place in layer.places:
            layer.weights("turn", *place)["h"] = layer.weights("turn", *place)["h"][0] * 2
    for place in ("0_forward", "0_reverse", "1_forward", "1_reverse"):
        parametrize.register_parametrization(layer.layers[place].turn.h, "weight", Halved())
    close(run(layer, inputs), expected)


def test_one_step_by_hand_reads_the_matrix_less_its_transpose():
    layer = make(AntisymmetricRNN(gated=True), 5, backend="reference")
    inputs = inputs_of(layer)
    weights = {name: layer.weights(name) for name in layer.products}
    h = torch.zeros(ROWS, 5, dtype=F64)
    for x in inputs["x"]:
        h = layer.cell(x, h, weights=weights)
    close(h, run(layer, inputs)[1][0])


def cell_of(step: Callable[..., object]) -> gw.Cell:
    return type("Mine", (gw.Cell,), {"step": step})()


def test_what_cannot_be_antisymmetric_is_refused():
    def narrow(self, x, h):
        y = gw.linear(x, size=3)
        z = gw.linear(y, size=4, antisymmetric=True)
        return gw.state(h=gw.linear(z, h))

    def both(self, x, h):
        a = gw.linear(h, name="w") + gw.linear(h, name="w", antisymmetric=True)
        return gw.state(h=gw.tanh(a + gw.linear(x)))

    def odd(self, x, h):
        return gw.state(h=gw.linear(h, antisymmetric="yes"))

    for step, fact in (
        (narrow, "size 4 meets size 3, and they must be equal"),
        (both, "two products would share one weight"),
        (odd, "linear was given antisymmetric='yes'"),
    ):
        with pytest.raises(gw.CellError, match=fact):
            cell_of(step)

    def event(self, x, h):
        return gw.state(h=gw.tanh(gw.linear(x, antisymmetric=True) + gw.linear(h)))

    assert gw.Recurrent(cell_of(event), 5, 5).output_size == 5
    with pytest.raises(gw.SizeError, match="5"):
        gw.Recurrent(cell_of(event), 3, 5)


def test_a_stored_cell_says_that_its_matrix_is_antisymmetric():
    stored = AntisymmetricRNN().equations.to_json()
    product = next(one for one in stored["nodes"] if one.get("name") == "turn")
    assert product["antisymmetric"] is True
    assert str(StoredCell(Equations.from_json(stored))) == str(AntisymmetricRNN())
    with pytest.raises(gw.ModelError, match="antisymmetric = 'yes'"):
        product["antisymmetric"] = "yes"
        Equations.from_json(stored)
    plain = [one for one in gw.CELLS["lstm"]().equations.to_json()["nodes"] if "keys" in one]
    assert not any("antisymmetric" in one for one in plain)  # as in earlier versions


# Printing.
def test_micro_steps_print_under_the_names_of_their_products_and_sources():
    assert str(RecurrentHighway(depth=2)).splitlines()[1:] == [
        "  t1 = sigmoid(W_t1 [x, s] + b_t1)",
        "  s1 = tanh(W_h1 [x, s] + b_h1) * t1 + s * (1 - t1)",
        "  h  = tanh(W_h2 s1 + b_h2)",
        "  t  = sigmoid(W_t2 s1 + b_t2)",
        "  c  = 1 - t",
        "  s' = h * t + s1 * c",
    ]


def test_products_print_their_heads():
    assert "(W_z_h; 4 heads) h" in str(SLSTM(heads=4))
    assert r"\left(W_{\mathrm{z\_h}};\ 4\ \text{heads}\right)" in SLSTM(heads=4).latex()
    assert "heads" not in str(SLSTM())
