"""Calls of one form are prepared once; all of them return the same as the reference."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize

import gatewright as gw
from gatewright.layers import fast_path as module
from gatewright.layers.fast_path import fast_path
from odd_cells import CELLS, make, run, sequences
from tolerances import close, gradients, tensors

DROP_INS = {"RNN": gw.RNN, "LSTM": gw.LSTM, "GRU": gw.GRU, "PeepholeLSTM": gw.PeepholeLSTM}
FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no bias": {"bias": False},
    "batch first": {"batch_first": True},
    "both ways": {"bidirectional": True},
    "two layers": {"num_layers": 2, "bidirectional": True, "batch_first": True},
}


def twins(layer: gw.Recurrent) -> tuple[gw.Recurrent, gw.Recurrent]:
    """A layer, and a copy on the reference backend."""
    other = copy.deepcopy(layer)
    other.backend = "reference"
    return layer, other


def ready(layer: gw.Recurrent) -> list[bool]:
    """For each form of call that a layer has had, whether it is prepared."""
    return [one is not None for one in fast_path(layer).prepared.values()]


def compare(layer: gw.Recurrent, other: gw.Recurrent, x: Tensor, hx: Any, seed: int) -> None:
    """Compare a call and its gradients with those of another layer."""
    results = []
    for net in (layer, other):
        event = x.clone().requires_grad_()
        states = (
            [o.detach().clone().requires_grad_() for o in tensors(hx)] if hx is not None else []
        )
        passed = None if hx is None else states[0] if isinstance(hx, Tensor) else tuple(states)
        result = net(event, passed)
        leaves = [event, *states, *[p for p in net.parameters() if p.requires_grad]]
        results.append((tensors(result), gradients(result, leaves, seed)))
    close(*results)


def calls(layer: gw.Recurrent, other: gw.Recurrent, times: int = 3) -> None:
    """Several calls of one form, each with new numbers, with states and without."""
    for with_states in (True, False):
        for seed in range(times):
            torch.manual_seed(seed)
            x = torch.randn_like(sequences(layer, 5, 3)["x"])
            x = x.transpose(0, 1) if layer.batch_first else x
            hx = layer(x)[1]
            hx = tuple(map(torch.randn_like, hx)) if isinstance(hx, tuple) else torch.randn_like(hx)
            hx = hx if with_states else None
            compare(layer, other, x, hx, seed)
            with torch.no_grad():
                close(tensors(layer(x, hx)), tensors(other(x, hx)))


@pytest.mark.parametrize("options", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("hidden", [5, 16])
@pytest.mark.parametrize("name", DROP_INS)
def test_drop_ins_repeat(name: str, hidden: int, options: dict[str, Any]):
    layer = DROP_INS[name](3, hidden, dtype=torch.float64, **options)
    calls(*twins(layer))
    assert len(ready(layer)) >= 4 and all(ready(layer))


@pytest.mark.parametrize("name", CELLS)
def test_cells_repeat(name: str):
    layer = make(name)
    more = set(sequences(layer, 1, 1)) != {"x"}
    if more or layer.graph.noises:
        for _ in range(2):
            run(layer, sequences(layer, 5, 3))
        assert not any(ready(layer))
        return
    calls(*twins(layer), times=2)
    learned = any(not isinstance(one, int | float) for one in layer.graph.initial.values())
    assert any(ready(layer)) and (learned or all(ready(layer)))


def test_one_sequence_repeats():
    for layer in (gw.LSTM(3, 5, dtype=torch.float64), gw.GRU(3, 5, 2, dtype=torch.float64)):
        for _ in range(3):
            x = torch.randn(4, 3, dtype=torch.float64)
            compare(*twins(layer), x, layer(x)[1], 0)
        assert any(ready(layer))


class Halved(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight / 2


def replace(layer: gw.Recurrent) -> None:
    """Replace the parameters by new ones."""
    state = {name: torch.randn_like(one) for name, one in layer.state_dict().items()}
    layer.load_state_dict(state, assign=True)


@torch.no_grad()
def change(layer: gw.Recurrent) -> None:
    for parameter in layer.parameters():
        parameter.data.mul_(0.5)


CHANGES = {
    "in place": change,
    "replaced": replace,
    "another backend": lambda layer: setattr(layer, "backend", "reference"),
    "evaluation": lambda layer: layer.eval(),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("kind", [gw.LSTM, gw.PeepholeLSTM])
def test_what_changes_between_calls_counts(kind: type[gw.Recurrent], what: str):
    layer = kind(3, 16, dtype=torch.float64)
    calls(*twins(layer), times=2)
    CHANGES[what](layer)
    calls(*twins(layer), times=2)


@pytest.mark.parametrize("kind", [gw.LSTM, gw.PeepholeLSTM])
def test_gates_are_held_and_let_go_between_calls(kind: type[gw.Recurrent]):
    layer = kind(3, 16, dtype=torch.float64)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    for frozen in (False, True, False):
        layer.freeze("f", frozen)
        for _ in range(2):
            before = layer.weights("f")["x"][0].clone()
            layer.zero_grad()
            layer(x)[0].sum().backward()
            with torch.no_grad():
                for parameter in layer.parameters():
                    if parameter.grad is not None:
                        parameter.sub_(parameter.grad, alpha=0.1)
            assert torch.equal(before, layer.weights("f")["x"][0]) == frozen
            compare(*twins(layer), x, None, 0)


def test_a_parametrization_that_comes_and_goes():
    layer = gw.LSTM(3, 16, dtype=torch.float64)
    calls(*twins(layer), times=1)
    parametrize.register_parametrization(layer, "weight_hh_l0", Halved())
    calls(*twins(layer), times=2)
    parametrize.remove_parametrizations(layer, "weight_hh_l0")
    calls(*twins(layer), times=2)


def test_weights_that_a_call_brings():
    layer = gw.LSTM(3, 16, dtype=torch.float64)
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    for seed in range(3):
        torch.manual_seed(seed)
        own = {name: torch.randn_like(one) for name, one in layer.named_parameters()}
        own = {name: one.requires_grad_() for name, one in own.items()}
        output, _ = functional_call(layer, own, (x,))
        other = gw.LSTM(3, 16, dtype=torch.float64, backend="reference")
        other.load_state_dict(own)
        theirs = gradients(other(x)[0], list(other.parameters()))
        close(gradients(output, list(own.values())), theirs)


def test_gradients_of_some():
    layer, other = twins(gw.LSTM(3, 16, dtype=torch.float64))
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    for asked in ((True, False), (False, True), (True, True)):
        for net in (layer, other):
            net.weight_ih_l0.requires_grad_(asked[0])
            net.bias_hh_l0.requires_grad_(asked[1])
        for seed in range(2):
            compare(layer, other, x, None, seed)
            results = [
                gradients(net(x)[1], [p for p in net.parameters() if p.requires_grad], seed)
                for net in (layer, other)
            ]
            close(*results)


def test_derivatives_again_and_of_second_order():
    layer, other = twins(gw.LSTM(3, 16, dtype=torch.float64))
    x = torch.randn(3, 2, 3, dtype=torch.float64, requires_grad=True)
    results = []
    for net in (layer, other):
        net(x)
        output = net(x)[0]
        leaves = [x, *net.parameters()]
        first = torch.autograd.grad(output.square().sum(), leaves, create_graph=True)
        again = torch.autograd.grad(output.square().sum(), leaves, retain_graph=True)
        close(again, first)
        penalty = torch.stack([part.square().sum() for part in first]).sum()
        results.append([*first, *torch.autograd.grad(penalty, leaves)])
    close(*results)


def test_a_weight_changed_before_the_backward_pass_is_noticed():
    layer, x = gw.LSTM(3, 16), torch.randn(4, 2, 3)
    for _ in range(2):
        output = layer(x)[0]
        with torch.no_grad():
            layer.weight_hh_l0.mul_(2)
        with pytest.raises(RuntimeError, match="modified"):
            output.sum().backward()


def test_what_is_saved_may_come_back_in_another_order():
    layer, other = twins(gw.PeepholeLSTM(3, 16, dtype=torch.float64))
    with torch.no_grad():  # a matrix stored by columns
        for net in (layer, other):
            weight = net.layers["0_forward"].f.x.weight
            weight.data = weight.data.t().contiguous().t()
    x = torch.randn(4, 2, 3, dtype=torch.float64)
    compare(layer, other, x, None, 0)
    assert any(ready(layer))
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: tensor, lambda tensor: tensor.contiguous()
    ):
        compare(layer, other, x, None, 1)


def test_what_torch_is_at_counts():
    layer, other = twins(gw.LSTM(3, 16))
    x = torch.randn(4, 2, 3)
    for _ in range(2):
        close(layer(x)[0], other(x)[0])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            # Both round the factors of products.
            close(layer(x)[0], other(x)[0], "autocast", {torch.float32: 0.02})
        close(
            torch.func.vmap(lambda row: layer(row)[0])(x),
            other(x.transpose(0, 1))[0].transpose(0, 1),
        )
        with pytest.raises(gw.errors.SizeError):
            layer(torch.randn(4, 2, 5))
        with pytest.raises(gw.errors.ArgumentError):
            layer(x.double())


def test_nothing_of_a_call_is_kept():
    layer = gw.LSTM(3, 16)
    for _ in range(2):
        x = torch.randn(4, 2, 3, requires_grad=True)
        output, states = layer(x)
        output.sum().backward()
        parts = [weakref.ref(one) for one in (x, output, *states, layer)]
        del x, output, states
    gone = parts[-1]
    assert all(one() is None for one in parts[:-1])
    del layer
    gc.collect()
    assert gone() is None


def test_forms_are_not_kept_without_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "MAX_KEYS", 3)
    layer = gw.LSTM(3, 4)
    with torch.no_grad():
        for steps in range(1, 9):
            layer(torch.zeros(steps, 1, 3))
            assert 1 <= len(fast_path(layer).prepared) <= 3
    assert len(fast_path(copy.deepcopy(layer)).prepared) == 0
