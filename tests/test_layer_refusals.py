"""Wrong arguments are refused with what was given, what was expected and what to do."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence

import gatewright as gw
from gatewright.training.networks import solve_hidden_size
from odd_cells import CELLS, make

F64 = torch.float64
X = torch.zeros(4, 2, 3, dtype=F64)
H = torch.zeros(1, 2, 5, dtype=F64)
PACKED = pack_padded_sequence(X, [4, 2])
OTHER = pack_padded_sequence(torch.zeros(4, 2, dtype=F64), [4, 3])

A, S = gw.ArgumentError, gw.SizeError

INPUTS = {
    "no tensor": ("lstm", ([[1.0]],), {}, A, "input is a list; give a tensor or a PackedSequence"),
    "axes": ("lstm", (torch.zeros(3, dtype=F64),), {}, S, "(time, batch, input)"),
    "size": ("lstm", (torch.zeros(4, 2, 7, dtype=F64),), {}, S, "7 values a step; expected inp"),
    "nested": (
        "lstm",
        # Made in the test: it imports torch's compiler, which takes 1.3 s.
        (lambda: torch.nested.nested_tensor([X[0], X[1]], layout=torch.jagged),),
        {},
        A,
        "input is a nested tensor; give a PackedSequence, as torch.nn.utils.rnn.pack_sequence(",
    ),
    "sparse": ("lstm", (X.to_sparse(),), {}, A, "input is torch.sparse_coo; give x.to_den"),
    "packed size": (
        "lstm",
        (pack_padded_sequence(torch.zeros(4, 2, 7, dtype=F64), [4, 2]),),
        {},
        S,
        "7 values a step",
    ),
    "packed axes": ("lstm", (pack_sequence([torch.zeros(3)]),), {}, S, "packed data has shape (3"),
    "dtype": ("lstm", (X.float(),), {}, A, "input is torch.float32 and the weights are torch.fl"),
    "whole numbers": ("lstm", (X.long(),), {}, A, "x.to(torch.float64)"),
    "device": ("lstm", (X.to("meta"),), {}, A, "input is on meta and the weights are on cpu"),
    "bare state": ("lstm", (X, H), {}, A, "the states are a tuple (h, c); given was Tensor"),
    "one state": ("lstm", (X, (H,)), {}, A, "given was 1 of them"),
    "tuple of one": ("gru", (X, (H,)), {}, A, "state h is a tuple; give a tensor"),
    "no state": ("lstm", (X, (H, None)), {}, A, "state c is None; give all states or none"),
    "state's shape": (
        "lstm",
        (X, (H, torch.zeros(1, 2, 4, dtype=F64))),
        {},
        S,
        "state c has shape (1, 2, 4); expected (1, 2, 5) = (layers x directions, batch, size)",
    ),
    "state's axes": ("gru", (X, H[0]), {}, S, "state h has shape (2, 5); expected (1, 2, 5)"),
    "state unbatched": (
        "gru",
        (X[:, 0], H),
        {},
        S,
        "expected (1, 5) = (layers x directions, size)",
    ),
    "state's dtype": ("gru", (X, H.float()), {}, A, "state h is torch.float32"),
    "state's device": ("gru", (X, H.to("meta")), {}, A, "state h is on meta"),
    "state's kind": ("gru", (X, 3), {}, A, "state h is a int"),
    "lengths of words": ("gru", (X,), {"lengths": ["a", "b"]}, A, "lengths is no row of whole"),
    "lengths in halves": ("gru", (X,), {"lengths": [1.5, 2.0]}, A, "lengths is torch.float32"),
    "lengths as marks": ("gru", (X,), {"lengths": [True, False]}, A, "lengths is torch.bool"),
    "lengths too many": ("gru", (X,), {"lengths": [1, 2, 3]}, S, "shape (3,); expected (2,)"),
    "lengths too long": ("gru", (X,), {"lengths": [1, 5]}, S, "from 1 to 5; the input has 4 steps"),
    "lengths below 0": ("gru", (X,), {"lengths": [-1, 4]}, S, "from -1 to 4"),
    "lengths twice": ("gru", (PACKED,), {"lengths": [4, 2]}, A, "PackedSequence, which has its"),
    "starts as numbers": ("gru", (X,), {"starts": X[..., 0]}, A, "starts is torch.float64; give a"),
    "starts as a list": ("gru", (X,), {"starts": [True]}, A, "starts is a list; give a tensor"),
    "starts' shape": ("gru", (X,), {"starts": X[0, :, 0] == 1}, S, "shape (2,); expected (4, 2)"),
    "starts packed otherwise": (
        "gru",
        (PACKED,),
        {"starts": OTHER._replace(data=OTHER.data == 1)},
        A,
        "packed in another way",
    ),
    "only starts packed": (
        "gru",
        (X,),
        {"starts": OTHER._replace(data=OTHER.data == 1)},
        A,
        "packed in another way",
    ),
    "an input it has not": ("gru", (X,), {"dt": X}, A, "['dt'] were given; GRU reads []"),
    "inputs it lacks": ("timed", (X,), {}, A, "[] were given; Timed reads ['dt', 'push']"),
    "an input's shape": (
        "timed",
        (X,),
        {"dt": X, "push": X[..., 0]},
        S,
        "input dt has shape (4, 2, 3); expected (4, 2, 1), or (4, 2) for one value a step",
    ),
    "an input's kind": ("timed", (X,), {"dt": [0.0], "push": X[..., 0]}, A, "dt is a list"),
    "an input's dtype": (
        "timed",
        (X,),
        {"dt": X[..., 0].float(), "push": X[..., 0]},
        A,
        "further input dt is torch.float32",
    ),
    "an input packed otherwise": (
        "timed",
        (PACKED,),
        {"dt": OTHER, "push": PACKED.data[:, 0]},
        A,
        "further input dt is packed in another way",
    ),
}


@pytest.mark.parametrize("case", INPUTS)
def test_a_run_refuses_what_does_not_fit(case: str):
    name, arguments, more, kind, words = INPUTS[case]
    arguments = tuple(value() if callable(value) else value for value in arguments)
    for act in (make(name), make(name).trace):
        with pytest.raises(kind) as caught:
            act(*arguments, **more)
        assert words in str(caught.value)


class Sized(gw.Cell):
    """A further input of the input's size."""

    sizes = {"pull": "input"}  # noqa: RUF012 -- read, never changed

    def step(self, x, h, *, pull):
        h = gw.tanh(gw.linear(x, h, pull))
        return gw.state(h=h)


class Square(gw.Cell):
    """Adds the event to the memory as it is."""

    def step(self, x, h):
        h = gw.tanh(gw.linear(h)) + x
        return gw.state(h=h)


class Fielded(gw.Cell):
    """Has a field without a value."""

    rate: float

    def step(self, x, h):
        h = self.rate * h + gw.linear(x)
        return gw.state(h=h)


LAYERS = {
    "cell's name": (
        lambda: gw.Recurrent("lstn", 3, 5),
        A,
        "there is no cell 'lstn'; did you mean lstm",
    ),
    "cell's kind": (lambda: gw.Recurrent(torch.nn.LSTM, 3, 5), A, "cell is a type; give a Cell"),
    "cell's arguments": (lambda: gw.Recurrent(Fielded, 3, 5), A, "Recurrent(Fielded(...), ...)"),
    "layer": (lambda: gw.Recurrent(gw.LSTM(3, 5), 3, 5), A, "cell is a LSTM; give a Cell"),
    "size": (lambda: gw.Recurrent("lstm", 0, 5), S, "input_size=0"),
    "bool": (lambda: gw.Recurrent("lstm", 3, 5, True), TypeError, "num_layers=True"),
    "dropout": (lambda: gw.Recurrent("lstm", 3, 5, 2, dropout="half"), A, "dropout='half'"),
    "backend": (lambda: gw.Recurrent("lstm", 3, 5, backend="cuda"), A, "one of auto, "),
    "sizes that must agree": (
        lambda: gw.Recurrent(Square(), 3, 5),
        S,
        "must be equal; build the layer with equal sizes",
    ),
    "heads": (lambda: gw.Recurrent(CELLS["heads"][0], 3, 5), S, "give a multiple of 2"),
    "input differs by layer": (
        lambda: gw.Recurrent(Sized(), 3, 5, 2)(torch.zeros(4, 2, 3), pull=torch.zeros(4, 2, 3)),
        S,
        "further input pull has the input's size, which differs by layer",
    ),
    "state a layer": (
        lambda: make("echo", num_layers=2)(X, (torch.zeros(2, 2, 5, dtype=F64), 3)),
        A,
        "state m has another size at each layer ([3, 5]); give a list of 2 tensors",
    ),
    "shape a layer": (
        lambda: make("echo", num_layers=2)(X, (torch.zeros(2, 2, 5, dtype=F64), [H, H])),
        S,
        "state m has shape (1, 2, 5); expected (1, 2, 3) = (directions, batch, size)",
    ),
}


@pytest.mark.parametrize("case", LAYERS)
def test_a_layer_refuses_what_does_not_fit(case: str):
    act, kind, words = LAYERS[case]
    with pytest.raises(kind) as caught:
        act()
    assert words in str(caught.value)


@pytest.mark.parametrize("rows, columns", [(5, 4), (5, 6), (4, 5)])
def test_a_matrix_of_another_shape_is_never_read(rows: int, columns: int):
    layer = gw.Recurrent("lstm", 3, 5, backend="llvm")
    layer(torch.zeros(4, 2, 3))
    layer.layers["0_forward"].f.h.weight = torch.nn.Parameter(torch.zeros(rows, columns))
    words = r"f.h.weight has shape \(., .\); expected \(5, 5\)"
    with pytest.raises(S, match=words):
        layer(torch.zeros(4, 2, 3))


STEPS = {
    "no weights": ((X[0],), {}, A, "give weights="),
    "too many states": ((X[0], H[0], H[0], H[0]), {"weights": {}}, A, "3 states were given"),
    "no tensor": (([1.0],), {"weights": {}}, A, "x is a list; give a tensor"),
    "state no tensor": ((X[0], 1.0), {"weights": {}}, A, "h is a float; give a tensor"),
    "axes": ((X,), {"weights": {}}, S, "expected (batch, input) or (input,)"),
    "an input": ((X[0],), {"weights": {}, "dt": X}, A, "['dt'] were given"),
    "a product": ((X[0],), {"weights": {}}, A, "weights has no entry"),
    "weights of no kind": ((X[0],), {"weights": 3}, A, "weights is a int"),
    "sources of no kind": (
        (X[0],),
        {"weights": {"g": 3}},
        A,
        "weights['g'] is no mapping; give {source: (W, b)}",
    ),
    "pairs of no kind": (
        (X[0],),
        {"weights": {"g": {"x": torch.zeros(5, 3), "h": torch.zeros(5, 5)}}},
        A,
        "weights['g']['x'] is no pair of tensors; give (W, b)",
    ),
}


@pytest.mark.parametrize("case", STEPS)
def test_one_step_by_hand_refuses_what_does_not_fit(case: str):
    arguments, more, kind, words = STEPS[case]
    with pytest.raises(kind) as caught:
        make("lstm").cell(*arguments, **more)
    assert words in str(caught.value)


CHANGES = {
    "a source is missing": (lambda w: w["f"].pop("h"), A, "weights['f'] has no 'h'"),
    "a bias is missing": (
        lambda w: w["f"].update(x=(w["f"]["x"][0], None)),
        A,
        "weights['f']['x'] has no bias; give (W, b)",
    ),
    "a weight's shape": (
        lambda w: w["f"].update(x=(torch.zeros(5, 4, dtype=F64), w["f"]["x"][1])),
        S,
        "the weight has shape (5, 4); expected (5, 3)",
    ),
    "a bias's shape": (
        lambda w: w["f"].update(x=(w["f"]["x"][0], torch.zeros(4, dtype=F64))),
        S,
        "the bias has shape (4,); expected (5,)",
    ),
    "a weight's dtype": (
        lambda w: w["f"].update(x=(w["f"]["x"][0].float(), w["f"]["x"][1])),
        A,
        "dtypes differ: x torch.float64, and among the weights",
    ),
    "a weight's kind": (
        lambda w: w["f"].update(x=([1.0], w["f"]["x"][1])),
        A,
        "weights['f']['x']",
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_one_step_by_hand_refuses_weights_that_do_not_fit(case: str):
    change, kind, words = CHANGES[case]
    layer = make("lstm")
    weights = {name: dict(layer.weights(name)) for name in layer.products}
    change(weights)
    with pytest.raises(kind) as caught:
        layer.cell(X[0], weights=weights)
    assert words in str(caught.value)


def test_one_step_by_hand_refuses_states_that_do_not_fit():
    layer = make("lstm")
    weights = {name: layer.weights(name) for name in layer.products}
    with pytest.raises(S, match=r"c has shape \(2, 4\); expected \(2, 5\) = \(batch, hidden\)"):
        layer.cell(X[0], H[0], torch.zeros(2, 4, dtype=F64), weights=weights)
    with pytest.raises(S, match=r"h has shape \(2, 5\); expected \(5,\) = \(hidden,\)"):
        layer.cell(X[0, 0], H[0], weights=weights)
    with pytest.raises(A, match=r"dtypes differ: h torch.float32, x torch.float64"):
        layer.cell(X[0], H[0].float(), weights=weights)


class Fixed(gw.Cell):
    """A cell whose state has a size of its own."""

    sizes = {"h": 4}  # noqa: RUF012  (as users write it)

    def step(self, x, h):
        return gw.state(h=gw.tanh(gw.linear(x, h, size=4)))


def test_a_hidden_size_that_changes_nothing_is_said():
    with pytest.warns(UserWarning, match=r"hidden_size=64 has no effect: .* \(h: 4\)"):
        layer = gw.Recurrent(Fixed, 3, 64)
    assert layer.output_size == 4
    gw.Recurrent(Fixed, 3, 4)  # the same as the size of its state
    gw.check_cell(Fixed)


def test_a_budget_for_a_network_of_one_size_is_refused():
    with pytest.raises(gw.ArgumentError, match="whatever its hidden size"):
        solve_hidden_size("Fixed", lambda size: gw.Recurrent(Fixed, 3, size), 10_000)


def of_two_dtypes() -> None:
    layer = gw.LSTM(3, 5, dtype=torch.bfloat16)
    layer.weight_hh_l0.data = layer.weight_hh_l0.data.float()
    x = torch.zeros(4, 2, 3, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x)  # converts them
    layer(x)


LAYER = gw.Recurrent("lstm", 3, 5, dtype=F64)
WRONG_TYPES = {
    "a text to hold": (lambda: LAYER.trace(X, hold="f"), "hold is a str; give a dictionary"),
    "a tensor to hold": (lambda: LAYER.trace(X, hold=X), "hold is a Tensor; give a dictionary"),
    "no flag": (lambda: LAYER.trace(X, grad=None), "grad=None; expected True or False"),
    "layer 0 as a text": (lambda: LAYER.weights("f", layer="0"), "layer='0'; the layers are 0"),
    "no direction": (lambda: LAYER.weights("f", reverse=None), "reverse=None; expected True"),
    "two precisions": (lambda: LAYER.stepper(precision=["int8"]), r"precision is \['int8'\]"),
    "a number to restore": (lambda: gw.LSTM(3, 4).stepper().restore(10**12), "these are no states"),
    "a state dict": (lambda: gw.save(LAYER.state_dict(), "no"), "OrderedDict cannot be saved"),
    "two dtypes": (of_two_dtypes, "several dtypes, torch.bfloat16, torch.float32; convert the l"),
    "gates by number": (lambda: gw.PeepholeLSTM(3, 4, gates=2), "gates=2; give a tuple"),
}


@pytest.mark.parametrize("case", WRONG_TYPES)
def test_wrong_types_are_refused(case: str):
    use, message = WRONG_TYPES[case]
    with pytest.raises(gw.ArgumentError, match=message):
        use()
