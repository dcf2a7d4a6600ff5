"""What surrounds a run of the kernels: whose memory it is, and who records or hooks it."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils import parametrize
from torch.nn.utils.rnn import pack_padded_sequence

import gatewright as gw
from gatewright import linear, sigmoid, tanh
from gatewright.backends.llvm import memory
from gatewright.backends.order import even
from gatewright.errors import BackendError
from tolerances import close, random_loss

F64 = torch.float64


class Twice(gw.Cell):
    """Two values that are known early, and get the same gradient from the loop."""

    def step(self, x, h):
        a = tanh(linear(x))
        b = sigmoid(linear(x))
        y = linear(h, name="u") + a + b
        h = tanh(y)
        return gw.state(h=h)


class Through(gw.Cell):
    """An output whose upstream gradient goes on to an early value as it is."""

    def step(self, x, h):
        a = tanh(linear(x))
        y = h + a
        h = tanh(linear(h, name="u"))
        return gw.state(h=h, output=y)


class Chain(gw.Cell):
    """Named values that follow from weights alone, and that only each other read."""

    def step(self, x, h):
        p = gw.parameter(start=0.3)
        a = linear(p, name="s") + linear(p, name="t")
        b = sigmoid(a)
        h = b * h + tanh(linear(x, h, name="g"))
        return gw.state(h=h)


def pair(cell: gw.Cell | str, inputs: int, hidden: int) -> Iterator[gw.Recurrent]:
    """The same layer on the kernels and on the reference."""
    for backend in ("llvm", "reference"):
        torch.manual_seed(0)
        yield gw.Recurrent(cell, inputs, hidden, backend=backend, dtype=F64)


def numbers(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("hidden", [5, 16], ids=["a-copy", "the-buffer"])
@pytest.mark.parametrize("cell", [Twice(), Through()], ids=["twice", "through"])
def test_seeds_of_early_values_stay_apart(cell: gw.Cell, hidden: int):
    """And what the user gives as an upstream gradient is only read."""
    found = []
    for layer in pair(cell, 3, hidden):
        x = numbers(4, 2, 3).requires_grad_()
        trace = layer.trace(x, grad=True)
        names = [name for name in trace if name not in ("x", "output")]
        seeds = [numbers(4, 2, hidden, seed=i) for i in range(len(names))]
        given = [one.clone() for one in seeds]
        values = [trace[name] for name in names]
        found.append(torch.autograd.grad(values, [x, *layer.parameters()], given))
        close(given, seeds, table={F64: 0.0})
    close(found[0], found[1])


def test_second_derivatives_of_a_trace_of_what_follows_from_weights():
    found = []
    for layer in pair(Chain(), 3, 5):
        x = numbers(4, 2, 3).requires_grad_()
        leaves = [x, *layer.parameters()]
        trace = layer.trace(x, grad=True)
        loss = random_loss(list(trace.values()))
        first = torch.autograd.grad(loss, leaves, create_graph=True)
        second = torch.autograd.grad(random_loss(first), leaves, allow_unused=True)
        found.append([one for one in second if one is not None])
    close(found[0], found[1])


class Turned(torch.nn.Module):
    """A matrix whose columns lie side by side."""

    def forward(self, matrix: Tensor) -> Tensor:
        return (matrix.T * 1.0).contiguous().T


def test_a_hook_on_what_is_saved_may_give_it_back_in_another_order():
    def ordered(one: Tensor) -> Tensor:
        return one.clone(memory_format=torch.contiguous_format)

    found = []
    for layer in pair("gru", 16, 16):
        for module in list(layer.modules()):
            for name, one in list(module._parameters.items()):
                if one is not None and one.dim() == 2:
                    parametrize.register_parametrization(module, name, Turned())
        x = numbers(4, 2, 16).requires_grad_()
        with saved_tensors_hooks(ordered, lambda one: one):
            output, _ = layer(x)
        found.append(torch.autograd.grad(output.sum(), [x, *layer.parameters()]))
    close(found[0], found[1])


def test_numbers_that_stand_negated_in_memory():
    found = []
    for layer in pair("gru", 16, 16):
        x, seed = (torch._neg_view(numbers(4, 2, 16, seed=i)) for i in (1, 2))
        leaves = [x.requires_grad_(), *layer.parameters()]
        output, _ = layer(x)
        found.append([output, *torch.autograd.grad(output, leaves, seed)])
    close(found[0], found[1])


# Whoever records operations would not see the kernels.
@pytest.mark.filterwarnings("ignore")  # torch warns of whatever it traces
def test_a_recorded_run_is_no_constant():
    layer = gw.LSTM(3, 5)
    x, other = torch.randn(2, 4, 2, 3).unbind()
    with torch.no_grad():
        expected = layer(other)[0]
        for recorded in (torch.jit.trace(layer, (x,)), make_fx(lambda one: layer(one))(x)):
            close(recorded(other)[0], expected, table={torch.float32: 1e-6})
    with pytest.raises(BackendError, match="recording"), FakeTensorMode():
        gw.Recurrent("lstm", 3, 5, backend="llvm")(torch.randn(4, 2, 3))


def test_weights_of_several_dtypes_do_not_reach_the_kernels():
    layer = gw.LSTM(3, 5)
    layer.weight_hh_l0 = torch.nn.Parameter(layer.weight_hh_l0.double())
    with pytest.raises(RuntimeError, match="dtype"):
        layer(torch.zeros(4, 2, 3))


# Upstream gradients that are not there, or elsewhere.
@pytest.mark.filterwarnings("ignore")  # torch's own, about its batches
def test_a_batch_of_upstream_gradients():
    """As `torch.autograd.functional.jacobian(..., vectorize=True)` gives them."""
    for layer in pair("gru", 3, 5):
        x, seeds = numbers(4, 2, 3).requires_grad_(), numbers(6, 4, 2, 5)
        leaves = [x, *layer.parameters()]
        output, _ = layer(x)
        found = torch.autograd.grad(output, leaves, seeds, retain_graph=True, is_grads_batched=True)
        alone = [torch.autograd.grad(output, leaves, one, retain_graph=True) for one in seeds]
        close(list(found), [torch.stack(ones) for ones in zip(*alone, strict=True)])


def test_zeros_that_stand_nowhere():
    """Torch has tensors of zeros without memory; a kernel would read from address 0."""
    layer = gw.Recurrent("gru", 3, 16, dtype=F64)
    zeros = torch._efficientzerotensor((4, 2, 3), dtype=F64)
    for _ in range(2):
        close(layer(zeros)[0], layer(torch.zeros(4, 2, 3, dtype=F64))[0])
    x = numbers(4, 2, 3).requires_grad_()
    output, _ = layer(x)
    (found,) = torch.autograd.grad(output, x, torch._efficientzerotensor(output.shape, dtype=F64))
    assert torch.equal(found, torch.zeros(4, 2, 3, dtype=F64))


def test_memory_that_was_taken_away():
    """As by code that shards a model's weights: it is refused, and nothing is read."""
    layer = gw.Recurrent("gru", 3, 16)
    x = torch.randn(4, 2, 3)
    for _ in range(2):
        layer(x)
    x.untyped_storage().resize_(0)
    with pytest.raises(gw.errors.ArgumentError, match="it was freed or resized"):
        layer(x)


def test_the_default_device_is_for_what_users_make():
    layer, x = gw.LSTM(3, 5), torch.randn(4, 2, 3)
    packed = pack_padded_sequence(x, [4, 2])

    def everything() -> list[Tensor]:
        stepper = layer.stepper(2)
        stepper.state = stepper.state
        held = layer.trace(x, lengths=[2, 4], hold={"f": 0.5})["h"]
        return [held, layer(packed)[0].data, stepper.step(x[0]).clone()]

    expected = everything()
    with torch.device("meta"):
        close(everything(), expected, table={torch.float32: 0.0})


# Memory that waits.
def test_the_orders_of_many_lengths_share_their_numbers():
    even(3000, 3, False)  # as many numbers as any of these needs
    orders = [even(1000 + length, 3, False) for length in range(3)]
    arrays = [array for one in orders for array in (one.before, one.after, one.arrays[-1])]
    assert len({one.untyped_storage().data_ptr() for one in arrays}) == 1
    for one in orders:
        assert one.arrays[-1].tolist() == list(range(one.total + 1))
        assert torch.equal(one.before[3:], one.after[:-3])


class Cycle:
    """What only the collector finds."""

    def __init__(self, held: Tensor) -> None:
        self.itself, self.held = self, held


def test_the_collector_may_give_back_a_block_while_another_is_looked_for():
    before = gc.get_threshold()
    gc.freeze()  # all that is there already: to look through it takes long
    try:
        for allocations in range(1, 40):
            gc.disable()
            gc.collect()
            pool = memory.Pool()
            live = [pool.take(torch.float32, memory.LARGE) for _ in range(12)]
            del live
            Cycle(pool.take(torch.float32, 64 * memory.LARGE))
            gc.set_threshold(gc.get_count()[0] + allocations)
            gc.enable()
            pool.take(torch.float32, memory.LARGE)
    finally:
        gc.enable()
        gc.unfreeze()
        gc.set_threshold(*before)
