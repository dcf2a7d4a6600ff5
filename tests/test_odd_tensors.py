"""Tensors without numbers and sequences with false lengths are refused, never read."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence

import gatewright as gw
from gatewright.backends.llvm import operators
from gatewright.backends.reference import TermGroup
from gatewright.errors import ArgumentError
from gatewright.graph.stages import INPUTS


def freed(shape: tuple[int, ...]) -> Tensor:
    """A tensor whose storage was freed."""
    tensor = torch.randn(shape)
    tensor.untyped_storage().resize_(0)
    return tensor


def shrunk(shape: tuple[int, ...]) -> Tensor:
    """A tensor whose storage ends before its last number."""
    tensor = torch.randn(2 * int(np.prod(shape)))[int(np.prod(shape)) :].view(shape)
    tensor.untyped_storage().resize_(tensor.numel() * 4)
    return tensor


def nested(shape: tuple[int, ...]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nested.nested_tensor([torch.randn(shape)])


def compressed(shape: tuple[int, ...]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.randn(shape[-2:]).to_sparse_csr()


def quantized(shape: tuple[int, ...]) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.randn(shape), 0.1, 0, torch.qint8)


ODD: dict[str, Callable[[tuple[int, ...]], Any]] = {
    "freed": freed,
    "shrunk": shrunk,
    "sparse": lambda shape: torch.randn(shape).to_sparse(),
    "compressed": compressed,
    "nested": nested,
    "quantized": quantized,
}
ARRAYS: dict[str, Any] = {
    "dates": np.zeros(3, "datetime64[s]"),
    "texts": np.array(["a", "b", "c"]),
    "objects": np.array([None, 1, 2], dtype=object),
    "records": np.zeros(3, [("a", "f4")]),
    "a memoryview": memoryview(b"abcdefghijkl"),
    "complex": np.zeros(3, np.complex64),
    "None": None,
    "a list": [1.0, 2.0, 3.0],
}
LAYERS = [lambda: gw.GRU(3, 5), lambda: gw.Recurrent("gru", 3, 5, backend="reference")]


@pytest.mark.parametrize("build", LAYERS)
@pytest.mark.parametrize("kind", ODD)
def test_a_layer_refuses_what_it_cannot_read(kind: str, build):
    layer = build()
    odd, x = ODD[kind], torch.randn(4, 2, 3)
    with pytest.raises(gw.GatewrightError, match=r"input .*; "):
        layer(odd((4, 2, 3)), lengths=[4, 2])
    with pytest.raises(gw.GatewrightError, match=r"state h .*"):
        layer(x, odd((1, 2, 5)), lengths=[4, 2])


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("kind", [*ODD, *ARRAYS])
def test_a_stepper_refuses_what_it_cannot_read(kind: str, backend: str):
    stepper = gw.Recurrent("gru", 3, 5, backend=backend).stepper()
    make = ODD.get(kind)
    event = make((1, 3)) if make else ARRAYS[kind]
    before = stepper.state.clone()
    with pytest.raises(gw.GatewrightError):
        stepper.step(event)
    with pytest.raises(gw.GatewrightError):
        stepper.state = make((1, 1, 5)) if make else ARRAYS[kind]
    if kind not in ("None", "a list"):
        with pytest.raises(gw.GatewrightError):
            stepper.reset(make((1,) * 2) if make else ARRAYS[kind])
        with pytest.raises(gw.GatewrightError):
            stepper.step(np.zeros(3, np.float32), out=make((1, 5)) if make else ARRAYS[kind])
    assert torch.equal(stepper.state, before)


def test_further_inputs_and_marks_are_read_with_the_same_care():
    layer = gw.Recurrent("cfc", 3, 5)
    x = torch.randn(4, 2, 3)
    with pytest.raises(gw.ArgumentError, match="further input dt has storage of 0 bytes"):
        layer(x, dt=freed((4, 2, 1)))
    with pytest.raises(gw.ArgumentError, match="starts is"):
        gw.GRU(3, 5)(x, starts=torch.ones(4, 2, dtype=torch.bool).to_sparse())


def test_overlapping_tensors_are_fine():
    """An expanded tensor has fewer numbers in memory than in its shape, and none is missing."""
    layer = gw.GRU(3, 5)
    x = torch.randn(1, 1, 3).expand(4, 2, 3)
    h = torch.randn(1, 1, 5).expand(1, 2, 5)
    expected = layer(x.clone(), h.clone())[0]
    for _ in range(3):
        assert torch.equal(layer(x, h)[0], expected)
    stepper = layer.stepper(2)
    assert np.allclose(stepper.step(x[0]), layer.stepper(2).step(x[0].clone()))


DATA = torch.randn(6, 3)
LIES: dict[str, tuple[Any, ...]] = {
    "more rows than there are": (DATA, torch.tensor([4096] * 4)),
    "fewer rows than there are": (DATA, torch.tensor([2, 2])),
    "growing": (DATA, torch.tensor([1, 2, 3])),
    "a zero": (DATA, torch.tensor([3, 3, 0])),
    "negative": (DATA, torch.tensor([7, -1])),
    "none": (DATA[:0], torch.tensor([], dtype=torch.int64)),
    "floats": (DATA, torch.tensor([3.0, 3.0])),
    "an order beyond the rows": (DATA, torch.tensor([3, 3]), torch.tensor([0, 1, 7]), None),
    "a row twice": (DATA, torch.tensor([3, 3]), torch.tensor([0, 1, 1]), torch.tensor([0, 1, 2])),
    "too long an order": (DATA, torch.tensor([3, 3]), torch.arange(4), torch.arange(4)),
    "freed": (freed((6, 3)), torch.tensor([3, 3])),
}


@pytest.mark.parametrize("build", LAYERS)
@pytest.mark.parametrize("case", LIES)
def test_a_packed_sequence_that_lies_is_refused(case: str, build):
    data, sizes, *orders = LIES[case]
    packed = PackedSequence.__new__(
        PackedSequence, pack_sequence([DATA]).data, torch.tensor([1] * 6), None, None
    )._replace(data=data, batch_sizes=sizes)
    if orders:
        packed = packed._replace(sorted_indices=orders[0], unsorted_indices=orders[1])
    layer = build()
    for _ in range(2):
        with pytest.raises(gw.GatewrightError, match="the input's"):
            layer(packed)


def test_lengths_and_states_of_another_batch_are_refused():
    layer, x = gw.LSTM(3, 5), torch.randn(4, 2, 3)
    for _ in range(2):
        for lengths in ([5, 1], [-1, 2], [1], [1, 1, 1], [1.5, 2.0], [[1, 2]]):
            with pytest.raises(gw.GatewrightError, match="length"):
                layer(x, lengths=lengths)
        with pytest.raises(gw.SizeError, match="state c has shape"):
            layer(x, (torch.zeros(1, 2, 5), torch.zeros(1, 3, 5)))


class Misreporting(Tensor):
    """A tensor whose strides and address are not those of its numbers."""

    def stride(self, *axis: int) -> Any:
        return (600, 300, 1)[-self.dim() :]

    def data_ptr(self) -> int:
        return 12345

    def contiguous(self, **options: Any) -> Tensor:
        return self


class Described(Tensor):
    """A tensor with a name, as users' subclasses are."""

    name = "speed"


def test_a_subclass_that_misreports_its_numbers_is_refused():
    layer, x = gw.GRU(3, 4), torch.randn(5, 2, 3)
    with pytest.raises(ArgumentError, match="input is a Misreporting, whose shape, strides or"):
        layer(x.as_subclass(Misreporting))
    weight = layer.weight_hh_l0.detach().as_subclass(Misreporting)
    layer._parameters["weight_hh_l0"] = nn.Parameter(weight, requires_grad=False)
    for use in (layer, layer.trace, lambda x: layer.stepper()):
        with pytest.raises(ArgumentError, match="weight_hh_l0 is a Misreporting"):
            use(x)


def test_other_subclasses_are_read():
    layer, x = gw.GRU(3, 4), torch.randn(5, 2, 3)
    assert torch.equal(layer(x.as_subclass(Described))[0], layer(x)[0])


@pytest.mark.parametrize("options", [{}, {"lengths": [5, 3]}, {"recompute": 2}])
def test_gradients_and_saved_tensors_are_read_as_they_are(options: dict[str, Any]):
    layer, x = gw.GRU(3, 4), torch.randn(5, 2, 3, requires_grad=True)

    def misreporting(tensor: Tensor) -> Tensor:
        return tensor.as_subclass(Misreporting)

    (expected,) = torch.autograd.grad(layer(x, **options)[0].sum(), x)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, misreporting):
        output = layer(x, **options)[0]
    output.register_hook(misreporting)
    (gradient,) = torch.autograd.grad(output.sum(), x)
    assert torch.equal(gradient.as_subclass(Tensor), expected)


@pytest.fixture
def arguments_of_loops(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The arguments with which a compiled layer calls the operator of its kernels."""
    run = gw.GRU(3, 4).runs(torch.randn(5, 2, 3), starts=torch.rand(5, 2) < 0.5)[0]
    known = run.known_terms()
    early = [term for term in run.graph.forward if run.graph.stages[term] < INPUTS]
    TermGroup(early, known, run.sizes).compute(known, run.states["h"])
    recorded: list[Any] = []

    def record(*arguments: Any) -> list[Tensor]:
        recorded.extend(arguments)
        return operator(*arguments)

    operator = operators.loops
    monkeypatch.setattr(operators, "loops", record)
    operators.call(run, known)
    return recorded


@pytest.mark.parametrize(
    "position, change",
    [
        (0, lambda known: [known[0].half(), *known[1:]]),
        (1, lambda states: [states[0].double()]),
        (1, lambda states: [states[0].half()]),
        (2, lambda fresh: []),
        (3, lambda restart: restart[:1]),
        (3, lambda restart: None),
    ],
    ids=["event in half", "state in double", "state in half", "no fresh", "one mark", "no marks"],
)
def test_the_operator_of_the_kernels_refuses_what_does_not_fit(
    position: int, change: Callable[[Any], Any], arguments_of_loops: list[Any]
):
    arguments = list(arguments_of_loops)
    arguments[position] = change(arguments[position])
    with pytest.raises(gw.GatewrightError):
        torch.ops.gatewright.loops(*arguments)
