"""`layer(..., recompute=k)`: the same results and gradients, in the memory of k steps at a time."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import gatewright as gw
from example_count import example_count
from gatewright.training.step_memory import saved_memory
from odd_cells import CELLS, make, random_states, run, sequences
from random_cells import Program, build, programs
from tolerances import close, gradients, random_loss, tensors

F64 = torch.float64
BACKENDS = ["llvm", "reference"]
DROP_INS = [gw.RNN, gw.LSTM, gw.GRU, gw.PeepholeLSTM]


def results(
    layer: gw.Recurrent, inputs: dict[str, Tensor], hx: Any = None, **options: Any
) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs and states, and the gradients of inputs, states and weights that ask for some."""
    inputs = {name: x.clone().requires_grad_(x.requires_grad) for name, x in inputs.items()}
    if hx is not None:
        states = [state.clone().requires_grad_() for state in tensors(hx)]
        hx = like(hx, iter(states))
    torch.manual_seed(5)  # of noises
    values = tensors(run(layer, inputs, hx, **options))
    leaves = [*inputs.values(), *(tensors(hx) if hx is not None else ()), *layer.parameters()]
    return values, gradients(values, [leaf for leaf in leaves if leaf.requires_grad])


def like(structure: Any, rest: Any) -> Any:
    """Tensors in the structure of another one."""
    if isinstance(structure, Tensor):
        return next(rest)
    return type(structure)(like(part, rest) for part in structure)


def compare(layer: gw.Recurrent, inputs: dict[str, Tensor], k: int, *call: Any, **options: Any):
    """Hold a call with `recompute` to the same call without."""
    inputs = {name: x.requires_grad_() for name, x in inputs.items()}
    values, expected = results(layer, inputs, *call, **options)
    again, own = results(layer, inputs, *call, **options, recompute=k)
    close(again, values)
    close(own, expected)
    if layer.backend != "reference":
        # The kernels add up each product in one order, whatever the number of steps. The
        # reference does not: torch multiplies few rows and many by other routines.
        assert all(torch.equal(a, b) for a, b in zip(again, values, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CELLS)
def test_every_cell_has_the_same_results_and_gradients(name: str, backend: str):
    steps = 7
    layer = make(name, num_layers=2, bidirectional=True, backend=backend, dropout=0.2)
    layer.train(name == "zoneout")
    inputs, hx = sequences(layer, steps, 4), random_states(layer, 4)
    starts = torch.zeros(steps, 4, dtype=torch.bool)
    starts[0, 2] = starts[3, 0] = starts[4, 1] = True
    for k, options in [
        (3, {"lengths": [7, 0, 3, 5], "starts": starts}),
        (2, {"starts": starts}),
        (True, {"lengths": [2, 7, 7, 1]}),
    ]:
        compare(layer, inputs, k, hx, **options)
    compare(layer, inputs, 4)  # the cell's start, which may be learned


@hypothesis.given(
    programs(longest=5),
    st.sampled_from(["auto", "reference"]),  # kernels do not run where all lengths are 0
    st.integers(1, 8),
    st.integers(1, 4),
    st.integers(1, 9),
    st.booleans(),
    st.integers(0, 2**16),
)
@settings(
    max_examples=example_count(8),
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_random_cells_have_the_same_results_and_gradients(
    program: Program, backend: str, steps: int, batch: int, k: int, reverse: bool, seed: int
):
    torch.manual_seed(seed)
    layer = gw.Recurrent(build(program), 5, 6, bidirectional=reverse, dtype=F64, backend=backend)
    lengths = torch.randint(0, steps + 1, (batch,))
    starts = torch.rand(steps, batch) < 0.2
    inputs = sequences(layer, steps, batch)
    compare(layer, inputs, k, lengths=lengths, starts=starts)


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("make_layer", DROP_INS)
def test_float32_in_all_forms_of_the_input(make_layer: Any, backend: str):
    torch.manual_seed(0)
    layer = make_layer(3, 20, batch_first=True, backend=backend)
    x = torch.randn(4, 9, 3)
    packed = pack_padded_sequence(x, [9, 4, 6, 1], batch_first=True, enforce_sorted=False)
    empty = torch.zeros(4, 0, 3), torch.zeros(0, 9, 3)
    for event in (x, x[0], packed, *empty):
        for k in (1, 4, 9, 50):
            values = tensors(layer(event))
            again = tensors(layer(event, recompute=k))
            close(again, values)
            if event is not empty[0] and event is not empty[1]:
                weights = list(layer.parameters())
                close(gradients(again, weights), gradients(values, weights))


def test_in_bfloat16_states_are_rounded_between_segments():
    torch.manual_seed(0)
    layer, x = gw.LSTM(3, 20, dtype=torch.bfloat16), torch.randn(9, 4, 3, dtype=torch.bfloat16)
    weights, lengths = list(layer.parameters()), [9] * 4
    for k in (9, 2):
        expected = tensors(layer(x, lengths=lengths))
        again = tensors(layer(x, lengths=lengths, recompute=k))
        close(again, expected)
        assert k < 9 or all(torch.equal(a, b) for a, b in zip(again, expected, strict=True))
        for own, other in zip(gradients(again, weights), gradients(expected, weights), strict=True):
            assert (own - other).norm() <= 3e-2 * other.norm()


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_requested_gradients_are_computed(backend: str):
    layer = make("learned", backend=backend)
    inputs, hx = sequences(layer, 6, 2), torch.randn(1, 2, 5, dtype=F64)
    groups = {
        "weights": list(layer.parameters()),
        "input": list(inputs.values()),
        "states": [hx],
        "one weight": [next(layer.parameters())],
    }
    for group in groups.values():
        layer.requires_grad_(False)
        for leaf in (hx, *inputs.values()):
            leaf.requires_grad_(False)
        for leaf in group:
            leaf.requires_grad_()
        output, h = run(layer, inputs, hx, recompute=2)
        own = gradients([output, h], group)
        close(own, gradients(run(layer, inputs, hx), group))
        # A loss that reaches some of the results only.
        close(
            gradients(run(layer, inputs, hx, recompute=2)[1], group),
            gradients(run(layer, inputs, hx)[1], group),
        )


def test_a_loss_on_the_first_steps_only_has_gradients_of_zero_later():
    layer, x = gw.GRU(3, 5, dtype=F64), torch.randn(9, 2, 3, dtype=F64, requires_grad=True)
    output, _ = layer(x, recompute=2)
    (gradient,) = torch.autograd.grad(output[:3].sum(), x)
    assert gradient[:3].all() and not gradient[3:].any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_second_derivatives(backend: str):
    layer = make("gru", backend=backend, bidirectional=True)
    x = sequences(layer, 5, 2)["x"].requires_grad_()
    leaves, by_call = [x, *layer.parameters()], []
    for options in ({}, {"recompute": 2}):
        first = torch.autograd.grad(random_loss(layer(x, **options)), leaves, create_graph=True)
        by_call.append(gradients(list(first), leaves))
    close(*by_call)
    output = layer(x, recompute=2)[0]
    rows = torch.eye(output.shape[-1], dtype=F64)
    together = torch.autograd.grad(output[2, 0], x, rows, is_grads_batched=True, retain_graph=True)
    single = [torch.autograd.grad(output[2, 0], x, row, retain_graph=True)[0] for row in rows]
    close(together[0], torch.stack(single))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("make_layer", [gw.LSTM, lambda *a, **b: gw.Recurrent("lstm", *a, **b)])
def test_weights_changed_in_place_before_the_backward_pass(make_layer: Any, backend: str):
    layer, x = make_layer(3, 4, backend=backend), torch.randn(6, 2, 3)
    output, _ = layer(x, recompute=2)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.add_(1.0)
    with pytest.raises(RuntimeError, match="inplace"):
        output.sum().backward()
    event = x.clone()
    output, _ = layer(event, recompute=2)
    event.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_memory_that_was_freed_before_the_backward_pass():
    layer, x = gw.LSTM(3, 4), torch.randn(6, 2, 3)
    output, _ = layer(x, recompute=2)
    x.untyped_storage().resize_(0)
    with pytest.raises(gw.ArgumentError, match="was freed or resized"):
        output.sum().backward()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("backend", BACKENDS)
def test_noise_is_that_of_the_forward_pass(training: bool, backend: str):
    layer = make("zoneout", num_layers=2, bidirectional=True, dropout=0.4, backend=backend)
    layer.train(training)
    x = sequences(layer, 11, 3)["x"].requires_grad_()
    expected, again = (
        results(layer, {"x": x}, lengths=[4, 11, 0], **options)
        for options in ({}, {"recompute": 3})
    )
    close(again[0], expected[0])
    close(again[1], expected[1])
    # Other random numbers would give other gradients.
    torch.manual_seed(5)
    output, states = layer(x, lengths=[4, 11, 0], recompute=3)
    torch.manual_seed(6)
    own = gradients([output, *tensors(states)], [x, *layer.parameters()])
    close(own, expected[1])


class Narrow(gw.Cell):
    """A noise of one number."""

    def step(self, x, h):
        h = gw.noise(0.3, size=1) * h + gw.tanh(gw.linear(x, h))
        return gw.state(h=h)


@pytest.mark.parametrize("training", [True, False])
def test_a_noise_of_one_number(training: bool):
    torch.manual_seed(0)
    layer = gw.Recurrent(Narrow(), 3, 4, dtype=F64).train(training)
    x, h = torch.randn(1, 1, 3, dtype=F64), torch.randn(1, 1, 4, dtype=F64)
    compare(layer, {"x": x}, 1, h)


def test_autocast_of_the_forward_pass_is_restored():
    torch.manual_seed(0)
    layer, x = gw.LSTM(3, 8), torch.randn(5, 2, 3, requires_grad=True)
    leaves, by_call = [x, *layer.parameters()], []
    for options in ({}, {"recompute": 5}):  # one segment, so that the operations are the same
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output, _ = layer(x, **options)
        by_call.append([output, *gradients(output, leaves)])
    assert all(torch.equal(a, b) for a, b in zip(*by_call, strict=True))
    exact = gradients(layer(x)[0], leaves)
    assert not torch.equal(by_call[1][1], exact[0])
    # What is computed without gradients leaves nothing in the cache of autocast.
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x, recompute=2)
        assert all(gradient.any() for gradient in gradients(layer(x)[0], leaves))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_saved_memory_grows_with_the_square_root(backend: str):
    layer = gw.LSTM(4, 32, backend=backend)
    saved = {}
    for steps in (25, 400):
        x = torch.randn(steps, 2, 4)
        own = {tensor.untyped_storage().data_ptr() for tensor in (x, *layer.parameters())}
        for recompute in (False, True):
            with saved_memory() as memory:
                output, _ = layer(x, recompute=recompute)
            places = memory.storages.items()
            saved[steps, recompute] = sum(size for place, size in places if place not in own)
            output.sum().backward()
    assert saved[400, False] > 12 * saved[25, False]
    states = 2 * 2 * 32 * 4  # bytes of h and c
    assert 4 * states <= saved[25, True] <= 4 * states + 2000
    assert 19 * states <= saved[400, True] <= 19 * states + 2000


def test_a_drawn_noise_is_kept_in_bits():
    layer = make("zoneout", dtype=torch.float32).train()
    with saved_memory() as memory:
        layer(torch.randn(100, 50, 3), recompute=10)
    drawn = [size for size in memory.storages.values() if size == 100 * 50]  # 5 units in a byte
    assert len(drawn) == 2 and max(memory.storages.values()) == 100 * 50 * 3 * 4


def test_without_gradients_it_has_no_effect():
    layer, x = gw.GRU(3, 4), torch.randn(5, 2, 3)
    with torch.no_grad():
        output, _ = layer(x, recompute=2)
    with torch.inference_mode():
        assert torch.equal(layer(x, recompute=2)[0], output)
    layer.requires_grad_(False)
    assert torch.equal(layer(x, recompute=2)[0], output) and not output.requires_grad


@pytest.mark.parametrize("value", [0, -3, 2.5, "4", [2]])
def test_what_is_no_number_of_steps_is_refused(value: Any):
    layer, x = gw.GRU(3, 4), torch.randn(5, 2, 3)
    for call in (layer, layer.explain):
        with pytest.raises(gw.ArgumentError, match="a whole number from 1"):
            call(x, recompute=value)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # forward_ad imports it
def test_what_needs_all_operations_is_refused():
    layer, x = gw.GRU(3, 4), torch.randn(5, 2, 3)
    for transform in (torch.func.grad, torch.func.vmap):
        batch = x.expand(2, *x.shape) if transform is torch.func.vmap else x
        with pytest.raises(gw.BackendError, match="leave recompute out"):
            transform(lambda x: layer(x, recompute=2)[0].sum())(batch)
    with (
        torch.autograd.forward_ad.dual_level(),
        pytest.raises(gw.BackendError, match="leave recompute out"),
    ):
        layer(torch.autograd.forward_ad.make_dual(x, x), recompute=2)
    with pytest.raises(gw.BackendError, match="rounding to int8 has no gradient"):
        gw.GRU(3, 4, backend="int8")(x, recompute=2)
    with pytest.raises(gw.ArgumentError, match="recompute"):
        layer.trace(x, recompute=2)


def test_inside_other_tools_of_torch():
    layer, x = gw.LSTM(3, 4, dtype=F64), torch.randn(6, 2, 3, dtype=F64, requires_grad=True)
    leaves = [x, *layer.parameters()]
    expected = gradients(layer(x)[0], leaves)

    def call(x: Tensor) -> Tensor:
        return layer(x, recompute=2)[0]

    close(gradients(checkpoint(call, x, use_reentrant=False), leaves), expected)
    with torch.autograd.graph.save_on_cpu():
        output = call(x)
    close(gradients(output, leaves), expected)
    close(gradients(output, leaves), expected)  # once more
    weights = dict(layer.named_parameters())
    output, _ = torch.func.functional_call(layer, weights, (x,), {"recompute": 2})
    close(gradients(output, leaves), expected)


def test_while_torch_watches_each_operation():
    layer, x = gw.LSTM(3, 4), torch.randn(6, 2, 3)
    with FlopCounterMode(display=False) as counter:
        random_loss(layer(x, recompute=2)).backward()
    assert counter.get_total_flops() > 0
    weights = list(layer.parameters())
    close([weight.grad for weight in weights], gradients(layer(x), weights))
    with FakeTensorMode():
        layer, x = gw.LSTM(3, 4), torch.randn(6, 2, 3)
        output, (h, _) = layer(x, recompute=2)
        output.sum().backward()
        assert output.shape == (6, 2, 4) and h.shape == (1, 2, 4)
        assert layer.weight_hh_l0.grad.shape == (16, 4)


@pytest.mark.filterwarnings("ignore")
def test_in_a_compiled_program_it_runs_by_itself():
    layer, x = gw.LSTM(3, 4, dtype=F64), torch.randn(6, 2, 3, dtype=F64, requires_grad=True)
    leaves, by_call = [x, *layer.parameters()], []

    def call(x: Tensor) -> Tensor:
        return 2 * layer(x, recompute=2)[0]

    for function in (call, torch.compile(call, backend="eager")):
        with saved_memory() as memory:
            output = function(x)
        by_call.append((gradients(output, leaves), sorted(memory.storages.values())))
    close(by_call[1][0], by_call[0][0])
    assert by_call[1][1] == by_call[0][1]


def test_exported_it_is_one_operator():
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = gw.LSTM(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = self.layer(x, recompute=2)[0]
            return output

    model, x = Model().eval(), torch.randn(6, 2, 3)
    program = torch.export.export(model, (x,))
    assert any("gatewright.recurrent" in str(node.target) for node in program.graph.nodes)
    close(program.module()(x), model(x))


def test_explain_names_the_memory():
    text = gw.LSTM(3, 64).explain(torch.randn(1000, 2, 3), recompute=True)
    assert "32 segments of at most 32 steps" in text
    assert f"{31 * 2 * 2 * 64 * 4 / 1e6:.2f} MB" in text  # h and c of two rows, 31 times
    assert "recompute" not in gw.LSTM(3, 64).explain(torch.randn(10, 2, 3))


def test_the_benchmark_measures_memory_and_time(monkeypatch: pytest.MonkeyPatch):
    script = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "recompute.py"))
    names = script["memory_of"].__globals__
    monkeypatch.setitem(names, "stay_on", lambda threads: None)  # it is this process that runs
    monkeypatch.setitem(names, "HIDDEN", 64)
    rows = [
        {"steps": 300, "backend": "llvm", "recompute": r, **script["memory_of"](300, r, "llvm")}
        for r in (False, True)
    ]
    assert rows[1]["kept"] < rows[0]["kept"] / 10
    monkeypatch.setitem(names, "TIMED", [("GRU", (2, 9, 3, 4))])
    (timed,) = script["timed"](0.0)
    assert (timed["cell"], timed["size"]) == ("GRU", (2, 9, 3, 4))
    assert all(pair[0] > 0 for key in ("recomputed", "forward") for pair in timed[key])
