"""`gw.init`: orthogonal, forget bias, chrono."""

from __future__ import annotations

import math

import pytest
import torch

import gatewright as gw
from gatewright import linear, sigmoid, state, tanh
from gatewright.graph.memory_gates import memory_gates
from odd_cells import CELLS
from tolerances import close

LAYERS = {
    "rnn": lambda **more: gw.RNN(3, 5, 2, bidirectional=True, **more),
    "lstm": lambda **more: gw.LSTM(3, 5, 2, bidirectional=True, **more),
    "gru": lambda **more: gw.GRU(3, 5, 2, bidirectional=True, **more),
    "gru_before": lambda **more: gw.GRU(3, 5, 2, bidirectional=True, reset="before", **more),
    "peephole": lambda **more: gw.PeepholeLSTM(3, 5, 2, bidirectional=True, **more),
    "lesson": lambda **more: gw.Recurrent("lesson_lstm", 3, 5, 2, bidirectional=True, **more),
}
KEEPS = {"lstm": "f", "gru": "z", "gru_before": "z", "peephole": "f", "lesson": "f"}


def effective_bias(layer: gw.Recurrent, product: str, place: tuple[int, bool]) -> torch.Tensor:
    """The sum of a product's biases."""
    biases = [bias for _, bias in layer.weights(product, *place).values() if bias is not None]
    return torch.stack(biases).sum(0)


@pytest.mark.parametrize("kind", LAYERS)
def test_orthogonal_gate_by_gate_and_nothing_else(kind: str):
    layer = LAYERS[kind]()
    before = {
        place: {
            p: layer.weights(p, *place)["x"]
            for p in layer.products
            if "x" in layer.weights(p, *place)
        }
        for place in layer.places
    }
    before = {
        place: {
            name: (w.clone(), None if b is None else b.clone()) for name, (w, b) in weights.items()
        }
        for place, weights in before.items()
    }
    assert gw.init.orthogonal_(layer, gain=2.0) is layer
    seen = []
    for place in layer.places:
        for product in layer.products:
            weights = layer.weights(product, *place)
            if "h" in weights:
                matrix = weights["h"][0]
                close(matrix @ matrix.T, 4 * torch.eye(5))
                seen.append(matrix)
            if product in before[place]:
                close(weights["x"], before[place][product])
    assert len({tuple(one.flatten().tolist()) for one in seen}) == len(
        seen
    )  # each is drawn by itself
    layer(torch.randn(4, 2, 3))[0].sum().backward()  # still parameters


def test_orthogonal_with_projection_heads_and_full_peepholes():
    projected = gw.init.orthogonal_(gw.LSTM(3, 5, proj_size=2))
    matrix = projected.weights("i")["h"][0]
    assert matrix.shape == (5, 2)
    close(matrix.T @ matrix, torch.eye(2))
    heads = gw.init.orthogonal_(gw.Recurrent(CELLS["heads"][0], 3, 6))
    for block in heads.weights("a")["h"][0]:
        close(block @ block.T, torch.eye(3))
    full = gw.init.orthogonal_(gw.PeepholeLSTM(3, 5, peephole="full"))
    matrix = full.weights("f")["c"][0]
    close(matrix @ matrix.T, torch.eye(5))


@pytest.mark.parametrize("kind", KEEPS)
def test_the_forget_bias_is_what_was_asked_for(kind: str):
    layer = LAYERS[kind]()
    before = {
        p: [effective_bias(layer, p, at) for at in layer.places]
        for p in layer.products
        if p != KEEPS[kind] and any(b is not None for _, b in layer.weights(p).values())
    }
    assert gw.init.forget_bias_(layer, 2.0) is layer
    for place in layer.places:
        close(effective_bias(layer, KEEPS[kind], place), torch.full((5,), 2.0))
    for product, biases in before.items():
        close([effective_bias(layer, product, at) for at in layer.places], biases)


def test_an_open_gate_keeps_more():
    torch.manual_seed(0)
    layer, x = gw.LSTM(3, 5), torch.zeros(6, 2, 3)
    shut = layer.trace(x)["f"].mean()
    assert gw.init.forget_bias_(layer, 3.0).trace(x)["f"].mean() > shut + 0.2


@pytest.mark.parametrize("kind", KEEPS)
def test_chrono_spreads_the_time_constants(kind: str):
    build = {"lstm": gw.LSTM, "gru": gw.GRU}.get(kind)
    torch.manual_seed(0)
    layer = build(3, 2000, 1, bidirectional=True) if build else LAYERS[kind]()
    assert gw.init.chrono_(layer, 50) is layer
    drawn = []
    for place in layer.places:
        keep = effective_bias(layer, KEEPS[kind], place)
        assert keep.min() >= 0 and keep.max() <= math.log(49) + 1e-6
        if "i" in layer.products:
            close(effective_bias(layer, "i", place), -keep)
        drawn.append(keep)
    assert not torch.equal(drawn[0], drawn[1])
    if build:  # log U(1, 49): the exponential is uniform
        uniform = (drawn[0].exp() - 1) / 48
        assert abs(float(uniform.mean()) - 0.5) < 0.03 and abs(float(uniform.std()) - 0.289) < 0.02


def test_one_seed_starts_alike():
    layers = []
    for _ in range(2):
        torch.manual_seed(4)
        layer = gw.init.chrono_(gw.init.orthogonal_(gw.LSTM(3, 5)), 20)
        layers.append(dict(layer.state_dict()))
    close(layers[0], layers[1], table={torch.float32: 0.0})


class Named(gw.Cell):
    """Gates under other names."""

    def step(self, x, h):
        keep = sigmoid(linear(x, h))
        admit = sigmoid(linear(x, h))
        h = keep * h + admit * tanh(linear(x, h, name="new"))
        return state(h=h)


def test_gates_of_other_names():
    layer = gw.Recurrent(Named(), 3, 5)
    gw.init.forget_bias_(layer, 2.0, product="keep")
    close(effective_bias(layer, "keep", (0, False)), torch.full((5,), 2.0))
    gw.init.chrono_(layer, 9, keeps="keep", admits="admit")
    close(effective_bias(layer, "admit", (0, False)), -effective_bias(layer, "keep", (0, False)))
    # The equations say which gate keeps, also where it does not have the usual name.
    gw.init.forget_bias_(layer, 3.0)
    close(effective_bias(layer, "keep", (0, False)), torch.full((5,), 3.0))


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda: gw.init.chrono_(gw.LSTM(3, 5), 2), "t_max=2"),
        (lambda: gw.init.chrono_(gw.LSTM(3, 5), 9.5), "t_max=9.5"),
        (lambda: gw.init.forget_bias_(gw.LSTM(3, 5, bias=False)), "bias=True"),
        (lambda: gw.init.time_constants_(gw.LSTM(3, 5), 0.0), "above 0"),
        (lambda: gw.init.time_constants_(gw.LSTM(3, 5), torch.ones(4)), "one for each unit"),
        (lambda: gw.init.horizon_(gw.LSTM(3, 5), 2.5), "steps=2.5"),
        (lambda: gw.init.forget_bias_(gw.RNN(3, 5)), "no product f or z"),
        (lambda: gw.init.forget_bias_(of_cell("leaky_rnn")), "'rate' is a leak and no gate"),
        (lambda: gw.init.forget_bias_(of_cell("layer_norm_lstm"), product="f"), "in 'f_bias'"),
        (lambda: gw.init.forget_bias_(gw.LSTM(3, 5), product="q"), "no product 'q'"),
        (lambda: gw.init.orthogonal_(torch.nn.LSTM(3, 5)), "is a LSTM; give a gatewright layer"),
        (lambda: gw.init.chrono_(gw.LSTMCell(3, 5), 9), "is a LSTMCell; give a gatewright layer"),
    ],
)
def test_what_makes_no_start_is_refused(act, words: str):
    with pytest.raises(gw.ArgumentError) as caught:
        act()
    assert words in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_and_devices(dtype: torch.dtype):
    layer = gw.init.forget_bias_(gw.PeepholeLSTM(3, 5, dtype=dtype))
    gw.init.chrono_(layer, 20)
    if dtype != torch.bfloat16:  # torch has no orthogonal matrices in it
        gw.init.orthogonal_(layer)
    assert {one.dtype for one in layer.parameters()} == {dtype}


#: Layers of cells with sizes or inputs of their own.
ODD = {"mut1": 5, "mut2": 5}
INPUTS = {"dt": 1, "delta": 3, "mask": 3}


def of_cell(name: str, **options: str) -> gw.Recurrent:
    return gw.Recurrent(name, ODD.get(name, 3), 5, **options).eval()


def further(layer: gw.Recurrent, steps: int) -> dict[str, torch.Tensor]:
    return {name: torch.ones(steps, 2, INPUTS[name]) for name in layer.graph.equations.inputs}


#: Cells with all kinds of gates that a bias can set: a bias by itself, a parameter, a gate that
#: keeps when it is shut, several gates in a step, a leak.
SET = ["layer_norm_lstm", "fast_grnn", "lstm_cifg", "lem", "recurrent_highway", "leaky_rnn"]


@pytest.mark.parametrize("kind", [*KEEPS, *SET])
def test_time_constants_are_what_a_unit_keeps(kind):
    """With all weights at zero, each unit has the time constant that was asked for."""
    layer = LAYERS[kind]() if kind in LAYERS else of_cell(kind)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
    steps = torch.tensor([0.5, 2.0, 5.0, 20.0, 300.0])
    assert gw.init.time_constants_(layer, steps) is layer
    states = {one.state for one in memory_gates(layer.graph)}
    more = further(layer, 4)
    for asked in (steps, torch.full((5,), 7.0)):
        gw.init.time_constants_(layer, asked)
        for place in range(len(layer.places)):
            constants = gw.probes.time_constants(layer, torch.zeros(4, 2, 3), place=place, **more)
            for name in states:
                torch.testing.assert_close(constants[name], asked, rtol=1e-3, atol=0.0)


def test_a_bias_that_is_a_parameter_is_set_too():
    layer = gw.init.forget_bias_(of_cell("layer_norm_lstm"), 2.0)
    assert torch.equal(layer.weights("f_bias")["f_bias"][0], torch.full((5,), 2.0))
    keep = gw.init.chrono_(layer, 50).weights("f_bias")["f_bias"][0]
    assert 0 <= keep.min() < keep.max() <= math.log(49)
    assert torch.equal(layer.weights("i_bias")["i_bias"][0], -keep)
    assert not layer.weights("g_bias")["g_bias"][0].any()
    # In one direction only; both biases of the other direction stay as they are.
    grnn = gw.init.forget_bias_(of_cell("fast_grnn"), 3.0)
    assert torch.equal(grnn.weights("z")["z"][0], torch.full((5,), 3.0))
    assert torch.equal(grnn.weights("n")["n"][0], torch.ones(5))


def test_identity_keeps_a_rectified_state():
    layer = gw.init.identity_(gw.RNN(3, 5, nonlinearity="relu"))
    h = torch.rand(1, 2, 5)
    _, after = layer(torch.zeros(30, 2, 3), h)
    close(after, h)
    assert gw.init.identity_(layer, 0.5).weights("h")["h"][0][0, 0] == 0.5
    gates = gw.init.identity_(gw.LSTM(3, 5))
    assert all(torch.equal(gates.weights(p)["h"][0], torch.eye(5)) for p in gates.products)


#: Cells that no initial values give a long memory, and the reason in the warning.
LIMITED = dict.fromkeys(["scrn", "cornn", "antisymmetric_rnn", "lstm_nfg"], "over by constants")
LIMITED |= dict.fromkeys(["elman_rnn", "cfc"], "no gate of")


@pytest.mark.parametrize("name", gw.CELLS)
def test_a_start_for_a_horizon_reaches_it_or_says_why_not(name):
    torch.manual_seed(0)
    layer = of_cell(name, backend="reference")  # the weights matter here, not the kernels
    steps = 30
    x, more = 0.5 * torch.randn(steps + 5, 2, layer.input_size), further(layer, steps + 5)

    def left() -> float:
        flow = gw.probes.gradient_horizon(layer, x, lags=steps, ends=1, **more)
        # The path that fades least: that of the memory, where the cell has one next to its output.
        return max(path.total[steps].item() for path in flow.paths.values())

    before = left()
    weights = [one.clone() for one in layer.parameters()]
    if name in LIMITED:
        with pytest.warns(UserWarning, match=LIMITED[name]):
            gw.init.horizon_(layer, steps)
        same = all(map(torch.equal, weights, layer.parameters()))
        assert same == ("constants" in LIMITED[name])
        return
    assert gw.init.horizon_(layer, steps) is layer and gw.init.horizon_limit(layer) is None
    assert before < 0.02 < 0.1 < left()


def test_without_a_gate_the_matrix_keeps():
    with pytest.warns(UserWarning, match="no gate of ElmanRNN keeps its state"):
        layer = gw.init.horizon_(gw.RNN(3, 5), 50)
    matrix = layer.weights("h")["h"][0]
    close(matrix @ matrix.T, torch.eye(5))
    layer = gw.init.horizon_(gw.RNN(3, 5, nonlinearity="relu"), 50)
    assert torch.equal(layer.weights("h")["h"][0], torch.eye(5))
