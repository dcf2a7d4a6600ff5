"""Changes of memory, modules and results between two calls, compared with torch's layers."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import gatewright as gw
from gatewright.errors import ArgumentError
from tolerances import close, gradients

F64 = torch.float64
NAMES = ("RNN", "LSTM", "GRU")


def shrink(tensor: Tensor, size: int = 16) -> Tensor:
    """Shrink the storage of a tensor to its first bytes."""
    tensor.untyped_storage().resize_(size)
    return tensor


# Terms that the adjoint shares with a value that no run returns.
class Merged(gw.Cell):
    """The derivative of tanh uses `square`, which a plain run does not compute."""

    def step(self, x, h):
        output = gw.tanh(h)
        square = output * output  # noqa: F841
        return gw.state(h=gw.tanh(gw.linear(x, h)), output=output)


@pytest.mark.parametrize("hidden", [5, 16])
def test_a_derivative_that_is_another_value_too(hidden: int):
    ours = gw.Recurrent(Merged, 3, hidden, dtype=F64)
    truth = copy.deepcopy(ours)
    truth.backend = "reference"
    for how in ({}, {"lengths": [4, 2]}):
        x = torch.randn(4, 2, 3, dtype=F64)
        both = [layer(x, **how) for layer in (ours, truth)]
        close(both[0], both[1])
        results = [
            gradients([output, states], list(layer.parameters()))
            for layer, (output, states) in zip((ours, truth), both, strict=True)
        ]
        close(*results)


# Memory that was freed.
def lost_input_before_backward() -> None:
    layer, x = gw.LSTM(64, 64), torch.randn(50, 8, 64)
    output = layer(x)[0]
    shrink(x)
    output.sum().backward()


def lost_weight_before_backward() -> None:
    layer, x = gw.LSTM(64, 64), torch.randn(50, 8, 64)
    output = layer(x)[0]
    shrink(layer.weight_hh_l0)
    output.sum().backward()


def lost_in_a_hook() -> None:
    layer, x = gw.LSTM(64, 64), torch.randn(50, 8, 64)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.detach().clone(), shrink):
        output = layer(x)[0]
    output.sum().backward()


def lost_upstream() -> None:
    x = torch.randn(5, 2, 3, requires_grad=True)
    output = gw.GRU(3, 4)(x)[0]
    torch.autograd.grad(output, x, shrink(torch.ones(5, 2, 4)))


def lost_weight() -> None:
    layer = gw.Recurrent("lstm", 64, 64)
    shrink(next(layer.parameters()))
    layer(torch.randn(5, 3, 64))


def lost_weight_of_a_stepper() -> None:
    layer = gw.Recurrent("lstm", 64, 64)
    shrink(next(layer.parameters()))
    layer.stepper()


def lost_input_of_a_compiled_layer() -> None:
    layer, x = torch.compile(gw.LSTM(64, 64), backend="aot_eager"), torch.randn(50, 8, 64)
    with torch.no_grad():
        layer(x)
        layer(shrink(x))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "use",
    [
        lost_input_before_backward,
        lost_weight_before_backward,
        lost_in_a_hook,
        lost_upstream,
        lost_weight,
        lost_weight_of_a_stepper,
        # The import of torch's compiler takes 1.3 s.
        pytest.param(lost_input_of_a_compiled_layer, marks=pytest.mark.slow),
    ],
)
def test_lost_memory_is_refused(use: Callable[[], None]):
    with pytest.raises(ArgumentError, match="freed or resized"):
        use()


def test_zeros_without_memory():
    """torch's tensors of lazy zeros have a size of storage, but no address."""
    layer, zero = gw.LSTM(3, 8), torch._efficientzerotensor((5, 2, 3))
    expected = layer(torch.zeros(5, 2, 3))
    for _ in range(2):
        close(layer(zero), expected)
    step = layer.stepper().step(torch._efficientzerotensor((3,)))
    close(step, layer.stepper().step(torch.zeros(3)))


# Modules.
def test_a_module_that_is_replaced():
    layer, x = gw.Recurrent("lstm", 3, 4), torch.randn(5, 2, 3)
    layer(x)
    other = copy.deepcopy(layer.layers["0_forward"])
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(3)
    layer.layers["0_forward"] = other
    close(layer(x), copy.deepcopy(layer)(x))


def test_the_whole_state_of_a_module_replaced():
    layer, x = gw.LSTM(3, 3), torch.randn(5, 2, 3)
    for change in (
        lambda: layer.__setstate__(gw.LSTM(3, 3).__getstate__()),
        lambda: layer.__dict__.update(gw.LSTM(3, 3).__dict__),
    ):
        layer(x)
        change()
        close(layer(x), copy.deepcopy(layer)(x))


class Equal(gw.LSTM):
    """Layers that compare by their size."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Equal) and other.hidden_size == self.hidden_size

    def __hash__(self) -> int:
        return hash(self.hidden_size)


def test_equal_layers_have_weights_of_their_own():
    first, second, x = Equal(3, 4), Equal(3, 4), torch.randn(5, 2, 3)
    expected = gw.LSTM(3, 4)
    expected.load_state_dict(second.state_dict())
    first(x)
    close(second(x), expected(x))


# Results.
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options", [{}, {"batch_first": True}, {"num_layers": 2}, {"bidirectional": True}], ids=str
)
def test_results_are_detached_in_place(name: str, options: dict[str, Any]):
    """As older code cuts backpropagation: torch's results are no views."""
    x = torch.randn(5, 2, 3)
    for layer, how in itertools.product(
        (getattr(gw, name)(3, 4, **options), gw.PeepholeLSTM(3, 4, **options)),
        ({}, {"lengths": [2, 2, 1, 2, 0] if options.get("batch_first") else [5, 3]}),
    ):
        for _ in range(2):
            output, states = layer(x, **how)
            for result in (output, *(states if isinstance(states, tuple) else (states,))):
                result.detach_()
                assert not result.requires_grad


def test_hooks_of_results_that_nothing_reaches():
    """torch calls no hook of a result that no gradient reaches."""
    for layer in (gw.LSTM(3, 4), gw.GRU(3, 4), gw.GRU(3, 4, 2, batch_first=True)):
        output, states = layer(torch.randn(5, 2, 3))
        for state in states if isinstance(states, tuple) else (states,):
            state.register_hook(lambda gradient: gradient + 1)
        output.sum().backward()


# Gradients.
LAYERS: list[Callable[[], nn.Module]] = [
    lambda: gw.RNN(12, 20),
    lambda: gw.GRU(12, 20, 2, bidirectional=True),
    lambda: gw.LSTM(12, 20),
    lambda: gw.Recurrent("lstm", 12, 20),
]


@pytest.mark.parametrize("make", LAYERS)
def test_gradients_have_no_gaps_and_memory_of_their_own(make: Callable[[], nn.Module]):
    layer, x = make(), torch.randn(5, 2, 12)
    for _ in range(2):
        weights = list(layer.parameters())
        gradients = torch.autograd.grad(layer(x)[0].square().sum(), weights)
        assert all(one.is_contiguous() for one in gradients)
        storages = {one.untyped_storage().data_ptr() for one in gradients}
        assert len(storages) == len(gradients)
        assert all(one.untyped_storage().nbytes() < one.nbytes + 128 for one in gradients)
    before = [weight.detach().clone() for weight in weights]
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.grad = gradient
    # It goes through the memory of a gradient from its address.
    torch.optim.SGD(weights, lr=1.0, fused=True).step()
    close(list(weights), [old - gradient for old, gradient in zip(before, gradients, strict=True)])


def test_saved_numbers_that_are_negative_in_memory():
    layer, x = gw.LSTM(8, 8, dtype=F64), torch.randn(5, 2, 8, dtype=F64, requires_grad=True)
    leaves = [x, *layer.parameters()]
    expected = torch.autograd.grad(layer(x)[0].square().sum(), leaves)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: tensor.detach().clone(), lambda tensor: torch._neg_view(-tensor)
    ):
        output = layer(x)[0]
    close(torch.autograd.grad(output.square().sum(), leaves), expected)
    output = layer(x)[0]
    layer.weight_hh_l0.data = torch._neg_view(-layer.weight_hh_l0.data)
    close(torch.autograd.grad(output.square().sum(), leaves), expected)


def test_a_step_into_tensors_that_autograd_has_saved():
    stepper, weight = gw.LSTM(3, 8).stepper(), torch.ones(8, requires_grad=True)
    target = torch.zeros(8)
    product = (target * weight).sum()
    stepper.step(torch.ones(3), out=target)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()
    product = (stepper.step(torch.ones(3)) * weight).sum()
    stepper.step(torch.zeros(3))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


def test_orders_of_a_packed_sequence_that_disagree():
    packed = pack_sequence([torch.randn(n, 3) for n in (2, 5, 3)], enforce_sorted=False)
    wrong = PackedSequence(
        packed.data, packed.batch_sizes, packed.sorted_indices, torch.tensor([0, 1, 2])
    )
    with pytest.raises(ArgumentError, match="disagree"):
        gw.GRU(3, 4)(wrong)


class Given(gw.Cell):
    """An output that is a parameter: one row for all."""

    def step(self, x, h):
        return gw.state(
            h=gw.tanh(gw.linear(x, h)), output=gw.parameter(size="hidden", name="gain", start=2.0)
        )


def test_results_belong_to_whoever_asked():
    layer, x = gw.Recurrent(Given, 3, 5), torch.randn(4, 2, 3)
    for _ in range(2):
        output, _ = layer(x)
        output.mul_(3)
        assert torch.equal(output, torch.full_like(output, 6.0))
        assert torch.equal(layer.weights("gain")["gain"][0], torch.full((5,), 2.0))
