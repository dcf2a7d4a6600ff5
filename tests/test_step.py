"""One step by hand: a cell applied to tensors, and the lesson's numbers for one unit."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gatewright as gw
from by_hand import SIZES, cell_of, normal, random_weights
from gatewright.cells import GRU, LSTM, ElmanRNN, LessonLSTM, PeepholeLSTM
from gatewright.errors import ArgumentError, GatewrightError, SizeError
from odd_cells import CLASSIC

TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def scalar(value: float) -> Tensor:
    return torch.tensor([[value]], dtype=torch.float64)


#: The lesson's example, one unit: event, short-term memory, long-term memory.
E, STM, LTM = 0.5, -0.25, 0.8
#: Weight of the event, of the short-term memory, and bias of each product.
NUMBERS = {
    "g": (0.7, -0.4, 0.1),
    "i": (1.1, 0.3, -0.2),
    "f": (-0.6, 0.9, 0.5),
    "o": (0.2, -1.3, 0.4),
    "v": (0.8, 0.6, -0.7),
}


def lesson_weights(*names: str, **more: Any) -> Any:
    weights = {
        name: {
            "x": (scalar(NUMBERS[name][0]), scalar(NUMBERS[name][2])[0]),
            "h": (scalar(NUMBERS[name][1]), None),
        }
        for name in names
    }
    return weights | more


def inside(name: str) -> float:
    x, h, b = NUMBERS[name]
    return x * E + h * STM + b


def test_the_four_gates_by_hand():
    learn = sigmoid(inside("i")) * math.tanh(inside("g"))
    forget = sigmoid(inside("f")) * LTM
    remember = learn + forget
    use = sigmoid(inside("o")) * math.tanh(remember)

    (h, c), values = LSTM()(
        scalar(E), scalar(STM), scalar(LTM), weights=lesson_weights(*"gifo"), values=True
    )
    gates = {name: values[name].item() for name in ("learn", "forget", "remember", "use")}
    expected = {"learn": learn, "forget": forget, "remember": remember, "use": use}
    assert gates == pytest.approx(expected, rel=1e-14)
    assert (h.item(), c.item()) == (gates["use"], gates["remember"])
    assert learn != pytest.approx(forget)  # the numbers tell the gates apart


def test_the_use_gate_of_the_lesson_by_hand():
    forget = sigmoid(inside("f")) * LTM
    remember = sigmoid(inside("i")) * math.tanh(inside("g")) + forget
    use = sigmoid(inside("v")) * math.tanh(-1.7 * forget + 0.3)
    weights = lesson_weights(*"gifv", u={"forget": (scalar(-1.7), scalar(0.3)[0])})
    h, c = LessonLSTM()(scalar(E), scalar(STM), scalar(LTM), weights=weights)
    assert h.item() == pytest.approx(use, rel=1e-14)
    assert c.item() == pytest.approx(remember, rel=1e-14)


@pytest.mark.parametrize("reads", ["new", "old"])
def test_the_peepholes_by_hand(reads: Any):
    peeps = {"i": 0.35, "f": -0.15, "o": 0.65}
    i, f = (sigmoid(inside(name) + peeps[name] * LTM) for name in "if")
    remember = i * math.tanh(inside("g")) + f * LTM
    seen = remember if reads == "new" else LTM
    use = sigmoid(inside("o") + peeps["o"] * seen) * math.tanh(remember)
    weights = lesson_weights(*"gifo")
    for name, peep in peeps.items():
        weights[name]["c*"] = (scalar(peep)[0], None)
    h, c = PeepholeLSTM(output_reads=reads)(scalar(E), scalar(STM), scalar(LTM), weights=weights)
    assert (h.item(), c.item()) == pytest.approx((use, remember), rel=1e-14)


# Against torch's own cells.
def gates_of(cell: nn.Module, names: str, sizes: dict[str, Any] = SIZES) -> Any:
    """Torch's stacked weights as ours; the two biases add up."""
    wx, wh, bx, bh = (
        getattr(cell, name).detach().chunk(len(names))
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    return {name: {"x": (wx[k], bx[k] + bh[k]), "h": (wh[k], None)} for k, name in enumerate(names)}


def test_the_lstm_is_torchs():
    torch.manual_seed(0)
    theirs = nn.LSTMCell(5, 6).double()
    x, h, c = normal(4, 5), normal(4, 6, seed=2), normal(4, 6, seed=3)
    got = LSTM()(x, h, c, weights=gates_of(theirs, "ifgo"))
    torch.testing.assert_close(got, theirs(x, (h, c)), **TOLERANCE)


def test_the_gru_is_torchs():
    torch.manual_seed(0)
    theirs = nn.GRUCell(5, 6).double()
    weights = gates_of(theirs, "rzn")
    wx, wh = weights["n"]["x"][0], weights["n"]["h"][0]
    bx, bh = (bias.detach().chunk(3)[2] for bias in (theirs.bias_ih, theirs.bias_hh))
    weights["n"] = {"x": (wx, bx), "h": (wh, bh)}
    x, h = normal(4, 5), normal(4, 6, seed=2)
    torch.testing.assert_close(GRU()(x, h, weights=weights), theirs(x, h), **TOLERANCE)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_the_rnn_is_torchs(nonlinearity: Any):
    torch.manual_seed(0)
    theirs = nn.RNNCell(5, 6, nonlinearity=nonlinearity).double()
    x, h = normal(4, 5), normal(4, 6, seed=2)
    got = ElmanRNN(nonlinearity=nonlinearity)(x, h, weights=gates_of(theirs, "h"))
    torch.testing.assert_close(got, theirs(x, h), **TOLERANCE)


# Forms of a call.
@pytest.mark.parametrize("name", CLASSIC)
def test_without_a_batch_it_is_one_row_of_it(name: str):
    cell = CLASSIC[name]()
    weights = random_weights(cell)
    x = normal(4, 5)
    states = [normal(4, 6, seed=k) for k in range(2, 2 + len(cell.equations.states))]
    after, values = cell(x, *states, weights=weights, values=True)
    row, named = cell(x[1], *(state[1] for state in states), weights=weights, values=True)
    if isinstance(row, tuple):
        torch.testing.assert_close(row, tuple(state[1] for state in after), **TOLERANCE)
    else:
        torch.testing.assert_close(row, after[1], **TOLERANCE)
    assert values.keys() == named.keys() == {*cell.equations.names, "output"}
    for key, value in named.items():
        torch.testing.assert_close(value, values[key][1], **TOLERANCE)


def test_states_left_out_take_their_start():
    class Started(LSTM):
        initial = {"c": 0.5}  # noqa: RUF012

    cell, x, h = Started(), normal(4, 5), normal(4, 6, seed=2)
    weights = random_weights(cell)
    c = torch.full_like(h, 0.5)
    for got, states in (
        (cell(x, weights=weights), (torch.zeros_like(h), c)),
        (cell(x, h, weights=weights), (h, c)),
        (cell(x, None, h, weights=weights), (torch.zeros_like(h), h)),
    ):
        torch.testing.assert_close(got, cell(x, *states, weights=weights), **TOLERANCE)


def test_an_empty_batch_is_a_batch():
    h, c = LSTM()(normal(0, 5), weights=random_weights(LSTM()))
    assert h.shape == c.shape == (0, 6)


def test_gradients_reach_all_arguments():
    cell, x, h = GRU(), normal(4, 5).requires_grad_(), normal(4, 6).requires_grad_()
    weights = random_weights(cell)
    matrix = weights["z"]["h"][0].requires_grad_()
    cell(x, h, weights=weights).sum().backward()
    assert all(one.grad is not None and one.grad.any() for one in (x, h, matrix))


class Timed(gw.Cell):
    """A memory that fades with the time that has gone by."""

    sizes = {"dt": 1, "x": "hidden"}  # noqa: RUF012

    def step(self, event: Any, h: Any, *, dt: Any, x: Any) -> Any:
        h = h * gw.exp(-dt) + gw.tanh(gw.linear(event, x))
        return gw.state(h=h)


def test_further_inputs_may_be_called_anything():
    cell, event, h, dt, x = Timed(), normal(4, 5), normal(4, 6), normal(4, 1), normal(4, 6)
    weights = random_weights(cell)
    own, bias = weights["h"]["event"]
    expected = h * torch.exp(-dt) + torch.tanh(event @ own.T + bias + x @ weights["h"]["x"][0].T)
    got = cell(event, h, dt=dt, x=x, weights=weights)
    torch.testing.assert_close(got, expected, **TOLERANCE)
    row = cell(event[0], h[0], dt=dt[0], x=x[0], weights=weights)
    torch.testing.assert_close(row, expected[0], **TOLERANCE)


def test_a_cell_without_weights_takes_none():
    def step(self: Any, x: Any, h: Any) -> Any:
        return gw.state(h=0.5 * h)

    h = normal(4, 6)
    assert torch.equal(cell_of(step)(normal(4, 5), h, weights={}), 0.5 * h)


def test_float32_stays_float32():
    weights = {
        name: {
            key: tuple(v if v is None else v.float() for v in pair) for key, pair in sources.items()
        }
        for name, sources in random_weights(LSTM()).items()
    }
    h, c = LSTM()(normal(4, 5).float(), weights=weights)
    assert h.dtype == c.dtype == torch.float32


# Refusals.
X, H, C = normal(4, 5), normal(4, 6), normal(4, 6)
W = random_weights(LSTM())


def less(product: str, source: str | None = None) -> Any:
    """Return the weights without a product, or without one source of it."""
    return {
        name: {key: pair for key, pair in sources.items() if (name, key) != (product, source)}
        for name, sources in W.items()
        if source is not None or name != product
    }


def with_pair(product: str, source: str, pair: Any) -> Any:
    return {**W, product: {**W[product], source: pair}}


REFUSED: dict[str, tuple[Any, type[GatewrightError], str]] = {
    "no weights": (lambda: LSTM()(X, H, C), ArgumentError, "without weights; give weights="),
    "too many states": (
        lambda: LSTM()(X, H, C, C, weights=W),
        ArgumentError,
        "3 states were given; LSTM has h, c",
    ),
    "unknown input": (
        lambda: LSTM()(X, H, C, dt=X, weights=W),
        ArgumentError,
        "['dt'] were given; LSTM reads []",
    ),
    "missing input": (
        lambda: Timed()(X, H, dt=X, weights={}),
        ArgumentError,
        "Timed reads ['dt', 'x']",
    ),
    "list for x": (
        lambda: LSTM()([1.0], H, C, weights=W),
        ArgumentError,
        "x is a list; give a tensor",
    ),
    "tuple for h": (
        lambda: LSTM()(X, (H, C), weights=W),
        ArgumentError,
        "h is a tuple; give a tensor",
    ),
    "whole numbers": (
        lambda: LSTM()(X.long(), H, C, weights=W),
        ArgumentError,
        "x has dtype torch.int64",
    ),
    "another dtype": (lambda: LSTM()(X.float(), H, C, weights=W), ArgumentError, "dtypes differ"),
    "a sequence": (
        lambda: LSTM()(normal(2, 4, 5), weights=W),
        SizeError,
        "x has shape (2, 4, 5); expected (batch, input)",
    ),
    "no axis": (lambda: LSTM()(normal(), weights=W), SizeError, "x has shape (); expected (batch"),
    "wrong state": (
        lambda: LSTM()(X, H, normal(4, 7), weights=W),
        SizeError,
        "c has shape (4, 7); expected (4, 6) = (batch, hidden)",
    ),
    "wrong batch": (
        lambda: LSTM()(X, normal(3, 6), C, weights=W),
        SizeError,
        "h has shape (3, 6); expected (4, 6)",
    ),
    "unbatched state": (
        lambda: LSTM()(X, normal(6), C, weights=W),
        SizeError,
        "h has shape (6,); expected (4, 6)",
    ),
    "wrong event": (
        lambda: LSTM()(normal(4, 7), H, C, weights=W),
        SizeError,
        "weights['g']['x']: the weight has shape (6, 5); expected (6, 7)",
    ),
    "weights of text": (
        lambda: LSTM()(X, weights="W"),
        ArgumentError,
        "weights is a str; give a mapping",
    ),
    "weights in a list": (
        lambda: LSTM()(X, weights=[W]),
        ArgumentError,
        "weights is a list; give a mapping",
    ),
    "product missing": (
        lambda: LSTM()(X, H, C, weights=less("f")),
        ArgumentError,
        "weights has no entry 'f'; LSTM needs ['f', 'g', 'i', 'o']",
    ),
    "source missing": (
        lambda: LSTM()(X, H, C, weights=less("f", "h")),
        ArgumentError,
        "weights['f'] has no 'h', only ['x']",
    ),
    "unknown product": (
        lambda: LSTM()(X, H, C, weights={**W, "z": W["f"]}),
        ArgumentError,
        "an entry 'z' that LSTM does not read",
    ),
    "unknown source": (
        lambda: LSTM()(X, H, C, weights=with_pair("f", "c*", (normal(6), None))),
        ArgumentError,
        "weights['f'] has an entry 'c*' that is not read; f reads ['h', 'x']",
    ),
    "product no mapping": (
        lambda: LSTM()(X, H, C, weights={**W, "f": normal(6, 5)}),
        ArgumentError,
        "weights['f'] is no mapping",
    ),
    "bare matrix": (
        lambda: LSTM()(X, H, C, weights=with_pair("f", "h", normal(6, 6))),
        ArgumentError,
        "weights['f']['h'] is no pair of tensors; give (W, b)",
    ),
    "no bias": (
        lambda: LSTM()(X, H, C, weights=with_pair("f", "x", (normal(6, 5), None))),
        ArgumentError,
        "weights['f']['x'] has no bias; give (W, b)",
    ),
    "wrong matrix": (
        lambda: LSTM()(X, H, C, weights=with_pair("f", "h", (normal(6, 5), None))),
        SizeError,
        "weights['f']['h']: the weight has shape (6, 5); expected (6, 6)",
    ),
    "wrong bias": (
        lambda: LSTM()(X, H, C, weights=with_pair("f", "x", (normal(6, 5), normal(5)))),
        SizeError,
        "weights['f']['x']: the bias has shape (5,); expected (6,)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_arguments_that_do_not_fit_are_refused(name: str):
    call, kind, says = REFUSED[name]
    with pytest.raises(kind) as caught:
        call()
    assert says in str(caught.value), str(caught.value)
