"""`gw.RNN`, `gw.LSTM` and `gw.GRU` against `torch.nn`: values, all gradients, every option."""

from __future__ import annotations

import copy
import inspect
import pickle
import random

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import gatewright as gw
from gatewright.errors import WrongType
from tolerances import close, gradients, tensors

F64 = torch.float64
KINDS = {"RNN": (gw.RNN, nn.RNN), "LSTM": (gw.LSTM, nn.LSTM), "GRU": (gw.GRU, nn.GRU)}
CELLS = {
    "RNN": (gw.RNNCell, nn.RNNCell),
    "LSTM": (gw.LSTMCell, nn.LSTMCell),
    "GRU": (gw.GRUCell, nn.GRUCell),
}


def random_options(kind: str, draw: random.Random) -> dict:
    options = {
        "input_size": draw.choice([1, 3, 7]),
        "hidden_size": draw.choice([2, 5, 9]),
        "num_layers": draw.choice([1, 2, 3]),
        "bias": draw.random() < 0.75,
        "batch_first": draw.random() < 0.5,
        "bidirectional": draw.random() < 0.5,
    }
    if options["num_layers"] > 1 and draw.random() < 0.5:
        options["dropout"] = 0.4
    if kind == "LSTM" and draw.random() < 0.5:
        options["proj_size"] = draw.randrange(1, options["hidden_size"])
    if kind == "RNN":
        options["nonlinearity"] = draw.choice(["tanh", "relu"])
    return options


def random_input(options: dict, form: str, draw: random.Random):
    steps, batch = draw.choice([1, 4, 6]), draw.choice([1, 2, 5])
    size, batch_first = options["input_size"], options["batch_first"]
    if form == "unbatched":
        x = torch.randn(steps, size, dtype=F64, requires_grad=True)
        return x, lambda: x, ()
    shape = (batch, steps) if batch_first else (steps, batch)
    x = torch.randn(*shape, size, dtype=F64, requires_grad=True)
    if form == "padded":
        return x, lambda: x, (batch,)
    lengths = [draw.randint(1, steps) for _ in range(batch)]
    if form == "sorted":
        lengths.sort(reverse=True)
    return (
        x,
        lambda: pack_padded_sequence(
            x, torch.tensor(lengths), batch_first, enforce_sorted=form == "sorted"
        ),
        (batch,),
    )


def random_states(options: dict, kind: str, rows: tuple[int, ...]):
    places = options["num_layers"] * (1 + options["bidirectional"])
    output = options.get("proj_size") or options["hidden_size"]
    sizes = (output, options["hidden_size"]) if kind == "LSTM" else (output,)
    states = tuple(
        torch.randn(places, *rows, size, dtype=F64, requires_grad=True) for size in sizes
    )
    return states if kind == "LSTM" else states[0]


@pytest.mark.parametrize("form", ["padded", "unbatched", "sorted", "unsorted"])
@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_all_gradients_are_those_of_torch(kind: str, seed: int, form: str):
    draw = random.Random(f"{kind} {seed} {form}")
    torch.manual_seed(draw.randrange(2**31))
    options = random_options(kind, draw)
    ours, theirs = (one(**options, dtype=F64) for one in KINDS[kind])
    ours.load_state_dict(theirs.state_dict())
    training = draw.random() < 0.5
    ours.train(training), theirs.train(training)
    x, packed, rows = random_input(options, form, draw)
    hx = random_states(options, kind, rows) if draw.random() < 0.5 else None

    results = []
    for layer in (theirs, ours):
        torch.manual_seed(11)  # dropout draws
        result = layer(packed(), hx)
        states = [] if hx is None else tensors(hx)
        leaves = [x, *states, *layer.parameters()]
        results.append((result, gradients(result, leaves, seed)))
    (expected, expected_grads), (actual, actual_grads) = results
    close(actual, expected, f"{options} values")
    close(actual_grads, expected_grads, f"{options} gradients")


def test_the_options_are_all_drawn():
    """The options above are random; together they must cover every case."""
    drawn = [
        random_options(kind, random.Random(f"{kind} {seed} {form}"))
        for kind in KINDS
        for seed in range(12)
        for form in ("padded", "unbatched", "sorted", "unsorted")
    ]
    for name in ("bias", "batch_first", "bidirectional"):
        assert {one[name] for one in drawn} == {True, False}
    assert {one["num_layers"] for one in drawn} == {1, 2, 3}
    assert {one.get("nonlinearity") for one in drawn} == {None, "tanh", "relu"}
    assert sum("proj_size" in one and one["bidirectional"] for one in drawn) > 2
    assert sum("dropout" in one for one in drawn) > 10


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_in_training_changes_the_output(kind: str):
    layer = KINDS[kind][0](3, 5, 2, dropout=0.5, dtype=F64)
    x = torch.randn(4, 2, 3, dtype=F64)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("kind", [*KINDS, "projected"])
def test_state_dict_goes_both_ways_strictly(kind: str, bidirectional: bool, bias: bool):
    more = {"proj_size": 2} if kind == "projected" else {}
    pair = KINDS["LSTM" if kind == "projected" else kind]
    options = {"num_layers": 2, "bidirectional": bidirectional, "bias": bias, **more}
    ours, theirs = (one(3, 5, **options) for one in pair)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]
    for source, target in ((ours, theirs), (theirs, ours)):
        source.reset_parameters()
        target.load_state_dict(source.state_dict(), strict=True)
        close(dict(target.state_dict()), dict(source.state_dict()))
    parent = nn.Sequential(ours)
    assert list(parent.state_dict()) == [f"0.{name}" for name in theirs.state_dict()]


@pytest.mark.parametrize("kind", KINDS)
def test_one_seed_gives_the_weights_of_torch(kind: str):
    weights = []
    for layer_class in KINDS[kind]:
        torch.manual_seed(5)
        layer = layer_class(3, 5, 2, bidirectional=True)
        weights.append([*layer.parameters()])
        layer.reset_parameters()
        weights[-1] += [*layer.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


@pytest.mark.parametrize("pair", [*KINDS.values(), *CELLS.values()])
def test_arguments_stand_where_torch_has_them(pair):
    ours = [
        parameter
        for parameter in inspect.signature(pair[0]).parameters.values()
        if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    if issubclass(pair[1], nn.RNNBase):  # theirs take *args; this is the documented order
        order = ["input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout"]
        order += ["bidirectional", "device", "dtype"]
        if pair[1] is nn.RNN:
            order.insert(3, "nonlinearity")
        if pair[1] is nn.LSTM:
            order.insert(7, "proj_size")
    else:
        order = list(inspect.signature(pair[1]).parameters)
    assert [one.name for one in ours] == order


def test_positional_arguments_mean_what_they_mean_in_torch():
    arguments = {
        "RNN": (3, 5, 2, "relu", False, True, 0.5, True),
        "LSTM": (3, 5, 2, False, True, 0.5, True, 2),
        "GRU": (3, 5, 2, False, True, 0.5, True),
    }
    for kind, sizes in arguments.items():
        ours, theirs = (one(*sizes, dtype=F64) for one in KINDS[kind])
        ours.load_state_dict(theirs.state_dict())
        x = torch.randn(2, 4, 3, dtype=F64)
        close(ours.eval()(x), theirs.eval()(x), kind)


ATTRIBUTES = ["input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout"]
ATTRIBUTES += ["bidirectional", "proj_size", "training"]


@pytest.mark.parametrize("kind", KINDS)
def test_attributes_and_printing_are_those_of_torch(kind: str):
    for options in ({}, {"num_layers": 2, "bias": False, "batch_first": True, "dropout": 0.5}):
        ours, theirs = (one(3, 5, bidirectional=True, **options) for one in KINDS[kind])
        for name in ATTRIBUTES:
            assert getattr(ours, name) == getattr(theirs, name), name
        assert repr(ours) == repr(theirs)
        assert len(ours.all_weights) == len(theirs.all_weights)
        for own_weights, their_weights in zip(ours.all_weights, theirs.all_weights, strict=True):
            assert [w.shape for w in own_weights] == [w.shape for w in their_weights]
    assert ours.weight_ih_l0 is ours.all_weights[0][0]
    assert ours.weight_hh_l1_reverse is ours.all_weights[3][1]
    assert ours.flatten_parameters() is None


def test_what_is_not_torchs_default_is_printed():
    assert repr(gw.RNN(3, 5, nonlinearity="relu")) == "RNN(3, 5, nonlinearity='relu')"
    assert repr(gw.GRU(3, 5, reset="before")) == "GRU(3, 5, reset='before')"
    projected = (3, 5, 2, False, False, 0.0, True, 2)
    assert repr(gw.LSTM(*projected)) == repr(nn.LSTM(*projected))
    assert repr(gw.PeepholeLSTM(3, 5, 2)) == "PeepholeLSTM(3, 5, num_layers=2)"
    assert repr(gw.PeepholeLSTMCell(3, 5, gates=("f",))) == "PeepholeLSTMCell(3, 5, gates=('f',))"
    assert repr(gw.Recurrent("lstm", 3, 5)) == "Recurrent(LSTM(projection=0), 3, 5)"
    assert repr(gw.LSTMCell(3, 5, bias=False)) == repr(nn.LSTMCell(3, 5, bias=False))


@pytest.mark.parametrize("kind", KINDS)
def test_keywords_of_the_call(kind: str):
    ours, theirs = (one(3, 5) for one in KINDS[kind])
    ours.load_state_dict(theirs.state_dict())
    x, hx = torch.randn(4, 2, 3), torch.randn(1, 2, 5)
    hx = (hx, hx + 1) if kind == "LSTM" else hx
    close(ours(input=x, hx=hx), theirs(input=x, hx=hx))
    if kind == "LSTM":
        close(ours(x, list(hx)), theirs(x, hx))


@pytest.mark.parametrize("kind", KINDS)
def test_packed_output_unpacks(kind: str):
    layer = KINDS[kind][0](3, 5)
    packed = pack_padded_sequence(torch.randn(6, 3, 3), [2, 6, 4], enforce_sorted=False)
    output, _ = layer(packed)
    assert isinstance(output, PackedSequence)
    padded, lengths = pad_packed_sequence(output)
    assert padded.shape == (6, 3, 5) and lengths.tolist() == [2, 6, 4]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [(), (4,)])
@pytest.mark.parametrize("with_states", [True, False])
@pytest.mark.parametrize("kind", CELLS)
def test_step_cells_are_those_of_torch(kind: str, with_states: bool, rows: tuple, bias: bool):
    torch.manual_seed(3)
    for more in [{"nonlinearity": "tanh"}, {"nonlinearity": "relu"}] if kind == "RNN" else [{}]:
        ours, theirs = (one(3, 5, bias=bias, dtype=F64, **more) for one in CELLS[kind])
        assert list(ours.state_dict()) == list(theirs.state_dict())
        assert (ours.bias_ih is None) == (ours.bias_hh is None) == (theirs.bias_ih is None)
        ours.load_state_dict(theirs.state_dict())
        x = torch.randn(*rows, 3, dtype=F64, requires_grad=True)
        h = torch.randn(*rows, 5, dtype=F64, requires_grad=True)
        c = torch.randn(*rows, 5, dtype=F64, requires_grad=True)
        hx = ((h, c) if kind == "LSTM" else h) if with_states else None
        expected, actual = theirs(x, hx), ours(x, hx)
        close(actual, expected)
        for gradient, expected_gradient in zip(
            gradients(actual, [x, h, c, *ours.parameters()]),
            gradients(expected, [x, h, c, *theirs.parameters()]),
            strict=True,
        ):
            close(gradient, expected_gradient)


@pytest.mark.parametrize("sizes", [(3, 0), (0, 5)])
@pytest.mark.parametrize("kind", CELLS)
def test_step_cells_without_inputs_or_units(kind: str, sizes: tuple[int, int]):
    ours, theirs = (one(*sizes, dtype=F64) for one in CELLS[kind])
    ours.load_state_dict(theirs.state_dict())
    x = torch.zeros(2, sizes[0], dtype=F64)
    close(ours(x), theirs(x))


@pytest.mark.parametrize("kind", CELLS)
def test_a_step_cell_gives_what_the_layer_gives(kind: str):
    layer = KINDS[kind][0](3, 5, dtype=F64)
    cell = CELLS[kind][0](3, 5, dtype=F64)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in layer.state_dict().items()})
    x = torch.randn(4, 2, 3, dtype=F64)
    trace, states = layer.trace(x), None
    for t in range(4):
        states, values = cell(x[t], states, values=True)
        for name, value in values.items():
            if name != "output":
                close(value, trace[name][t], name)


def test_step_cells_seed_is_torchs():
    for ours, theirs in CELLS.values():
        torch.manual_seed(9)
        own_weights = [*ours(3, 5).parameters()]
        torch.manual_seed(9)
        their_weights = [*theirs(3, 5).parameters()]
        assert all(torch.equal(a, b) for a, b in zip(own_weights, their_weights, strict=True))


@pytest.mark.parametrize("layer", [gw.LSTM(3, 5), gw.GRUCell(3, 5), gw.PeepholeLSTMCell(3, 5)])
def test_copies(layer: nn.Module):
    x = torch.randn(2, 3) if "Cell" in type(layer).__name__ else torch.randn(4, 2, 3)
    expected = layer(x)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        close(twin(x), expected)
        with torch.no_grad():
            next(twin.parameters()).zero_()
        close(layer(x), expected)


WRONG = {
    "no units": (lambda: gw.LSTM(3, 0), gw.SizeError, "hidden_size=0; expected a whole number"),
    "half a layer": (lambda: gw.GRU(3, 5, 1.5), WrongType, "num_layers=1.5"),
    "size as text": (lambda: gw.RNN("3", 5), WrongType, "input_size='3'"),
    "dropout": (lambda: gw.LSTM(3, 5, 2, dropout=1.5), gw.ArgumentError, "dropout=1.5"),
    "nonlinearity": (lambda: gw.RNN(3, 5, nonlinearity="sin"), gw.ArgumentError, "'sin'"),
    "nonlinearity of a step": (
        lambda: gw.RNNCell(3, 5, nonlinearity="sin"),
        gw.ArgumentError,
        "'sin'",
    ),
    "projection": (lambda: gw.LSTM(3, 5, proj_size=5), gw.ArgumentError, "proj_size=5"),
    "projection below 0": (lambda: gw.LSTM(3, 5, proj_size=-1), gw.ArgumentError, "proj_size=-1"),
    "reset": (lambda: gw.GRU(3, 5, reset="never"), gw.ArgumentError, "'never'"),
    "backend": (lambda: gw.GRU(3, 5, backend="abacus"), gw.ArgumentError, "abacus"),
    "hidden size as text": (lambda: gw.LSTM(3, "5"), WrongType, "hidden_size='5'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arguments_are_refused(case: str):
    build, kind, words = WRONG[case]
    with pytest.raises(kind) as caught:
        build()
    assert words in str(caught.value)


def test_dropout_with_one_layer_warns_the_caller():
    with pytest.warns(UserWarning, match="between layers") as caught:
        gw.LSTM(3, 5, dropout=0.5)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="between layers") as caught:
        gw.Recurrent("lstm", 3, 5, dropout=0.5)
    assert caught[0].filename == __file__


WRONG_STEPS = {
    "dtype": (torch.zeros(2, 3, dtype=F64), None, gw.ArgumentError, "input is torch.float64"),
    "state's dtype": (
        torch.zeros(2, 3),
        (torch.zeros(2, 5), torch.zeros(2, 5, dtype=F64)),
        gw.ArgumentError,
        "state c is torch.float64",
    ),
    "size": (torch.zeros(2, 4), None, gw.SizeError, "expected"),
    "axes": (torch.zeros(1, 2, 3), None, gw.SizeError, "expected (batch, input)"),
    "bare state": (torch.zeros(2, 3), torch.zeros(2, 5), gw.ArgumentError, "a tuple (h, c)"),
    "one state": (torch.zeros(2, 3), (torch.zeros(2, 5),), gw.ArgumentError, "a tuple (h, c)"),
    "rows": (
        torch.zeros(2, 3),
        (torch.zeros(2, 5), torch.zeros(4, 5)),
        gw.SizeError,
        "c has shape (4, 5); expected (2, 5)",
    ),
    "no tensor": ([1.0, 2.0, 3.0], None, gw.ArgumentError, "list"),
}


@pytest.mark.parametrize("case", WRONG_STEPS)
def test_a_step_cell_refuses_what_does_not_fit(case: str):
    x, hx, kind, words = WRONG_STEPS[case]
    with pytest.raises(kind) as caught:
        gw.LSTMCell(3, 5)(x, hx)
    assert words in str(caught.value)


def test_a_step_cell_knows_its_products():
    with pytest.raises(gw.ArgumentError, match=r"no product 'q'.*'g', 'i', 'f', 'o'"):
        gw.LSTMCell(3, 5).weights("q")


def loop_gru_before(layer: gw.GRU, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """The paper's GRU: r acts on the old memory before the product."""
    w_r, w_z, w_n = layer.weight_ih_l0.chunk(3)
    u_r, u_z, u_n = layer.weight_hh_l0.chunk(3)
    b_r, b_z, b_n = (layer.bias_ih_l0 + layer.bias_hh_l0).chunk(3)
    outputs = []
    for event in x:
        r = torch.sigmoid(event @ w_r.T + h @ u_r.T + b_r)
        z = torch.sigmoid(event @ w_z.T + h @ u_z.T + b_z)
        n = torch.tanh(event @ w_n.T + (r * h) @ u_n.T + b_n)
        h = (1 - z) * n + z * h
        outputs.append(h)
    return torch.stack(outputs)


def test_gru_with_reset_before_is_the_papers():
    torch.manual_seed(2)
    layer = gw.GRU(3, 5, reset="before", dtype=F64)
    x = torch.randn(6, 2, 3, dtype=F64, requires_grad=True)
    h = torch.randn(2, 5, dtype=F64, requires_grad=True)
    expected, (actual, _) = loop_gru_before(layer, x, h), layer(x, h.unsqueeze(0))
    close(actual, expected)
    leaves = [x, h, *layer.parameters()]
    close(gradients(actual, leaves), gradients(expected, leaves))
    after = gw.GRU(3, 5, dtype=F64)
    after.load_state_dict(layer.state_dict())
    assert (
        after(x, h.unsqueeze(0))[0] - actual
    ).abs().max() > 1e-3  # the two forms of reset differ


@pytest.mark.parametrize("reset", ["before", "after"])
def test_gru_against_onnx(reset: str):
    """ONNX stacks z, r, h and has both forms: linear_before_reset=1 is torch's."""
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    torch.manual_seed(4)
    layer = gw.GRU(3, 5, reset=reset)
    x = torch.randn(6, 2, 3)

    def stacked(name: str):
        r, z, n = getattr(layer, name).detach().chunk(3)
        return torch.cat([z, r, n]).unsqueeze(0)

    biases = torch.cat([stacked("bias_ih_l0"), stacked("bias_hh_l0")], 1)
    node = onnx.helper.make_node(
        "GRU",
        ["X", "W", "R", "B"],
        ["Y"],
        hidden_size=5,
        linear_before_reset=int(reset == "after"),
    )
    expected = ReferenceEvaluator(node).run(
        None,
        {
            "X": x.numpy(),
            "W": stacked("weight_ih_l0").numpy(),
            "R": stacked("weight_hh_l0").numpy(),
            "B": biases.numpy(),
        },
    )[0]
    close(layer(x)[0], torch.from_numpy(expected).squeeze(1))
