"""Probes: horizons against closed forms, and against torch's Jacobians of whole runs."""

from __future__ import annotations

import math

import pytest
import torch

import gatewright as gw
from gatewright import linear, probes
from gatewright.errors import ArgumentError
from odd_cells import CELLS, make, run, sequences
from tolerances import close

F64 = torch.float64


class Linear(gw.Cell):
    """A linear network, whose gradients are powers of one matrix."""

    def step(self, x, h):
        h = linear(x, h)
        return gw.state(h=h)


def orthogonal(size: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(size, size, dtype=F64)).Q


def linear_layer(matrix: torch.Tensor) -> gw.Recurrent:
    layer = gw.Recurrent(Linear, 2, len(matrix), dtype=F64)
    layer.weights("h")["h"] = (matrix, None)
    return layer


def test_a_linear_network_has_the_horizon_of_its_eigenvalues():
    torch.manual_seed(0)
    values = torch.tensor([0.95, -0.8, 0.7, 0.3, 0.1], dtype=F64)
    q = orthogonal(5)
    matrix = q @ values.diag() @ q.T
    layer = linear_layer(matrix)
    result = probes.gradient_horizon(layer, torch.randn(41, 3, 2, dtype=F64), lags=40)
    lags = torch.arange(41, dtype=F64)[:, None]
    close(result.state, (values**lags).square().mean(1).sqrt(), "state")
    close(result.paths["h"].total, result.state, "the only state")
    reads = layer.weights("h")["x"][0]
    powers = [torch.linalg.matrix_power(matrix, k) for k in range(41)]
    close(result.inputs, torch.stack([(power @ reads).norm(dim=0) for power in powers]), "inputs")
    close(result.paths["h"].units, torch.stack([power.norm(dim=0) for power in powers]), "units")
    assert result.exact and result.lags == 40
    # There is no additive path: everything goes through the product.
    assert not result.paths["h"].carried[1:].any()
    sizes = probes.spectrum(layer, torch.randn(9, 2, 2, dtype=F64), count=3)
    expected = torch.tensor([0.95, -0.8, 0.7, 0.3, 0.1], dtype=torch.complex128)
    close(sizes.real, expected.real.expand(3, 2, -1), "spectrum")


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.99])
def test_the_half_life_of_one_decay(decay):
    torch.manual_seed(1)
    layer = linear_layer(decay * orthogonal(4))
    result = probes.gradient_horizon(layer, torch.randn(701, 1, 2, dtype=F64), lags=700)
    assert result.half_life == pytest.approx(math.log(2) / -math.log(decay), rel=1e-9)
    assert result.horizon == pytest.approx(math.log(100) / -math.log(decay), rel=1e-9)


@pytest.mark.parametrize(
    "hold", [{"f": 1.0, "i": 0.0}, {"f": 0.9, "i": 0.0}], ids=["kept", "leaking"]
)
def test_held_gates_have_a_known_horizon(hold):
    """With i = 0, f = 1 keeps the memory for ever, and f = 0.9 for 1 / -log 0.9 steps."""
    torch.manual_seed(2)
    layer = gw.LSTM(3, 6, dtype=F64)
    x, f = torch.randn(60, 2, 3, dtype=F64), hold["f"]
    result = probes.gradient_horizon(layer, x, lags=50, hold=hold)
    close(result.paths["c"].carried, f ** torch.arange(51, dtype=F64), "carried")
    constants = probes.time_constants(layer, x, hold=hold)
    assert not constants["h"].any()
    if f == 1.0:
        assert result.paths["c"].total.min() >= 1.0 and result.half_life == math.inf
        assert constants["c"].isinf().all()
    else:
        close(constants["c"], torch.full((6,), -1 / math.log(f), dtype=F64), "constants")


#: The factor of the memory, in cells of the literature.
FACTOR = dict.fromkeys(["lstm", "lesson_lstm", "peephole_lstm", "peephole_full"], "f")
FACTOR |= dict.fromkeys(["gru", "gru_before"], "z")
#: The share that five steps keep, in cells where it is a number.
CONSTANT = {"elman_rnn": 0.0, "readout": 0.0, "leak": 0.9**5, "echo": 0.5**5}


@pytest.mark.parametrize("name", CELLS)
def test_against_the_jacobian_of_a_whole_run(name):
    """Torch differentiates k steps at once; the probe multiplies the gradients of k steps."""
    layer = make(name, seed=3, backend="reference")
    arguments = sequences(layer, 9, 1)
    event, *further = arguments.values()
    inputs = dict(zip(list(arguments)[1:], further, strict=True))
    result = probes.gradient_horizon(layer, event, lags=5, ends=1, **inputs)
    _, before = run(layer, {key: values[:4] for key, values in arguments.items()})
    before = before if isinstance(before, tuple) else (before,)

    def after(*states):
        states = states if len(states) > 1 else states[0]
        _, last = run(layer, {key: values[4:] for key, values in arguments.items()}, states)
        return last if isinstance(last, tuple) else (last,)

    jacobian = torch.autograd.functional.jacobian(after, before)
    names = list(layer.graph.states)
    squares = torch.zeros((), dtype=F64)
    for index, state in enumerate(names):
        columns = torch.cat([row[index].flatten(3).flatten(0, 2) for row in jacobian])
        squares = squares + columns.square().sum()
        close(result.paths[state].units[5], columns.norm(dim=0), f"units of {state}")
        total = columns.norm() / columns.shape[1] ** 0.5
        close(result.paths[state].total[5], total, f"from {state}")
    units = sum(state.shape[-1] for state in before)
    close(result.state[5], (squares / units).sqrt(), "state")
    carried = result.paths[names[-1]].carried[5]
    if name in FACTOR:
        factors = run_trace(layer, arguments)[FACTOR[name]][4:]
        close(carried, factors.prod(0).square().mean().sqrt(), "carried")
    elif name in CONSTANT:
        assert carried.item() == pytest.approx(CONSTANT[name])


def run_trace(layer, arguments):
    event, *further = arguments
    return layer.trace(arguments[event], **{name: arguments[name] for name in further})


def test_the_step_of_a_jacobian_is_torchs():
    torch.manual_seed(4)
    layer = gw.LSTM(2, 3, dtype=F64)
    x = torch.randn(6, 2, 2, dtype=F64)
    result = probes.step_jacobians(layer, x, count=2)  # the first and the last step
    _, (h, c) = layer(x[:5])
    for row in range(2):

        def after(h, c, row=row):
            return torch.cat(layer(x[5:, row : row + 1], (h, c))[1], -1).flatten()

        states = (h[:, row : row + 1], c[:, row : row + 1])
        parts = torch.autograd.functional.jacobian(after, states)
        close(result[1, row], torch.cat([part.flatten(1) for part in parts], 1), f"row {row}")


def test_neither_batch_nor_backend_matters():
    torch.manual_seed(5)
    layers = [gw.LSTM(3, 5, dtype=F64, backend=backend) for backend in ("reference", "llvm")]
    layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randn(30, 4, 3, dtype=F64)
    batch, compiled = (probes.gradient_horizon(layer, x) for layer in layers)
    rows = [probes.gradient_horizon(layers[0], x[:, row : row + 1]) for row in range(4)]
    close(compiled.state, batch.state, "backend")
    close(compiled.inputs, batch.inputs, "backend")
    close(torch.stack([row.state for row in rows]).mean(0), batch.state, "batch")
    close(torch.stack([row.inputs for row in rows]).mean(0), batch.inputs, "batch")
    for norm in ("total", "carried", "gates", "units"):
        mean = torch.stack([getattr(row.paths["c"], norm) for row in rows]).mean(0)
        close(mean, getattr(batch.paths["c"], norm), norm)
    constants = [probes.time_constants(layer, x)["c"] for layer in layers]
    close(*constants, "time constants")
    close(probes.spectrum(layers[0], x).abs(), probes.spectrum(layers[1], x).abs(), "spectrum")
    last = torch.full((4,), 29)

    def read(layer, x):
        result = probes.input_horizon(lambda x: layer(x)[0][-1].sum(-1), x, last[: x.shape[1]])
        return result.channels.square()

    close(*(read(layer, x) for layer in layers), "inputs")
    close(torch.stack([read(layers[0], row) for row in x.split(1, 1)]).mean(0), read(layers[0], x))
    shut = [probes.saturation(layer, 40 * x)["f"].shut for layer in layers]
    rows = [probes.saturation(layers[0], 40 * row)["f"].shut for row in x.split(1, 1)]
    close(*shut, "saturation")
    close(torch.stack(rows).mean(0), shut[0], "saturation")
    assert shut[0].any()


def test_random_directions_estimate_the_exact_norms():
    torch.manual_seed(6)
    layer, x = gw.GRU(3, 40, dtype=F64), torch.randn(40, 4, 3, dtype=F64)
    exact = probes.gradient_horizon(layer, x, lags=10, directions=40)
    guess = probes.gradient_horizon(layer, x, lags=10, directions=30)
    assert exact.exact and not guess.exact
    assert ((guess.state / exact.state - 1).abs() < 0.15).all()


def test_a_restart_cuts_the_horizon():
    torch.manual_seed(7)
    layer, x = gw.LSTM(3, 4, dtype=F64), torch.randn(20, 1, 3, dtype=F64)
    starts = torch.zeros(20, 1, dtype=torch.bool)
    starts[12] = True
    result = probes.gradient_horizon(layer, x, lags=12, ends=1, starts=starts)
    # From the state after step 19 back to the state after step 12, but no earlier.
    assert result.state[7] > 0 and not result.state[8:].any()
    assert result.inputs[7].all() and not result.inputs[8:].any()


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_each_layer_and_direction_has_its_own(place):
    """The past of the reverse direction are the steps that come later."""
    torch.manual_seed(8)
    layer = gw.LSTM(3, 4, num_layers=2, bidirectional=True, batch_first=True, dtype=F64)
    x = torch.randn(2, 14, 3, dtype=F64)
    result = probes.gradient_horizon(layer, x, lags=9, ends=2, place=place)
    k, reverse = layer.places[place]
    single = gw.LSTM(3 if k == 0 else 8, 4, batch_first=True, dtype=F64)
    for product in layer.products:
        for source, pair in layer.weights(product, k, reverse).items():
            single.weights(product)[source] = pair
    if k:
        below = layer.trace(x)
        x = torch.cat([below["l0.forward.h"], below["l0.reverse.h"]], -1)
    x = x.flip(1) if reverse else x
    close(result.state, probes.gradient_horizon(single, x, lags=9, ends=2).state, "state")
    constants = probes.time_constants(single, x)
    layer_x = layer.trace(torch.zeros(1, 2, 3, dtype=F64))
    assert constants["c"].shape == (4,) and layer_x


def test_the_gradient_of_a_loss_with_respect_to_the_inputs():
    """Rows of different lengths, with lags counted back from the end of each."""
    torch.manual_seed(9)
    decay = 0.8
    layer = linear_layer(decay * orthogonal(3))
    x, ends = torch.randn(12, 3, 2, dtype=F64), torch.tensor([11, 6, 3])
    direction = torch.randn(3, dtype=F64)

    def losses(x):
        return layer(x)[0][ends, torch.arange(3)] @ direction

    result = probes.input_horizon(losses, x, ends)
    matrix = layer.weights("h")["h"][0]
    reads = layer.weights("h")["x"][0]
    back = [direction @ torch.linalg.matrix_power(matrix, k) @ reads for k in range(12)]
    close(result.channels, torch.stack(back).abs(), "each channel")
    assert result.rows.tolist() == [3] * 4 + [2] * 3 + [1] * 5
    with pytest.raises(ArgumentError, match="one for each row"):
        probes.input_horizon(lambda x: layer(x)[0].sum(), x, ends)


def test_saturation_ignores_padding():
    layer = gw.LSTM(3, 2, batch_first=True)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    for name, bias in (("i", [-5.0, 0.0]), ("f", [5.0, 0.0])):
        weight, _ = layer.weights(name)["x"]
        layer.weights(name)["x"] = (weight, torch.tensor(bias))
    result = probes.saturation(layer, torch.zeros(2, 6, 3), lengths=[6, 2])
    assert list(result) == ["i", "f", "o"]
    assert result["i"].shut.tolist() == [1.0, 0.0] and not result["i"].open.any()
    assert result["f"].open.tolist() == [1.0, 0.0] and not result["f"].shut.any()


def test_the_layer_is_left_as_it_was():
    layer = gw.LSTM(3, 4, num_layers=2, dropout=0.5)
    x = torch.randn(10, 2, 3)
    first, second = (probes.gradient_horizon(layer, x, place=1) for _ in range(2))
    assert layer.training and torch.equal(first.state, second.state)
    assert all(parameter.grad is None for parameter in layer.parameters())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"lags": 10}, "lags=10"),
        ({"lags": 0}, "lags=0"),
        ({"ends": 0}, "ends=0"),
        ({"place": 1}, "place=1"),
        ({"hold": {"q": 1.0}}, "hold names 'q'"),
    ],
)
def test_refusals(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        probes.gradient_horizon(gw.LSTM(2, 3), torch.zeros(10, 1, 2), **arguments)
    with pytest.raises(ArgumentError, match="gatewright layer"):
        probes.gradient_horizon(torch.nn.LSTM(2, 3), torch.zeros(10, 1, 2))


def test_steps_until():
    assert probes.steps_until([4.0, 1.0, 0.25, 0.0], 0.25) == pytest.approx(1.0)
    assert probes.steps_until([0.1, 1.0, 0.5, 0.25, 0.125], 0.5) == pytest.approx(2.0)
    assert probes.steps_until([1.0, 0.9, 0.8], 0.5) == math.inf
    assert probes.steps_until([1.0, 0.0, 0.0], 0.5) == 1.0
    assert probes.steps_until([0.0, 0.0], 0.5) == 0.0
