"""`weights` reads and writes a layer by gate; `freeze` keeps a gate from every optimizer."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import gatewright as gw
from odd_cells import CELLS, make, run, sequences
from tolerances import close

F64 = torch.float64
EXACTLY = {torch.float32: 0.0, F64: 0.0}

LAYERS = {
    "lstm": (lambda: gw.LSTM(3, 5, 2, bidirectional=True), "f"),
    "gru": (lambda: gw.GRU(3, 5), "n"),
    "rnn": (lambda: gw.RNN(3, 5), "h"),
    "projected": (lambda: gw.LSTM(3, 5, proj_size=2), "h"),
    "named": (lambda: gw.PeepholeLSTM(3, 5, 2, bidirectional=True), "f"),
    "parameter": (lambda: gw.Recurrent(CELLS["learned"][0], 3, 5), "half"),
    "start": (lambda: gw.Recurrent(CELLS["learned"][0], 3, 5), "initial.h"),
}
every_layer = pytest.mark.parametrize("kind", LAYERS)


def snapshot(layer: gw.Recurrent, product: str) -> list:
    return [
        tensor.clone()
        for place in layer.places
        for weight, bias in layer.weights(product, *place).values()
        for tensor in (weight, bias)
        if tensor is not None
    ]


def train(layer: gw.Recurrent, optimizer: torch.optim.Optimizer, steps: int = 3) -> None:
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(4, 2, layer.input_size, generator=draw).requires_grad_()
    for _ in range(steps):
        optimizer.zero_grad()
        layer(x)[0].square().sum().backward()
        optimizer.step()


def test_the_mapping_is_what_the_design_shows():
    weights = gw.PeepholeLSTM(3, 5).weights("f")
    assert list(weights) == ["x", "h", "c*"]
    (w, b), (u, none), (v, nothing) = weights.values()
    assert w.shape == (5, 3) and b.shape == (5,) and u.shape == (5, 5) and v.shape == (5,)
    assert none is None and nothing is None
    assert not any(one.requires_grad for one in (w, b, u, v))


def test_a_drop_in_has_a_bias_at_both_sources():
    layer = gw.LSTM(3, 5)
    weights = layer.weights("g")
    rows = slice(10, 15)  # torch stacks i, f, g, o
    close(weights["x"], (layer.weight_ih_l0[rows].detach(), layer.bias_ih_l0[rows].detach()))
    close(weights["h"], (layer.weight_hh_l0[rows].detach(), layer.bias_hh_l0[rows].detach()))
    projected = gw.LSTM(3, 5, proj_size=2)
    close(projected.weights("h")["use"][0], projected.weight_hr_l0.detach())
    assert gw.LSTM(3, 5, bias=False).weights("g")["x"][1] is None


@pytest.mark.parametrize(
    ("layer", "stacked"),
    [(gw.GRU(3, 5), "rzn"), (gw.LSTM(3, 5), "ifgo"), (gw.RNN(3, 5), "h")],
)
def test_gates_stand_in_torchs_order(layer: gw.Recurrent, stacked: str):
    for place, gate in enumerate(stacked):
        rows = slice(5 * place, 5 * place + 5)
        close(layer.weights(gate)["x"][0], layer.weight_ih_l0[rows].detach(), table=EXACTLY)


@every_layer
def test_what_is_written_is_read_and_run(kind: str):
    build, product = LAYERS[kind]
    layer = build()
    x = torch.randn(4, 2, 3)
    for place in layer.places:
        before = layer(x)[0]
        others = {name: snapshot(layer, name) for name in layer.products if name != product}
        weights = layer.weights(product, *place)
        for source, (weight, bias) in weights.items():
            new = torch.randn_like(weight)
            weights[source] = (new, None if bias is None else bias + 1)
            close(layer.weights(product, *place)[source][0], new, table=EXACTLY)
        assert (layer(x)[0] - before).abs().max() > 1e-4
        for name, values in others.items():
            close(snapshot(layer, name), values, name, EXACTLY)


def test_writing_in_place_and_in_other_forms():
    layer = gw.LSTM(3, 5)
    weights = layer.weights("f")
    weights["x"][1].fill_(2.0)
    assert (layer.bias_ih_l0[5:10] == 2).all()
    weights["x"] = torch.full((5, 3), 0.5)
    assert (layer.weights("f")["x"][0] == 0.5).all() and (layer.bias_ih_l0[5:10] == 2).all()
    weights["x"] = (torch.ones(5, 3, dtype=F64), None)
    assert (layer.weight_ih_l0[5:10] == 1).all() and (layer.bias_ih_l0[5:10] == 2).all()
    other = gw.PeepholeLSTM(3, 5)
    other.weights("f")["c*"] = (torch.arange(5.0), None)
    close(other.weights("f")["c*"][0], torch.arange(5.0))


def test_it_is_a_mapping():
    weights = gw.PeepholeLSTM(3, 5).weights("f")
    assert "c*" in weights and "c" not in weights and weights.get("c") is None
    assert len(weights) == 3
    assert repr(weights) == "<weights of f: {'x': (5, 3), 'h': (5, 5), 'c*': (5,)}>"


WRONG = {
    "product": (lambda w: gw.LSTM(3, 5).weights("q"), gw.ArgumentError, "no product 'q'"),
    "layer": (lambda w: gw.LSTM(3, 5).weights("f", 1), gw.ArgumentError, "layers are 0 to 0"),
    "below 0": (lambda w: gw.LSTM(3, 5).weights("f", -1), gw.ArgumentError, "layer=-1"),
    "direction": (
        lambda w: gw.LSTM(3, 5).weights("f", reverse=True),
        gw.ArgumentError,
        "not bidirectional",
    ),
    "source": (lambda w: w["m"], gw.ArgumentError, "no source 'm'; it has ['x', 'h', 'c*']"),
    "shape": (
        lambda w: w.__setitem__("x", (torch.zeros(3, 5), None)),
        gw.SizeError,
        "f.x.weight was given shape (3, 5); expected (5, 3)",
    ),
    "bias's shape": (
        lambda w: w.__setitem__("x", (torch.zeros(5, 3), torch.zeros(1))),
        gw.SizeError,
        "f.x.bias was given shape (1,)",
    ),
    "no bias there": (
        lambda w: w.__setitem__("h", (torch.zeros(5, 5), torch.zeros(5))),
        gw.ArgumentError,
        "f.h has no bias",
    ),
    "three": (
        lambda w: w.__setitem__("h", (1, 2, 3)),
        gw.ArgumentError,
        "given 3 values; give (W, b)",
    ),
    "text": (lambda w: w.__setitem__("h", "ones"), gw.ArgumentError, "f.h.weight was given str"),
    "freeze": (lambda w: gw.LSTM(3, 5).freeze("q"), gw.ArgumentError, "no product 'q'"),
    "freeze named": (lambda w: gw.PeepholeLSTM(3, 5).freeze("q"), gw.ArgumentError, "'q'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_and_changes_nothing(case: str):
    act, kind, words = WRONG[case]
    weights = gw.PeepholeLSTM(3, 5).weights("f")
    before = copy.deepcopy(dict(weights))
    with pytest.raises(kind) as caught:
        act(weights)
    assert words in str(caught.value)
    for source, (weight, _) in before.items():
        close(weights[source][0], weight, table=EXACTLY)


@pytest.mark.parametrize("kind", ["lstm", "named"])
def test_what_a_parametrization_computes_is_read_only(kind: str):
    layer = gw.LSTM(3, 5) if kind == "lstm" else gw.PeepholeLSTM(3, 5)
    if kind == "lstm":
        parametrizations.orthogonal(layer, "weight_hh_l0")
    else:
        parametrizations.orthogonal(layer.layers["0_forward"].f.h, "weight")
    weights = layer.weights("f")
    read = weights["h"][0]
    with pytest.raises(gw.ArgumentError, match="parametrized"):
        weights["h"] = (torch.zeros(5, 5), None)
    weights["x"] = (torch.zeros(5, 3), None)  # the rest may still be written
    assert not layer.weights("f")["x"][0].any()
    close(layer.weights("f")["h"][0], read)
    with pytest.raises(gw.ArgumentError, match="parametrized"):
        gw.init.orthogonal_(layer)


OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, 0.1, weight_decay=0.5),
    "sgd": lambda p: torch.optim.SGD(p, 0.01, momentum=0.9, weight_decay=0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@every_layer
def test_a_frozen_gate_stays_whatever_the_optimizer_does(kind: str, optimizer: str):
    build, product = LAYERS[kind]
    torch.manual_seed(0)
    layer = build()
    mover = OPTIMIZERS[optimizer](layer.parameters())
    train(layer, mover)  # neither do momentum and earlier gradients move it
    free = {name: snapshot(layer, name) for name in layer.products}
    layer.freeze(product)
    mover.step()
    train(layer, mover)
    close(snapshot(layer, product), free[product], table=EXACTLY)
    for name in layer.products:
        if name != product:
            assert any(
                (value - before).abs().max() > 1e-4
                for value, before in zip(snapshot(layer, name), free[name], strict=True)
            )
    # Freezing twice is the same as once; after unfreezing, training continues from there.
    layer.freeze(product)
    close(snapshot(layer, product), free[product], table=EXACTLY)
    layer.freeze(product, False)
    close(snapshot(layer, product), free[product], table=EXACTLY)
    train(layer, mover)
    assert (snapshot(layer, product)[0] - free[product][0]).abs().max() > 1e-4


@every_layer
def test_a_frozen_gate_is_saved_copied_and_moved_as_it_runs(kind: str, tmp_path):
    build, product = LAYERS[kind]
    layer = build()
    layer.freeze(product)
    train(layer, torch.optim.AdamW(layer.parameters(), 0.1, weight_decay=0.5))
    x = torch.randn(4, 2, 3)
    expected = layer(x)[0]
    twin = build()
    twin.load_state_dict(layer.state_dict())
    close(twin(x)[0], expected)
    assert list(twin.state_dict()) == list(build().state_dict())
    for twin_layer in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        close(twin_layer(x)[0], expected)
        held = snapshot(twin_layer, product)
        train(twin_layer, torch.optim.AdamW(twin_layer.parameters(), 0.1, weight_decay=0.5))
        close(snapshot(twin_layer, product), held, table=EXACTLY)  # a copy is frozen too
    close(copy.deepcopy(layer).to(F64)(x.to(F64))[0].float(), expected)
    gw.save(layer, tmp_path / "model")
    close(gw.load(tmp_path / "model")(x)[0], expected)


@every_layer
def test_loading_into_a_frozen_gate_takes_the_new_values_and_holds_them(kind: str):
    build, product = LAYERS[kind]
    layer, other = build(), build()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.normal_()
    layer.freeze(product)
    layer.load_state_dict(other.state_dict())
    close(snapshot(layer, product), snapshot(other, product), table=EXACTLY)
    train(layer, torch.optim.AdamW(layer.parameters(), 0.1, weight_decay=0.5))
    close(snapshot(layer, product), snapshot(other, product), table=EXACTLY)
    around = nn.Sequential(layer)
    around.load_state_dict(nn.Sequential(build()).state_dict())
    layer.load_state_dict(other.state_dict())
    layer.reset_parameters()
    close(snapshot(layer, product), snapshot(other, product), table=EXACTLY)  # frozen values too
    x = torch.randn(4, 2, 3)
    twin = build()
    twin.load_state_dict(layer.state_dict())
    close(layer(x)[0], twin(x)[0])


def test_what_is_written_to_a_frozen_gate_is_held():
    layer = gw.LSTM(3, 5)
    layer.freeze("f")
    layer.weights("f")["x"] = (torch.zeros(5, 3), torch.full((5,), 9.0))
    train(layer, torch.optim.AdamW(layer.parameters(), 0.1, weight_decay=0.5))
    assert (layer.weights("f")["x"][1] == 9).all()
    assert (layer.state_dict()["bias_ih_l0"][5:10] == 9).all()


def test_a_state_dict_between_forward_and_backward_spoils_nothing():
    layer = gw.LSTM(3, 5)
    layer.freeze("f")
    output, _ = layer(torch.randn(4, 2, 3))
    layer.state_dict()
    output.sum().backward()
    assert not layer.weight_ih_l0.grad[5:10].any()


def test_a_frozen_parametrized_gate():
    layer = gw.PeepholeLSTM(3, 5)
    parametrizations.orthogonal(layer.layers["0_forward"].f.h, "weight")
    layer.freeze("f")
    before = snapshot(layer, "f")
    train(layer, torch.optim.AdamW(layer.parameters(), 0.1, weight_decay=0.5))
    close(snapshot(layer, "f"), before)
    dropped = gw.LSTM(3, 5)
    parametrizations.orthogonal(dropped, "weight_hh_l0")
    with pytest.raises(gw.ArgumentError, match="cannot be frozen by itself"):
        dropped.freeze("f")


def test_names_that_module_itself_has():
    """A gate may be called `type` and a parameter `half`."""
    layer = make("learned", num_layers=2)
    inputs = sequences(layer, 3, 2)
    expected = run(layer, inputs)
    twin = make("learned", num_layers=2, seed=5)
    twin.load_state_dict(layer.state_dict())
    close(run(twin.double(), inputs), expected)
    layer.freeze("half")
    frozen = [name for name, one in layer.named_parameters() if not one.requires_grad]
    assert frozen == ["layers.0_forward.half", "layers.1_forward.half"]


def test_weights_are_stored_by_name():
    names = list(gw.PeepholeLSTM(3, 5, 2, bidirectional=True, gates=("f",)).state_dict())
    own = ["g.x.weight", "g.x.bias", "g.h.weight", "i.x.weight", "i.x.bias", "i.h.weight"]
    own += ["f.x.weight", "f.x.bias", "f.h.weight", "f.c*.weight"]
    own += ["o.x.weight", "o.x.bias", "o.h.weight"]
    places = ["0_forward", "0_reverse", "1_forward", "1_reverse"]
    assert names == [f"layers.{place}.{name}" for place in places for name in own]


BUILD = [
    lambda: gw.Recurrent("peephole_lstm", 3, 5, 2, bidirectional=True),
    lambda: gw.PeepholeLSTM(3, 5),
    lambda: gw.GRU(3, 5, 2),
    lambda: nn.Sequential(gw.Recurrent("mgu", 3, 5)),
]


@pytest.mark.parametrize("build", BUILD)
def test_a_state_dict_has_the_names_of_the_parameters(build):
    module = build()
    state = module.state_dict()
    assert set(state) == {name for name, _ in module.named_parameters()}
    x = torch.randn(4, 2, 3)
    doubled = {name: 2 * one for name, one in state.items()}
    called = torch.func.functional_call(module, doubled, (x,))[0]
    twin = build()
    twin.load_state_dict(doubled)
    close(called, twin(x)[0])
    exported = torch.export.export(module, (x,)).module()
    close(exported(x)[0], module(x)[0])


def test_a_state_dict_with_the_names_of_files_loads():
    layer, other = (gw.Recurrent("gru", 3, 5, 2, bidirectional=True) for _ in range(2))
    names = {name: name.replace("_forward", ".forward") for name in layer.state_dict()}
    names = {name: new.replace("_reverse", ".reverse") for name, new in names.items()}
    state = {names[name]: one for name, one in layer.state_dict().items()}
    assert "layers.1.reverse.r.h.weight" in state
    around = nn.Sequential(other)
    around.load_state_dict({f"0.{name}": one for name, one in state.items()})
    close(dict(other.state_dict()), dict(layer.state_dict()), table=EXACTLY)


@every_layer
def test_starts_leave_what_is_frozen(kind: str):
    build, product = LAYERS[kind]
    layer = build()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_()
    layer.freeze(product)
    before = snapshot(layer, product)
    gw.init.orthogonal_(layer)
    layer.reset_parameters()
    close(snapshot(layer, product), before, table=EXACTLY)
    layer.freeze(product, False)
    layer.reset_parameters()
    assert any(
        (a - b).abs().max() > 1e-4 for a, b in zip(snapshot(layer, product), before, strict=True)
    )


def test_the_forget_bias_of_a_frozen_gate_stays():
    layer = gw.LSTM(3, 5)
    layer.freeze("f")
    before = layer.weights("f")["x"][1].clone()
    gw.init.forget_bias_(layer, 3.0)
    assert torch.equal(layer.weights("f")["x"][1], before)


def test_step_cells_read_and_write_too():
    cell = gw.LSTMCell(3, 5)
    cell.weights("f")["x"] = (torch.zeros(5, 3), torch.full((5,), 2.0))
    assert (cell.bias_ih[5:10] == 2).all() and not cell.weight_ih[5:10].any()
    assert next(iter(gw.PeepholeLSTMCell(3, 5).state_dict())) == "g.x.weight"
