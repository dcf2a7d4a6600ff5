"""The kernels inside autograd: repeated and second derivatives, changed tensors, odd strides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import gatewright as gw
from odd_cells import make, random_states, run, sequences
from tolerances import close, gradients, random_loss, tensors

NAMES = ("lstm", "gru_before")
every_name = pytest.mark.parametrize("name", NAMES)


def pair(name: str, **options: Any) -> tuple[gw.Recurrent, gw.Recurrent]:
    """The same layer on the kernels and on the reference."""
    return make(name, backend="llvm", **options), make(name, backend="reference", **options)


def given_to(layer: gw.Recurrent) -> tuple[Tensor, Any]:
    """An input and states that ask for gradients."""
    x, hx = sequences(layer, 5, 3)["x"].requires_grad_(), random_states(layer, 3)
    for one in tensors(hx):
        one.requires_grad_()
    return x, hx


@every_name
def test_backward_may_be_repeated(name: str):
    layer, reference = pair(name)
    x, hx = given_to(layer)
    leaves = [x, *tensors(hx), *layer.parameters()]
    found = layer(x, hx)
    first = gradients(found, leaves, seed=1)
    other = gradients(found, leaves, seed=2)
    again = gradients(found, leaves, seed=1)
    close(again, first, table={torch.float64: 0.0})
    theirs = reference(x, hx)
    leaves = [x, *tensors(hx), *reference.parameters()]
    close(other, gradients(theirs, leaves, seed=2))
    loss = random_loss(found)
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


@every_name
def test_gradients_add_up_over_calls(name: str):
    layer, reference = pair(name)
    x, hx = given_to(layer)
    for one in (layer, reference):
        between = one(x, hx)
        random_loss((between[0], one(x, between[1]))).backward()
    for own, other in zip(layer.parameters(), reference.parameters(), strict=True):
        close(own.grad, other.grad)


@pytest.mark.parametrize("name", ["elman_rnn", "lstm", "gru"])
@pytest.mark.parametrize("hidden", [5, 16], ids=["a-copy", "the-buffer"])
def test_an_output_modified_in_place_is_never_silently_wrong(name: str, hidden: int):
    layer = gw.Recurrent(name, 3, hidden, backend="llvm")
    reference = gw.Recurrent(name, 3, hidden, backend="reference")
    reference.load_state_dict(layer.state_dict())
    x = torch.randn(4, 2, 3, requires_grad=True)
    found = []
    for one in (reference, layer):
        output, _ = one(x)
        changed = output.mul_(2.0) if one is layer else output * 2.0
        try:
            found.append(torch.autograd.grad(changed.sum(), [x, *one.parameters()]))
        except RuntimeError as error:  # the backward pass reads this output, and says so
            assert "modified by an inplace operation" in str(error) and one is layer
            return
    for own, other in zip(*reversed(found), strict=True):
        assert ((own - other).norm() / other.norm().clamp_min(1e-6)) < 1e-5


@every_name
def test_final_states_may_be_modified_in_place(name: str):
    layer, reference = pair(name)
    x, hx = given_to(layer)
    found = []
    for one in (layer, reference):
        _, after = one(x, hx)
        for state in tensors(after):
            state.mul_(2.0)
        found.append(gradients(after, [x, *tensors(hx)]))
    close(found[0], found[1])


@every_name
@pytest.mark.parametrize("which", ["weight", "state"])
def test_a_saved_tensor_modified_in_place_is_noticed(name: str, which: str):
    layer, _ = pair(name)
    x, hx = given_to(layer)
    output, _ = layer(x, hx)
    matrices = [one for one in layer.parameters() if one.dim() == 2 and one.shape[1] == 5]
    changed = matrices[0] if which == "weight" else tensors(hx)[0]
    with torch.no_grad():
        changed.add_(1.0)
    if which == "weight":
        with pytest.raises(RuntimeError, match="modified by an inplace"):
            output.sum().backward()
    else:  # a layer may have copied it; what it must not do is use the changed one
        try:
            (grad,) = torch.autograd.grad(output.sum(), x)
        except RuntimeError as error:
            assert "inplace" in str(error)
        else:
            with torch.no_grad():
                changed.sub_(1.0)
            close(grad, torch.autograd.grad(layer(x, hx)[0].sum(), x)[0])


@every_name
def test_double_backward(name: str):
    found = []
    for layer in pair(name):
        x, hx = given_to(layer)
        leaves = [x, *tensors(hx), *layer.parameters()]
        first = torch.autograd.grad(random_loss(layer(x, hx)), leaves, create_graph=True)
        found.append((first, gradients(first, leaves, seed=3)))
    close(found[0], found[1])


@every_name
@pytest.mark.parametrize("wanted", ["input", "states", "weights", "one weight", "one bias"])
def test_gradients_of_some_only(name: str, wanted: str):
    found = []
    for layer in pair(name):
        x, hx = given_to(layer)
        everything = {
            "input": [x],
            "states": tensors(hx),
            "weights": list(layer.parameters()),
            "one weight": [next(one for one in layer.parameters() if one.dim() == 2)],
            "one bias": [next(one for one in layer.parameters() if one.dim() == 1)],
        }
        for one in [*everything["input"], *everything["states"], *everything["weights"]]:
            one.requires_grad_(False)
        for one in everything[wanted]:
            one.requires_grad_()
        random_loss(layer(x, hx)).backward()
        found.append([one.grad for one in everything[wanted]])
        others = [one for group in everything.values() for one in group if not one.requires_grad]
        assert all(one.grad is None for one in others)
    close(found[0], found[1])


@every_name
@pytest.mark.parametrize("mode", ["no_grad", "inference_mode", "nothing asks"])
def test_inference_gives_what_training_gives(name: str, mode: str):
    layer, _ = pair(name)
    x, hx = given_to(layer)
    expected = layer(x, hx)
    if mode == "nothing asks":
        layer.requires_grad_(False)
        found = layer(x.detach(), tuple(one.detach() for one in hx) if name == "lstm" else hx[:])
    else:
        with getattr(torch, mode)():
            found = layer(x, hx)
            assert not found[0].requires_grad
    close(found, expected, table={torch.float64: 0.0})
    layer.requires_grad_()
    close(layer(x, hx), expected, table={torch.float64: 0.0})
    random_loss(layer(x, hx)).backward()  # what inference left behind is no hindrance


STRIDES: dict[str, Callable[[Tensor], Tensor]] = {
    "every other": lambda one: one.repeat_interleave(2, -1)[..., ::2],
    "turned": lambda one: one.transpose(0, -1).contiguous().transpose(0, -1),
    "a part": lambda one: torch.cat([one, one, one], -1)[..., one.shape[-1] : 2 * one.shape[-1]],
    "expanded": lambda one: one[:, :1].expand_as(one),
    "one number": lambda one: one.flatten()[:1].expand(one.shape),
}


@every_name
@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("hidden", [5, 16])
def test_strides_do_not_matter(name: str, stride: str, hidden: int):
    found = []
    for backend in ("llvm", "reference"):
        torch.manual_seed(0)
        layer = gw.Recurrent(make(name).cell, hidden, hidden, backend=backend, dtype=torch.float64)
        x, hx = given_to(layer)
        odd = STRIDES[stride]
        states = odd(hx) if isinstance(hx, Tensor) else tuple(map(odd, hx))
        result = layer(odd(x), states)
        torch.manual_seed(5)
        upstream = [odd(torch.randn_like(one)) for one in tensors(result)]
        leaves = [x, *tensors(hx), *layer.parameters()]
        found.append((tensors(result), torch.autograd.grad(tensors(result), leaves, upstream)))
    close(found[0], found[1])


@every_name
def test_weights_with_odd_strides(name: str):
    found = []
    for layer in pair(name):
        for one in layer.parameters():
            if one.dim() == 2:
                one.data = one.data.T.contiguous().T
        x, hx = given_to(layer)
        found.append(gradients(layer(x, hx), [x, *layer.parameters()]))
    close(found[0], found[1])


def test_an_empty_sequence_or_batch_runs_on_the_reference():
    layer = make("lstm")
    for steps, batch in ((0, 3), (4, 0)):
        given = {"x": torch.zeros(steps, batch, 3, dtype=torch.float64, requires_grad=True)}
        output, _ = run(layer, given)
        assert output.shape == (steps, batch, 5)


class FixedOutput(gw.Cell):
    """The output is a parameter, which no kernel computes."""

    def step(self, x, h):
        level = gw.parameter(size="hidden", name="level")
        return gw.state(h=gw.tanh(gw.linear(x, h)), output=level)


def test_second_derivatives_where_the_output_is_a_parameter():
    """The placeholder of a value that was not passed to the kernels has to fit any size."""
    results = []
    for backend in ("llvm", "reference"):
        torch.manual_seed(0)
        layer = gw.Recurrent(FixedOutput(), 3, 4, backend=backend).double()
        x = torch.ones(5, 2, 3, dtype=torch.float64, requires_grad=True)
        output, state = layer(x)
        (slope,) = torch.autograd.grad(state.square().sum() + output.sum(), x, create_graph=True)
        slope.square().sum().backward()
        results.append([x.grad, *(weight.grad for weight in layer.parameters())])
    for own, other in zip(*results, strict=True):
        assert (own is None) == (other is None)
        if own is not None:
            close(own, other)
