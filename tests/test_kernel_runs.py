"""Runs of the kernels inside torch: memory, recorded and hooked runs, odd gradients."""

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
    """Two values computed before the loop that get the same gradient from it."""

    def step(self, x, h):
        a = tanh(linear(x))
        b = sigmoid(linear(x))
        y = linear(h, name="u") + a + b
        h = tanh(y)
        return gw.state(h=h)


class Through(gw.Cell):
    """An output whose upstream gradient is also that of a value computed before the loop."""

    def step(self, x, h):
        a = tanh(linear(x))
        y = h + a
        h = tanh(linear(h, name="u"))
        return gw.state(h=h, output=y)


class Chain(gw.Cell):
    """Named values that follow from the weights only, and are read only by each other."""

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
def test_upstream_gradients_of_early_values_are_separate(cell: gw.Cell, hidden: int):
    """Upstream gradients that the user gives are only read."""
    by_backend = []
    for layer in pair(cell, 3, hidden):
        x = numbers(4, 2, 3).requires_grad_()
        trace = layer.trace(x, grad=True)
        names = [name for name in trace if name not in ("x", "output")]
        seeds = [numbers(4, 2, hidden, seed=i) for i in range(len(names))]
        copies = [seed.clone() for seed in seeds]
        values = [trace[name] for name in names]
        by_backend.append(torch.autograd.grad(values, [x, *layer.parameters()], copies))
        close(copies, seeds, table={F64: 0.0})
    close(by_backend[0], by_backend[1])


def test_second_derivatives_of_a_trace_of_values_of_the_weights():
    by_backend = []
    for layer in pair(Chain(), 3, 5):
        x = numbers(4, 2, 3).requires_grad_()
        leaves = [x, *layer.parameters()]
        trace = layer.trace(x, grad=True)
        loss = random_loss(list(trace.values()))
        first = torch.autograd.grad(loss, leaves, create_graph=True)
        second = torch.autograd.grad(random_loss(first), leaves, allow_unused=True)
        by_backend.append([gradient for gradient in second if gradient is not None])
    close(by_backend[0], by_backend[1])


class Turned(torch.nn.Module):
    """A matrix whose columns are contiguous in memory."""

    def forward(self, matrix: Tensor) -> Tensor:
        return (matrix.T * 1.0).contiguous().T


def test_a_hook_may_return_saved_tensors_with_other_strides():
    def ordered(tensor: Tensor) -> Tensor:
        return tensor.clone(memory_format=torch.contiguous_format)

    by_backend = []
    for layer in pair("gru", 16, 16):
        for module in list(layer.modules()):
            for name, tensor in list(module._parameters.items()):
                if tensor is not None and tensor.dim() == 2:
                    parametrize.register_parametrization(module, name, Turned())
        x = numbers(4, 2, 16).requires_grad_()
        with saved_tensors_hooks(ordered, lambda tensor: tensor):
            output, _ = layer(x)
        by_backend.append(torch.autograd.grad(output.sum(), [x, *layer.parameters()]))
    close(by_backend[0], by_backend[1])


def test_numbers_that_are_stored_negated():
    by_backend = []
    for layer in pair("gru", 16, 16):
        x, seed = (torch._neg_view(numbers(4, 2, 16, seed=i)) for i in (1, 2))
        leaves = [x.requires_grad_(), *layer.parameters()]
        output, _ = layer(x)
        by_backend.append([output, *torch.autograd.grad(output, leaves, seed)])
    close(by_backend[0], by_backend[1])


# Code that records operations would not see the kernels.
@pytest.mark.filterwarnings("ignore")  # torch warns of many things that it traces
def test_a_recorded_run_is_not_a_constant():
    layer = gw.LSTM(3, 5)
    x, other = torch.randn(2, 4, 2, 3).unbind()
    with torch.no_grad():
        expected = layer(other)[0]
        for recorded in (torch.jit.trace(layer, (x,)), make_fx(lambda event: layer(event))(x)):
            close(recorded(other)[0], expected, table={torch.float32: 1e-6})
    with pytest.raises(BackendError, match="recording"), FakeTensorMode():
        gw.Recurrent("lstm", 3, 5, backend="llvm")(torch.randn(4, 2, 3))


def test_weights_of_several_dtypes_do_not_reach_the_kernels():
    layer = gw.LSTM(3, 5)
    layer.weight_hh_l0 = torch.nn.Parameter(layer.weight_hh_l0.double())
    with pytest.raises(gw.errors.ArgumentError, match="several dtypes"):
        layer(torch.zeros(4, 2, 3))


# Upstream gradients without memory, or in other memory.
@pytest.mark.filterwarnings("ignore")  # torch's own, about its batches
def test_a_batch_of_upstream_gradients():
    """As `torch.autograd.functional.jacobian(..., vectorize=True)` passes them."""
    for layer in pair("gru", 3, 5):
        x, seeds = numbers(4, 2, 3).requires_grad_(), numbers(6, 4, 2, 5)
        leaves = [x, *layer.parameters()]
        output, _ = layer(x)
        batched = torch.autograd.grad(
            output, leaves, seeds, retain_graph=True, is_grads_batched=True
        )
        separate = [torch.autograd.grad(output, leaves, seed, retain_graph=True) for seed in seeds]
        close(list(batched), [torch.stack(gradients) for gradients in zip(*separate, strict=True)])


def test_zeros_without_memory():
    """Torch has tensors of zeros without memory; a kernel would read from address 0."""
    layer = gw.Recurrent("gru", 3, 16, dtype=F64)
    zeros = torch._efficientzerotensor((4, 2, 3), dtype=F64)
    for _ in range(2):
        close(layer(zeros)[0], layer(torch.zeros(4, 2, 3, dtype=F64))[0])
    x = numbers(4, 2, 3).requires_grad_()
    output, _ = layer(x)
    (gradient,) = torch.autograd.grad(
        output, x, torch._efficientzerotensor(output.shape, dtype=F64)
    )
    assert torch.equal(gradient, torch.zeros(4, 2, 3, dtype=F64))


def test_a_tensor_whose_memory_was_freed():
    """As by code that shards a model's weights: the tensor is refused before it is read."""
    layer = gw.Recurrent("gru", 3, 16)
    x = torch.randn(4, 2, 3)
    for _ in range(2):
        layer(x)
    x.untyped_storage().resize_(0)
    with pytest.raises(gw.errors.ArgumentError, match="it was freed or resized"):
        layer(x)


def test_the_default_device_is_only_for_tensors_of_the_user():
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


# The pool of memory.
def test_the_orders_of_many_lengths_share_their_numbers():
    even(3000, 3, False)  # as many numbers as the longest of these needs
    orders = [even(1000 + length, 3, False) for length in range(3)]
    arrays = [array for order in orders for array in (order.before, order.after, order.arrays[-1])]
    assert len({array.untyped_storage().data_ptr() for array in arrays}) == 1
    for order in orders:
        assert order.arrays[-1].tolist() == list(range(order.total + 1))
        assert torch.equal(order.before[3:], order.after[:-3])


class Cycle:
    """A cycle, which only the garbage collector frees."""

    def __init__(self, held: Tensor) -> None:
        self.itself, self.held = self, held


@pytest.mark.skipif(memory.CHECKED, reason="the checked build takes no blocks from a pool")
def test_a_block_may_come_back_while_another_one_does():
    """As in Python 3.12 and later, where the collector runs between any two lines."""
    pool = memory.Pool()
    late = [memory.new_block(memory.LARGE) for _ in range(3)]

    class Interrupted(dict):
        def __iter__(self):
            keys = super().__iter__()
            if late:
                pool.give(late.pop())
            return keys

    pool.waiting = Interrupted()
    pool.give(memory.new_block(memory.LARGE))
    taken = [pool.take(torch.float32, memory.LARGE // 4) for _ in range(4)]
    assert len({tensor.data_ptr() for tensor in taken}) == 4
    assert not late and not pool.waiting and not pool.returned


def test_the_collector_may_return_a_block_while_another_is_taken():
    before = gc.get_threshold()
    gc.freeze()  # the existing objects, which take long to look through
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
