"""Torch's tools work on a layer: derivatives of any kind, dtypes, copies, compilers."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, jvp, stack_module_state, vmap
from torch.nn.utils import parametrizations, parametrize

import gatewright as gw
from odd_cells import CELLS, make, random_states, run, sequences
from tolerances import close, gradients, tensors

F64 = torch.float64
every_cell = pytest.mark.parametrize("name", CELLS)


def as_function(layer: gw.Recurrent, steps: int = 3, batch: int = 2, states: bool = True):
    """The layer as a function of tensors, and the tensors: inputs, states and weights."""
    inputs_of_cell, hx = sequences(layer, steps, batch), random_states(layer, batch)
    weights = dict(layer.named_parameters())
    flat = [one.detach().clone() for one in (*inputs_of_cell.values(), *weights.values())]
    passed = [one.detach().clone() for one in tensors(hx)] if states else []

    def function(*given_tensors: Tensor) -> tuple[Tensor, ...]:
        inputs = dict(zip(inputs_of_cell, given_tensors, strict=False))
        own = dict(zip(weights, given_tensors[len(inputs_of_cell) :], strict=False))
        rest = given_tensors[len(inputs_of_cell) + len(weights) :]
        hx_now = None
        if states:
            hx_now = rest[0] if isinstance(hx, Tensor) else tuple(rest)
        event, *further = inputs
        keyed = {name: inputs[name] for name in further}
        results = functional_call(layer, own, (inputs[event], hx_now), keyed)
        return tuple(tensors(results))

    return function, [*flat, *passed]


@pytest.mark.parametrize("states", [True, False], ids=["given", "start"])
@every_cell
def test_gradcheck(name: str, states: bool):
    function, arguments = as_function(make_callable(name), states=states)
    for leaf in arguments:
        leaf.requires_grad_()
    if name == "peak":  # the largest input must stay the same within the step of the check
        arguments[0].data.mul_(3)
    assert gradcheck(function, arguments, fast_mode=True)


@every_cell
def test_gradgradcheck(name: str):
    function, arguments = as_function(make_callable(name), steps=2, batch=1)
    for leaf in arguments:
        leaf.requires_grad_()
    assert gradgradcheck(function, arguments, fast_mode=True, atol=1e-4)


def make_callable(name: str, **options) -> gw.Recurrent:
    """A cell without weights named like Module's attributes, as `functional_call` looks them up."""
    if name != "learned":
        return make(name, **options)

    class Learned(gw.Cell):
        initial = CELLS["learned"][0].initial

        def step(self, x, h):
            gain = gw.parameter(start=0.5)
            h = gain * h + gw.tanh(gw.linear(x, h, name="n"))
            return gw.state(h=h)

    layer = gw.Recurrent(Learned(), 3, 5, dtype=F64, **options)
    return layer.eval()


@pytest.mark.parametrize("name", sorted(set(CELLS) - {"leak"}))  # which has no weights
def test_vmap_over_an_ensemble(name: str):
    layers = [make_callable(name) for _ in range(3)]
    for index, layer in enumerate(layers):
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.add_(0.1 * index)
    inputs = sequences(layers[0], 4, 2)
    event, *further = inputs
    weights, _ = stack_module_state(layers)

    def output_of(own, x, keyed):
        return functional_call(layers[0], own, (x,), keyed)[0]

    outputs = vmap(output_of, in_dims=(0, None, None))(
        weights, inputs[event], {key: inputs[key] for key in further}
    )
    for index, layer in enumerate(layers):
        close(outputs[index], run(layer, inputs)[0])


@every_cell
def test_vmap_over_the_input(name: str):
    layer = make(name)
    inputs = sequences(layer, 4, 3)
    event, *further = inputs

    def output_of(x, keyed):
        return layer(x, **keyed)[0]  # unbatched under vmap

    output = vmap(output_of, in_dims=1, out_dims=1)(inputs[event], {k: inputs[k] for k in further})
    close(output, run(layer, inputs)[0])


@every_cell
def test_forward_mode(name: str):
    """jvp against the gradient of the gradient: two derivatives that share no code."""
    function, arguments = as_function(make_callable(name))
    tangents = [torch.randn_like(one) for one in arguments]
    with warnings.catch_warnings():
        # Torch's own, about itself: dual numbers compile their rules with torch.jit.
        warnings.simplefilter("ignore", DeprecationWarning)
        _, forward = jvp(function, tuple(arguments), tuple(tangents))
    for leaf in arguments:
        leaf.requires_grad_()
    outputs = function(*arguments)
    dummies = [torch.zeros_like(one, requires_grad=True) for one in outputs]
    grads = torch.autograd.grad(outputs, arguments, dummies, create_graph=True, allow_unused=True)
    used = [(g, t) for g, t in zip(grads, tangents, strict=True) if g is not None]
    backward = torch.autograd.grad(
        [g for g, _ in used], dummies, [t for _, t in used], allow_unused=True
    )
    for leaf, other, output in zip(forward, backward, outputs, strict=True):
        close(leaf, torch.zeros_like(output) if other is None else other)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@every_cell
def test_other_dtypes(name: str, dtype: torch.dtype):
    layer = make(name, num_layers=2, bidirectional=True)
    inputs, hx = sequences(layer, 5, 2), random_states(layer, 2)
    expected = run(layer, inputs, hx)
    low = copy.deepcopy(layer).to(dtype)
    inputs = {key: one.to(dtype) for key, one in inputs.items()}

    def lower(states):
        if isinstance(states, Tensor):
            return states.to(dtype)
        return type(states)(lower(one) for one in states)

    actual = run(low, inputs, lower(hx))
    for result, right in zip(tensors(actual), tensors(expected), strict=True):
        assert result.dtype == dtype
        error = (result.to(F64) - right).norm() / right.norm()
        assert error < (1e-5 if dtype == torch.float32 else 0.08)


@pytest.mark.parametrize(
    "build",
    [
        lambda: gw.LSTM(3, 5),
        lambda: gw.PeepholeLSTM(3, 5),
        lambda: gw.RNN(3, 5, bias=False),  # there is no float32 bias to lift the product
        lambda: make("heads").float(),
    ],
)
def test_autocast_runs_products_low_and_keeps_states_high(build):
    layer = build()
    x = torch.randn(4, 2, 3)
    expected, _ = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, states = layer(x)
        again, _ = layer(x.bfloat16())
        trace = layer.trace(x)
    assert {one.dtype for one in tensors((output, states, again))} == {torch.float32}
    assert {one.dtype for one in trace.values()} == {torch.float32}
    assert 0 < (output - expected).abs().max() < 0.05  # only the products are in low precision
    gradients(output, [*layer.parameters()])
    with torch.autocast("cpu", dtype=torch.bfloat16), pytest.raises(gw.ArgumentError):
        layer(torch.ones(4, 2, 3, dtype=torch.int64))


@pytest.mark.parametrize("bias", [True, False])
@every_cell
def test_copies(name: str, bias: bool):
    layer = make(name, num_layers=2, bias=bias)
    inputs = sequences(layer, 4, 2)
    expected = run(layer, inputs)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        close(run(twin, inputs), expected, table={F64: 0.0})
        assert list(twin.state_dict()) == list(layer.state_dict())
        with torch.no_grad():
            for parameter in twin.parameters():
                parameter.zero_()
        close(run(layer, inputs), expected, table={F64: 0.0})
    assert any("bias" in key for key in layer.state_dict()) == (bias and name != "leak")


class CountedScale(nn.Module):
    """A parametrization that counts how often it is applied."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, weight: Tensor) -> Tensor:
        self.calls += 1
        return 0.5 * weight


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("kind", ["named", "torch's"])
def test_a_parametrization_is_applied_once_a_run(kind: str, num_layers: int):
    if kind == "named":
        layer = gw.Recurrent("peephole_lstm", 3, 5, num_layers, dtype=F64)
        module, leaf = layer.layers["0_forward"].f.h, "weight"
    else:
        layer = gw.LSTM(3, 5, num_layers, dtype=F64)
        module, leaf = layer, "weight_hh_l0"
    x = torch.randn(6, 2, 3, dtype=F64)
    before = layer(x)[0]
    scale = CountedScale()
    parametrize.register_parametrization(module, leaf, scale)
    scale.calls = 0
    output, _ = layer(x)
    assert scale.calls == 1
    assert (output - before).abs().max() > 1e-4
    output.sum().backward()
    assert module.parametrizations[leaf].original.grad.abs().max() > 0


@pytest.mark.parametrize("wrap", [parametrizations.spectral_norm, parametrizations.orthogonal])
def test_usual_parametrizations_train_and_save_as_plain_weights(wrap, tmp_path):
    layer = gw.Recurrent("gru", 3, 5)
    wrap(layer.layers["0_forward"].n.h, "weight")
    optimizer = torch.optim.SGD(layer.parameters(), 0.1)
    x = torch.randn(6, 2, 3)
    for _ in range(3):
        optimizer.zero_grad()
        layer(x)[0].square().sum().backward()
        optimizer.step()
    weight = layer.eval().weights("n")["h"][0]
    if wrap is parametrizations.orthogonal:
        close(weight @ weight.T, torch.eye(5))
    else:
        assert abs(float(torch.linalg.matrix_norm(weight, 2)) - 1) < 0.1
    layer.train()
    state = copy.deepcopy(layer.state_dict())
    gw.save(layer, tmp_path / "model")
    close(dict(layer.state_dict()), dict(state), table={torch.float32: 0.0})  # saving reads only
    loaded = gw.load(tmp_path / "model")
    assert "layers.0_forward.n.h.weight" in loaded.state_dict()
    close(loaded(x), layer.eval()(x))
    assert parametrize.is_parametrized(layer.layers["0_forward"].n.h)


@pytest.mark.parametrize("build", [lambda: gw.LSTM(3, 5), lambda: gw.PeepholeLSTM(3, 5, 2)])
def test_weights_that_are_tied_or_replaced_are_read_as_they_are(build):
    """Code that drops recurrent weights sets plain tensors in the place of the parameters."""
    layer = build()
    name, parameter = next(
        (n, p) for n, p in layer.named_parameters() if "hh_l0" in n or n.endswith("f.h.weight")
    )
    x = torch.randn(4, 2, 3)
    before = layer(x)[0]
    holder, leaf = layer, name
    for part in name.split(".")[:-1]:
        holder = holder._modules[part]
        leaf = name.split(".")[-1]
    del holder._parameters[leaf]
    setattr(holder, leaf, 2 * parameter)
    assert (layer(x)[0] - before).abs().max() > 1e-4


LAYERS = {
    "lstm": lambda: gw.LSTM(3, 5, 2, bidirectional=True),
    "gru": lambda: pickle.loads(pickle.dumps(gw.Recurrent("gru", 3, 5, bias=False))),
    "peephole": lambda: gw.PeepholeLSTM(3, 5, batch_first=True),
}


@pytest.mark.slow(instead="test_operators.py::test_a_compiled_layer_is_what_it_was")
@pytest.mark.parametrize("name", LAYERS)
def test_compile_makes_one_graph(name: str):
    layer = LAYERS[name]()
    x = torch.randn(3, 3, 3)
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    actual, expected = compiled(x), layer(x)
    close(actual, expected)
    weights = [*layer.parameters()]
    close(gradients(actual, weights), gradients(expected, weights))


@pytest.mark.slow(instead="test_operators.py::test_a_compiled_layer_is_what_it_was")
def test_compile_with_lengths():
    """Lengths are data, so the graph breaks there; the results are still right."""
    layer, x = gw.GRU(3, 5), torch.randn(3, 3, 3)
    torch._dynamo.reset()
    compiled = torch.compile(layer, backend="eager")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its own internals
        close(compiled(x, lengths=[2, 3, 0]), layer(x, lengths=[2, 3, 0]))


@pytest.mark.parametrize("name", LAYERS)
def test_export(name: str):
    layer, x = LAYERS[name]().eval(), torch.randn(3, 3, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its own internals
        program = torch.export.export(layer, (x,)).module()
    close(program(x), layer(x))
    assert set(program.state_dict()) == {one for one, _ in layer.named_parameters()}


@pytest.mark.parametrize("build", [gw.LSTM, gw.PeepholeLSTM, gw.GRUCell, gw.PeepholeLSTMCell])
def test_script_is_refused_with_a_pointer(build):
    with (
        warnings.catch_warnings(),
        pytest.raises(gw.BackendError, match=r"torch\.compile or torch\.export"),
    ):
        warnings.simplefilter("ignore")  # torch's own: script is deprecated
        torch.jit.script(build(3, 5))


def test_a_module_around_a_layer_moves_it():
    model = nn.ModuleDict({"memory": gw.PeepholeLSTM(3, 5), "head": nn.Linear(5, 2)}).double()
    assert {one.dtype for one in model.parameters()} == {F64}
    assert model["memory"](torch.randn(4, 2, 3, dtype=F64))[0].dtype == F64
    meta = gw.LSTM(3, 5, device="meta")
    assert meta(torch.zeros(4, 2, 3, device="meta"))[0].shape == (4, 2, 5)


def test_a_layer_trains():
    torch.manual_seed(0)
    layer = gw.Recurrent("peephole_lstm", 3, 5, 2)
    x, targets = torch.randn(6, 4, 3), torch.randn(6, 4, 5) / 3
    optimizer = torch.optim.Adam(layer.parameters(), 0.02)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = (layer(x)[0] - targets).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


class Stepped(nn.Module):
    """A layer as a part of a model, with its states in and out."""

    def __init__(self, layer: gw.Recurrent) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output, (h, c) = self.layer(x, (h, c))
        return output, h, c


def to_onnx(layer: gw.Recurrent, steps: int, path: Path) -> tuple[Tensor, ...]:
    """Write a layer by torch's exporter, with a number of steps that may vary."""
    arguments = torch.randn(steps, 2, 3), torch.randn(1, 2, 4), torch.randn(1, 2, 4)
    torch.onnx.export(
        Stepped(layer).eval(),
        arguments,
        str(path),
        dynamo=False,
        input_names=["x", "h_in", "c_in"],
        dynamic_axes={"x": {0: "time"}},
    )
    return arguments


@pytest.mark.filterwarnings("ignore")  # the exporter's own
@pytest.mark.parametrize("kind", [gw.LSTM, gw.PeepholeLSTM])
def test_an_onnx_file_with_a_copy_of_the_cell_for_each_step_is_refused(
    kind: type[gw.Recurrent], tmp_path: Path
):
    """torch.onnx.export would fix the number of steps without a warning."""
    pytest.importorskip("onnx")
    with pytest.raises(gw.BackendError, match="would write a copy of the cell for each step"):
        to_onnx(kind(3, 4), 5, tmp_path / "unrolled.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore")  # the exporter's own
def test_one_step_goes_out_to_onnx(tmp_path: Path):
    onnx = pytest.importorskip("onnx")
    reference = pytest.importorskip("onnx.reference")
    layer, path = gw.PeepholeLSTM(3, 4), tmp_path / "step.onnx"
    x, h, c = to_onnx(layer, 1, path)
    inputs = {"x": x.numpy(), "h_in": h.numpy(), "c_in": c.numpy()}
    results = reference.ReferenceEvaluator(onnx.load(path)).run(None, inputs)
    output, states = layer(x, (h, c))
    for result, value in zip(results, (output, *states), strict=True):
        torch.testing.assert_close(torch.as_tensor(result), value.detach())
