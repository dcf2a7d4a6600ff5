"""`noise`: drawn by torch's generator before the loop, in training; its expectation in eval."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

import gatewright as gw
from gatewright import linear, noise, state, tanh
from odd_cells import make
from tolerances import SAME, close

F64 = torch.float64


class Shown(gw.Cell):
    """Noise that a trace shows as it was drawn."""

    def step(self, x, h):
        each = noise(0.3)
        once = noise(0.7, per="sequence")
        h = each * h + once * tanh(linear(x, h))
        return state(h=h)


def layer_of(**options) -> gw.Recurrent:
    torch.manual_seed(0)
    return gw.Recurrent(Shown(), 3, 50, dtype=F64, **options)


def test_draws_per_step_and_per_sequence():
    layer, x = layer_of(), torch.randn(40, 20, 3, dtype=F64)
    values = layer.trace(x)
    for name, chance in (("each", 0.3), ("once", 0.7)):
        assert set(values[name].unique().tolist()) == {0.0, 1.0}
        spread = (chance * (1 - chance) / (20 * 50)) ** 0.5
        assert abs(float(values[name].mean()) - chance) < 5 * spread
    assert torch.equal(values["once"], values["once"][:1].expand(40, 20, 50))
    assert (values["each"][0] != values["each"][1]).any()
    assert (values["once"][0, 0] != values["once"][0, 1]).any()  # each row its own


def test_one_seed_draws_the_same_and_another_does_not():
    layer, x = layer_of(num_layers=2, bidirectional=True), torch.randn(5, 2, 3, dtype=F64)
    outputs = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        outputs.append(layer(x)[0])
    assert torch.equal(outputs[0], outputs[1]) and not torch.equal(outputs[0], outputs[2])
    values = layer.trace(x)
    assert (values["l0.forward.each"] != values["l0.reverse.each"]).any()
    assert (values["l0.forward.once"] != values["l1.forward.once"]).any()


def test_in_eval_mode_it_is_its_expectation():
    layer, x = layer_of().eval(), torch.randn(5, 2, 3, dtype=F64)
    state_before = torch.get_rng_state()
    values = layer.trace(x)
    assert (values["each"] == 0.3).all() and (values["once"] == 0.7).all()
    assert torch.equal(torch.get_rng_state(), state_before)  # and nothing is drawn


def test_padded_and_packed_draw_alike():
    layer, x, lengths = layer_of(bidirectional=True), torch.randn(5, 3, 3, dtype=F64), [2, 5, 4]
    torch.manual_seed(3)
    padded, _ = layer(x, lengths=lengths)
    torch.manual_seed(3)
    packed, _ = layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
    own = pack_padded_sequence(padded, lengths, enforce_sorted=False)
    close(packed.data, own.data, table=SAME)


def test_per_sequence_with_lengths_is_one_draw_a_row():
    layer, x = layer_of(), torch.randn(5, 3, 3, dtype=F64)
    once = layer.trace(x, lengths=[2, 5, 0])["once"]
    assert torch.equal(once[:2, 0], once[:1, 0].expand(2, 50))
    assert torch.equal(once[:, 1], once[:1, 1].expand(5, 50))
    assert not once[2:, 0].any() and not once[:, 2].any()


def test_a_gradient_passes_through_the_draws():
    layer, x = layer_of(), torch.randn(5, 2, 3, dtype=F64, requires_grad=True)
    torch.manual_seed(7)
    values = layer.trace(x, grad=True)
    (grad,) = torch.autograd.grad(values["h"].sum(), x)
    torch.manual_seed(7)
    held = {name: values[name].detach() for name in ("each", "once")}
    (again,) = torch.autograd.grad(layer.trace(x, hold=held, grad=True)["h"].sum(), x)
    close(grad, again)


@pytest.mark.parametrize("name", ["each", "once"])
def test_draws_may_be_held_and_learned(name: str):
    gradients = []
    for backend in ("llvm", "reference"):
        layer = layer_of(backend=backend).eval()
        mask = torch.rand(5, 2, 50, dtype=F64, requires_grad=True)
        values = layer.trace(torch.randn(5, 2, 3, dtype=F64), hold={name: mask}, grad=True)
        gradients.append(torch.autograd.grad(values["h"].sum(), mask)[0])
    assert gradients[1].any()
    close(gradients[0], gradients[1])


class Masked(gw.Cell):
    """Dropout on the event, one mask a sequence: its size is the input's."""

    def step(self, x, h):
        mask = noise(0.5, per="sequence", size="input")
        seen = mask * x
        h = tanh(linear(seen, h))
        return state(h=h)


def test_noise_of_the_inputs_size_in_several_layers():
    layer = gw.Recurrent(Masked(), 3, 5, 2, bidirectional=True, dtype=F64)
    values = layer.trace(torch.randn(4, 2, 3, dtype=F64))
    assert values["l0.forward.mask"].shape == (4, 2, 3)
    assert values["l1.reverse.mask"].shape == (4, 2, 10)


@pytest.mark.parametrize("training", [True, False])
def test_zoneout_trains_and_evaluates(training: bool):
    layer = make("zoneout").train(training)
    x = torch.randn(5, 2, 3, dtype=F64)
    assert torch.equal(layer(x)[0], layer(x)[0]) == (not training)
