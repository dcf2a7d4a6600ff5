"""torch's own functions as a backend: they compute what the reference does, on every call."""

from __future__ import annotations

import copy
import itertools
import warnings
from typing import Any

import pytest
import torch
from torch import nn

import gatewright as gw
from gatewright.backends import choose, torch_functions
from gatewright.backends.recognise import FUNCTIONS, NODES, recognise
from gatewright.errors import BackendError
from gatewright.layers import explain, recurrent
from odd_cells import CELLS, sequences
from second_device import is_away, second_device
from test_kernels import F32, F64, LAYOUTS, everything, task_of
from tolerances import close, gradients, tensors

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")

#: The cells that torch has, under their own names and under others.
NAMES = ("elman_rnn", "elman_relu", "lstm", "projected", "gru")


class Renamed(gw.Cell):
    """An LSTM with other names, another order of its states, and a product without a bias."""

    def step(self, x: Any, store: Any, out: Any) -> Any:
        keep = gw.sigmoid(gw.linear(out, x))
        fresh = gw.tanh(gw.linear(x, out, bias=False))
        admit = gw.sigmoid(gw.linear(x, out))
        show = gw.sigmoid(gw.linear(x, out))
        store = admit * fresh + store * keep
        out = gw.tanh(store) * show
        return gw.state(store=store, out=out, output=out)


def graph_of(name: str) -> Any:
    return Renamed().graph if name == "renamed" else CELLS[name][0].graph


@pytest.mark.parametrize("name", [*NAMES, "renamed"])
def test_a_run_is_what_the_reference_computes(name: str):
    """Every layout, both directions, with and without restarts, in float64."""
    graph = graph_of(name)
    turns = itertools.product(LAYOUTS, [False, True], [False, True])
    for turn, (layout, reverse, restart) in enumerate(turns):
        sizes = {"input": 3, "hidden": 5}
        how: dict[str, Any] = {"reverse": reverse, "restart": restart, "names": False}
        task = task_of(graph, sizes, F64, layout, states=turn % 3 != 0, seed=turn, **how)
        close(everything("torch", task), everything("reference", task), f"{turn}")


DROP_INS = {
    "rnn": (gw.RNN, {}),
    "relu": (gw.RNN, {"nonlinearity": "relu"}),
    "lstm": (gw.LSTM, {}),
    "projected": (gw.LSTM, {"proj_size": 3}),
    "gru": (gw.GRU, {}),
}
FORMS: list[dict[str, Any]] = [
    {},
    {"batch_first": True, "bias": False},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 3, "batch_first": True},
    {"bidirectional": True, "bias": False},
]


def layers_of(kind: str, **options: Any) -> tuple[gw.Recurrent, gw.Recurrent]:
    """The same drop-in on torch's functions and on the reference."""
    make_layer, own = DROP_INS[kind]
    options = {"dtype": F64, **options}
    layers = [make_layer(4, 5, **own, **options, backend=b) for b in ("torch", "reference")]
    layers[1].load_state_dict(layers[0].state_dict())
    return layers[0], layers[1]


def states_of(layer: gw.Recurrent, batch: int) -> Any:
    """States to pass, `(L * D, B, size)`."""
    form, draw = layer.form, torch.Generator().manual_seed(2)
    states = [
        torch.randn(len(form.places), batch, form.state_sizes(name)[0], generator=draw, dtype=F64)
        for name in layer.graph.states
    ]
    return tuple(states) if len(states) > 1 else states[0]


def compared(
    layers: Any, x: Any, hx: Any = None, leaves: Any = (), table: Any = None, **call: Any
) -> None:
    """Compare the values of layers, and the gradients of all that asks for them."""
    results = []
    for layer in layers:
        result = layer(x, hx, **call)
        own = [*leaves, *layer.parameters()]
        grads = gradients(result, [leaf for leaf in own if leaf.requires_grad])
        results.append((tensors(result), grads))
    close(results[0], results[1], **({"table": table} if table else {}))


@pytest.mark.parametrize("kind", DROP_INS)
@pytest.mark.parametrize("form", range(len(FORMS)))
def test_a_layer_is_what_the_reference_computes(kind: str, form: int):
    """Dense calls, lengths with 0 and in no order, starts, states, one sequence, packed ones."""
    layers = layers_of(kind, **FORMS[form])
    layer = layers[0]
    x = sequences(layer, 6, 5)["x"]
    if layer.batch_first:
        x = x.transpose(0, 1).contiguous()
    starts = torch.rand(x.shape[:2], generator=torch.Generator().manual_seed(3)) < 0.3
    lengths = torch.tensor([4, 6, 0, 1, 5])
    hx = states_of(layer, 5)
    leaves = [x.requires_grad_(), *(state.requires_grad_() for state in tensors(hx))]
    for how in ({}, {"lengths": lengths}, {"starts": starts}):
        compared(layers, x, hx, leaves, **how)
    compared(layers, x, None, leaves[:1], lengths=lengths, starts=starts)
    single = x[0] if layer.batch_first else x[:, 0]
    compared(layers, single, None, leaves[:1])
    packed = nn.utils.rnn.pack_padded_sequence(
        x, torch.tensor([4, 6, 2, 1, 5]), layer.batch_first, enforce_sorted=False
    )
    compared(layers, packed, hx, leaves)
    with torch.no_grad():
        close(tensors(layer(x, hx, lengths=lengths)), tensors(layers[1](x, hx, lengths=lengths)))


@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_every_subset_of_gradients(kind: str):
    """The input, the states and the weights ask for gradients or not, in every combination."""
    layers = layers_of(kind)
    x = torch.randn(4, 3, 4, dtype=F64)
    hx = states_of(layers[0], 3)
    for asks in itertools.product([False, True], repeat=3):
        x.requires_grad_(asks[0])
        for state in tensors(hx):
            state.requires_grad_(asks[1])
        for layer in layers:
            for weight in layer.parameters():
                weight.requires_grad_(asks[2])
        leaves = [leaf for leaf in (x, *tensors(hx)) if leaf.requires_grad]
        for how in ({}, {"lengths": [2, 4, 0]}):
            compared(layers, x, hx, leaves, **how)
    frozen = layers[0].weight_ih_l0
    frozen.requires_grad_(False)
    compared((layers[0], layers[0]), x, hx, [x])


def test_the_calls_of_a_drop_in_are_those_of_torch():
    """The same numbers as `nn.LSTM`, bit for bit, also where a call is prepared."""
    theirs = nn.LSTM(4, 5, 2, bidirectional=True, batch_first=True)
    ours = gw.LSTM(4, 5, 2, bidirectional=True, batch_first=True, backend="torch")
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(3, 6, 4)
    hx = torch.randn(4, 3, 5), torch.randn(4, 3, 5)
    for states in (None, hx, None, hx):
        expected, result = theirs(x, states), ours(x, states)
        for own, other in zip(tensors(result), tensors(expected), strict=True):
            assert torch.equal(own, other)
        assert not result[0]._is_view()
        result[0].detach_().zero_()
    fast = ours.__dict__["_fast_path"].prepared
    assert {type(call).__name__ for call in fast.values()} == {"PreparedTorchCall"}


def test_dropout_is_that_of_torch():
    theirs = nn.GRU(4, 5, 2, dropout=0.5)
    ours = gw.GRU(4, 5, 2, dropout=0.5, backend="torch")
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(6, 3, 4)
    results = []
    for layer in (theirs, ours, ours):
        torch.manual_seed(1)
        results.append(layer(x)[0])
    assert torch.equal(results[0], results[1]) and torch.equal(results[1], results[2])
    packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([6, 4, 1]))
    results = []
    for layer in (theirs, ours):
        torch.manual_seed(1)
        results.append(layer(packed)[0].data)
    assert torch.equal(results[0], results[1])
    assert not torch.equal(ours(x)[0], ours(x)[0])
    ours.eval()
    assert torch.equal(ours(x)[0], ours(x)[0])


@pytest.mark.parametrize("dtype", [F32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("kind", DROP_INS)
def test_low_numbers(kind: str, dtype: torch.dtype):
    """Held to the reference in float64 by norm, where a low number has 8 or 11 bits."""
    layers = layers_of(kind, num_layers=2)
    x = sequences(layers[0], 6, 5)["x"].to(dtype)
    low, truth = copy.deepcopy(layers[0]).to(dtype), layers[1].to(dtype).double()
    for how in ({}, {"lengths": [6, 3, 0, 1, 6]}):
        output, truly = low(x, **how)[0], truth(x.double(), **how)[0]
        assert output.dtype == dtype
        assert (output.double() - truly).norm() < 3 * torch.finfo(dtype).eps * truly.norm()
        grads = gradients([output.double()], list(low.parameters()))
        exact = gradients([truly], list(truth.parameters()))
        for own, other in zip(grads, exact, strict=True):
            assert own.dtype == dtype
            assert (own.double() - other).norm() < 12 * torch.finfo(dtype).eps * other.norm()


def test_under_autocast_results_keep_their_type():
    layer = gw.LSTM(8, 16, 2, backend="torch")
    x = torch.randn(5, 3, 8)
    expected = layer(x)[0]
    for how in ({}, {"lengths": [5, 2, 0]}):
        with torch.autocast("cpu", torch.bfloat16):
            output, (h, c) = layer(x, **how)
        assert output.dtype == h.dtype == c.dtype == F32
        # Low numbers were at work.
        if not how:
            assert 0 < (output - expected).abs().max() < 2e-2
        output.sum().backward()
    assert all(weight.grad is not None for weight in layer.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        assert "passes the states from step to step in low precision" in layer.explain(x)


@pytest.mark.parametrize("kind", ["lstm", "gru", "projected"])
@pytest.mark.parametrize("how", ["dense", "lengths", "starts", "named"])
def test_gradients_of_gradients(kind: str, how: str):
    """torch's LSTM has none on a CPU, nor has cuDNN; the reference computes them."""
    layers: Any = layers_of(kind, num_layers=2, bidirectional=True)
    if how == "named":  # weights that are not stacked
        layers = [
            gw.Recurrent(layers[0].cell, 4, 5, dtype=F64, backend=name)
            for name in ("torch", "reference")
        ]
        layers[1].load_state_dict(layers[0].state_dict())
    x = torch.randn(4, 3, 4, dtype=F64, requires_grad=True)
    starts = torch.rand(4, 3, generator=torch.Generator().manual_seed(1)) < 0.4
    call = {"lengths": {"lengths": [2, 4, 0]}, "starts": {"starts": starts}}.get(how, {})
    results = []
    for layer in layers:
        leaves = [x, *layer.parameters()]
        output, states = layer(x, **call)
        loss = output.square().sum() + sum(state.sin().sum() for state in tensors(states))
        plain = torch.autograd.grad(loss, leaves, retain_graph=True)
        first = torch.autograd.grad(loss, leaves, create_graph=True)
        close(list(first), list(plain))
        penalty = sum(gradient.square().sum() for gradient in first)
        results.append([*first, *torch.autograd.grad(penalty, leaves)])
    close(results[0], results[1])


def test_results_can_be_changed_in_place():
    layer = gw.GRU(4, 5, batch_first=True, backend="torch")
    x = torch.randn(3, 6, 4)
    output, h = layer(x)
    output.mul_(2.0)
    h.add_(1.0)
    # As with torch's own layer: its backward pass needs the output as it was.
    with torch.no_grad():
        output, _ = layer(x)
        output.relu_().transpose_(0, 1)


@pytest.mark.parametrize("kind", [*DROP_INS, "named", "peephole"])
def test_a_layer_stays_on_its_device(kind: str, monkeypatch: pytest.MonkeyPatch):
    """No operation mixes devices; states are laid out as cuDNN demands. "auto" runs."""
    # torch.ops are not seen by modes; views do not matter here.
    monkeypatch.setattr(recurrent, "without_views", lambda results, arguments: results)
    called = torch_functions.function_name
    contiguous = []

    def watched(known: Any) -> str:
        name = called(known)
        own = getattr(torch._VF, name)

        def function(event: Any, *arguments: Any) -> Any:
            packed = getattr(arguments[0], "dtype", None) == torch.int64
            states = arguments[1] if packed else arguments[0]
            contiguous.extend(state.is_contiguous() for state in tensors(states))
            return own(event, *arguments)

        monkeypatch.setattr(torch_functions._VF, f"watched_{name}", function, raising=False)
        return f"watched_{name}"

    monkeypatch.setattr(torch_functions, "function_name", watched)
    named = {"named": gw.CELLS["gru"](), "peephole": gw.CELLS["peephole_lstm"]()}
    for options in ({}, {"num_layers": 2, "bidirectional": True, "bias": False}):
        if kind in named:
            layer = gw.Recurrent(named[kind], 4, 5, **options)
        else:
            make_layer, own = DROP_INS[kind]
            layer = make_layer(4, 5, **own, **options)
        x = torch.randn(6, 3, 4)
        starts = torch.rand(6, 3, generator=torch.Generator().manual_seed(3)) < 0.3
        hows = ({}, {"lengths": [4, 6, 0]}, {"starts": starts})
        expected = [layer(x, **how)[0] for how in hows]
        with second_device():
            layer = layer.to("mps")
            away = x.to("mps").requires_grad_()
            for how, truth in zip(hows, expected, strict=True):
                call = {name: v.to("mps") if name == "starts" else v for name, v in how.items()}
                if kind == "projected":  # which torch does not have there
                    assert "not torch: torch has no projection on MPS" in layer.explain(away)
                elif kind == "peephole":
                    assert "every operation of every step is launched" in layer.explain(away)
                else:
                    assert "backend torch" in layer.explain(away, **call)
                output, states = layer(away, **call)
                output, states = layer(away, states, **call)
                assert all(map(is_away, tensors([output, states])))
                torch.autograd.grad(output.sum(), [away, *layer.parameters()])
                assert all(map(is_away, layer.trace(away, **call).values()))
                close(layer(away, **call)[0].cpu(), truth)
    assert all(contiguous) and bool(contiguous) == (kind not in ("projected", "peephole"))


@pytest.mark.parametrize("form", FORMS[:3])
@pytest.mark.parametrize("kind", DROP_INS)
def test_parameters_are_flattened_as_torch_does(kind: str, form: dict[str, Any]):
    """`flatten_parameters` is torch's own, and reads the same of both layers."""
    make_layer, own = DROP_INS[kind]
    ours = make_layer(4, 5, **own, **form)
    theirs = getattr(nn, make_layer.__name__)(4, 5, **own, **form)
    for name in (
        *("_flat_weights_names", "bias", "proj_size", "input_size", "mode", "hidden_size"),
        *("num_layers", "batch_first", "bidirectional"),
    ):
        assert getattr(ours, name) == getattr(theirs, name), name
    pairs = zip(ours._flat_weights, theirs._flat_weights, strict=True)
    assert all(own.shape == other.shape for own, other in pairs)
    assert all(
        own is getattr(ours, name)
        for own, name in zip(ours._flat_weights, ours._flat_weights_names, strict=True)
    )


class Scalar(gw.Cell):
    """An LSTM with a single input gate for all units."""

    def step(self, x: Any, h: Any, c: Any) -> Any:
        g = gw.tanh(gw.linear(x, h))
        i = gw.sigmoid(gw.linear(x, h, size=1))
        f = gw.sigmoid(gw.linear(x, h))
        o = gw.sigmoid(gw.linear(x, h))
        c = f * c + i * g
        return gw.state(h=o * gw.tanh(c), c=c)


def test_the_equations_decide():
    known = recognise(Renamed().graph, FUNCTIONS)
    assert known is not None and known.kind == "LSTM" and known.states == ("out", "store")
    assert recognise(gw.CELLS["gru"](reset="before").graph, FUNCTIONS) is None
    assert recognise(gw.CELLS["peephole_lstm"]().graph, FUNCTIONS) is None
    assert recognise(gw.CELLS["lstm"](projection=2).graph, NODES) is None
    # A bias that a cell does not have is zero.
    for kind, biases in itertools.product(("rnn", "lstm", "gru"), (False, True)):
        assert recognise(DROP_INS[kind][0](4, 5, bias=biases).graph, NODES) is not None
    # Gates that are broadcast have a matrix that torch and ONNX have no place for.
    assert recognise(Scalar().graph, FUNCTIONS) is None
    assert recognise(Scalar().graph, NODES) is None


class TwoUpdates(gw.Cell):
    """A GRU with two update gates: its text is that of a GRU, which writes its gate twice."""

    def step(self, x: Any, h: Any) -> Any:
        r = gw.sigmoid(gw.linear(x, h))
        z = gw.sigmoid(gw.linear(x, h))
        y = gw.sigmoid(gw.linear(x, h))
        n = gw.tanh(gw.linear(x, name="nx") + r * gw.linear(h, name="nh"))
        return gw.state(h=(1 - z) * n + y * h)


class TwoMemories(gw.Cell):
    """An LSTM whose output reads another memory than the one that it carries."""

    def step(self, x: Any, h: Any, c: Any) -> Any:
        i, f, o, e = (gw.sigmoid(gw.linear(x, h, name=name)) for name in "ifoe")
        learn = i * gw.tanh(gw.linear(x, h, name="g"))
        return gw.state(h=o * gw.tanh(e * c + learn), c=f * c + learn)


class OnePeephole(gw.Cell):
    """An LSTM with one peephole weight for all units."""

    def step(self, x: Any, h: Any, c: Any) -> Any:
        f, o = (gw.sigmoid(gw.linear(x, h, name=name)) for name in "fo")
        i = gw.sigmoid(gw.linear(x, h) + gw.parameter(size=1, name="p") * c)
        c = f * c + i * gw.tanh(gw.linear(x, h, name="g"))
        return gw.state(h=o * gw.tanh(c), c=c)


class OneGateTwice(gw.Cell):
    """A GRU whose reset and update gates are one: its weights are shared, and it is a GRU."""

    def step(self, x: Any, h: Any) -> Any:
        z = gw.sigmoid(gw.linear(x, h))
        n = gw.tanh(gw.linear(x, name="nx") + z * gw.linear(h, name="nh"))
        return gw.state(h=(1 - z) * n + z * h)


@pytest.mark.parametrize("cell", [TwoUpdates, TwoMemories, OnePeephole])
def test_a_cell_with_more_or_other_weights_is_not_recognised(cell: type[gw.Cell]):
    assert recognise(cell().graph, FUNCTIONS) is None
    assert recognise(cell().graph, NODES) is None


def test_shared_weights_are_recognised_and_their_gradients_added():
    layer = gw.Recurrent(OneGateTwice(), 4, 5, dtype=F64)
    x = torch.randn(3, 2, 4, dtype=F64)
    results = []
    for backend in ("torch", "reference"):
        layer.backend = backend
        output, _ = layer(x)
        results.append([output, *gradients([output], list(layer.parameters()))])
    close(*results)


@pytest.mark.parametrize(
    ("layer", "call", "reason"),
    [
        (gw.PeepholeLSTM(4, 5, backend="torch"), {}, "not the equations of torch's"),
        (gw.GRU(4, 5, reset="before", backend="torch"), {}, "not the equations of torch's"),
        (gw.Recurrent(Scalar(), 4, 5, backend="torch"), {}, "not the equations of torch's"),
        (gw.GRU(4, 5, backend="torch"), {"lengths": [0, 0, 0]}, "nothing to run"),
        (
            gw.Recurrent(gw.CELLS["lstm"](projection=5), 4, 5, backend="torch"),
            {},
            "projects to a smaller size only",
        ),
    ],
    ids=["peephole", "before", "scalar", "nothing", "projection"],
)
def test_reasons_are_reported(layer: Any, call: Any, reason: str):
    x = torch.randn(6, 3, 4)
    with pytest.raises(BackendError, match=reason):
        layer(x, **call)
    layer.backend = "reference"
    assert reason in layer.explain(x, **call)


def test_gates_are_the_reference_s():
    layer = gw.LSTM(4, 5, backend="torch")
    x = torch.randn(6, 3, 4)
    with pytest.raises(BackendError, match="a trace has the gates of each step"):
        layer.trace(x)
    with pytest.raises(BackendError, match="values are held"):
        layer.trace(x, hold={"f": 0.0})
    with pytest.raises(BackendError, match=r"a transform of torch\.func is at work"):
        torch.func.vmap(layer, in_dims=2, out_dims=(1, 1))(x.unsqueeze(2))


def test_auto_leaves_cpus_to_the_kernels():
    layer = gw.LSTM(4, 5)
    x = torch.randn(6, 3, 4)
    assert "backend llvm" in layer.explain(x)
    layer.backend = "reference"
    assert 'not torch: on a CPU they run where backend="torch" asks' in layer.explain(x)
    layer.backend = "torch"
    assert "torch.lstm, all layers and directions in one call" in layer.explain(x)


def test_on_a_gpu_auto_takes_torch_where_it_can(monkeypatch: pytest.MonkeyPatch):
    """A CPU in the part of a GPU: kernels for the CPU are gone, and torch's are not by name."""
    own = choose.BACKENDS["torch"]
    # In their order, which decides: an entry that is deleted would come back as the last.
    others = {name: own for name, own in choose.BACKENDS.items() if name != "llvm"}
    others["torch"] = choose.Backend(own.run, own.why_not)
    for module in (choose, explain):
        monkeypatch.setattr(module, "BACKENDS", others)
    x = torch.randn(6, 3, 4)
    assert choose.pick("auto", gw.LSTM(4, 5).runs(x)[0]) == "torch"
    assert choose.pick("auto", gw.Recurrent("lstm", 4, 5).runs(x)[0]) == "torch"
    assert choose.pick("auto", gw.PeepholeLSTM(4, 5).runs(x)[0]) == "reference"
    # What torch's functions lack goes to the reference, and the text has the reason.
    assert sorted(gw.LSTM(4, 5).trace(x))[:2] == ["c", "f"]
    text = gw.PeepholeLSTM(4, 5).explain(x)
    assert "not torch: these are not the equations of torch's RNN, LSTM or GRU" in text


def test_frozen_gates_and_parametrizations_run():
    layer = gw.LSTM(4, 5, dtype=F64, backend="torch")
    x = torch.randn(6, 3, 4, dtype=F64)
    layer(x)
    layer.freeze("f")
    twin = copy.deepcopy(layer)
    twin.backend = "reference"
    compared((layer, twin), x)
    layer.freeze("f", False)
    nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")
    twin = copy.deepcopy(layer)
    twin.backend = "reference"
    compared((layer, twin), x)


def test_nothing_is_reported_but_once(recwarn: pytest.WarningsRecorder):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer = gw.LSTM(4, 5, 2, backend="torch")
        layer.flatten_parameters()
        layer.to(F64)(torch.randn(6, 3, 4, dtype=F64))
    assert not recwarn
