"""`trace` returns every named value at every step, from the run itself; `hold` fixes values."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import gatewright as gw
from odd_cells import CELLS, make, random_states, run, sequences
from tolerances import SAME, close, gradients, tensors

F64 = torch.float64
every_cell = pytest.mark.parametrize("name", CELLS)


def trace(layer: gw.Recurrent, inputs: dict[str, Tensor], hx=None, **how) -> dict:
    event, *further = inputs
    return layer.trace(inputs[event], hx, **{key: inputs[key] for key in further}, **how)


@every_cell
def test_a_trace_is_of_the_run(name: str):
    """Its last states are the returned ones, and the first state is the output by default."""
    layer = make(name)
    inputs, hx = sequences(layer, 6, 2), random_states(layer, 2)
    output, after = run(layer, inputs, hx)
    values = trace(layer, inputs, hx)
    assert list(values) == list(layer.graph.values)
    for state, last in zip(layer.graph.states, tensors(after), strict=True):
        close(values[state][-1:], last, state, SAME)
    close(values.get("y", values[next(iter(layer.graph.states))]), output, table=SAME)
    close(values[layer.graph.equations.event], inputs["x"], table={F64: 0.0})


@every_cell
def test_each_index_is_the_step_of_that_index(name: str):
    """The trace at t equals one step by hand from the state of t - 1."""
    layer = make(name)
    inputs = sequences(layer, 4, 2)
    values = trace(layer, inputs)
    weights = {product: layer.weights(product) for product in layer.products}
    states: tuple = ()
    for t in range(4):
        event, *further = (one[t] for one in inputs.values())
        keyed = dict(zip(list(inputs)[1:], further, strict=True))
        after, named = layer.cell(event, *states, weights=weights, values=True, **keyed)
        states = after if isinstance(after, tuple) else (after,)
        for key in values:
            close(values[key][t], named[key].expand_as(values[key][t]), f"{key} at {t}")


@pytest.mark.parametrize("options", [{"num_layers": 2}, {"bidirectional": True}])
def test_names_say_layer_and_direction_where_there_are_several(options: dict):
    layer = make("lstm", **options)
    values = layer.trace(torch.randn(3, 2, 3, dtype=F64))
    plain = list(make("lstm").trace(torch.randn(3, 2, 3, dtype=F64)))
    places = ["l0.forward", "l1.forward" if "num_layers" in options else "l0.reverse"]
    assert list(values) == [f"{place}.{name}" for place in places for name in plain]


def test_several_layers_and_directions_with_lengths():
    layer = make("lstm", num_layers=2, bidirectional=True)
    x, lengths = torch.randn(6, 3, 3, dtype=F64), [6, 0, 4]
    output, (h, c) = layer(x, lengths=lengths)
    values = layer.trace(x, lengths=lengths)
    close(torch.cat([values["l1.forward.h"], values["l1.reverse.h"]], -1), output, table=SAME)
    for row, length in enumerate(lengths):
        for place, name in enumerate(["l0.forward", "l0.reverse", "l1.forward", "l1.reverse"]):
            own = values[f"{name}.remember"][:, row]
            assert not own[length:].any() and (length == 0 or own[:length].all())
            if length:
                last = 0 if "reverse" in name else length - 1
                close(own[last], c[place, row], table=SAME)
                close(values[f"{name}.h"][last, row], h[place, row], table=SAME)


def test_every_form_of_the_input():
    layer = make("gru")
    x, lengths = torch.randn(5, 3, 3, dtype=F64), [5, 2, 3]
    expected = layer.trace(x, lengths=lengths)["z"]
    packed = layer.trace(pack_padded_sequence(x, lengths, enforce_sorted=False))["z"]
    assert isinstance(packed, PackedSequence)
    own = pack_padded_sequence(expected, lengths, enforce_sorted=False)
    close(packed.data, own.data, table=SAME)
    turned = make("gru", batch_first=True)
    values = turned.trace(x.transpose(0, 1), lengths=lengths)["z"]
    close(values.transpose(0, 1), expected, table=SAME)
    close(layer.trace(x[:, 0])["z"], layer.trace(x[:, :1])["z"][:, 0], table=SAME)
    starts = torch.zeros(5, 3).bool()
    starts[2] = True
    close(layer.trace(x, starts=starts)["z"][2:], layer.trace(x[2:])["z"], table=SAME)


def test_a_trace_asks_for_no_gradient_unless_told():
    layer, x = make("lstm"), torch.randn(3, 2, 3, dtype=F64, requires_grad=True)
    assert not any(one.requires_grad for one in layer.trace(x).values())
    values = layer.trace(x, grad=True)
    assert all(one.requires_grad for one in values.values())
    with torch.no_grad():
        assert not any(one.requires_grad for one in layer.trace(x, grad=True).values())
    assert layer(x)[0].requires_grad  # the mode of autograd is as before


@every_cell
def test_every_traced_value_can_seed_the_backward_pass(name: str):
    """The gradients equal those through a loop of steps by hand."""
    layer = make(name)
    inputs = {k: one.requires_grad_() for k, one in sequences(layer, 3, 2).items()}
    leaves = [*inputs.values(), *layer.parameters()]
    values = trace(layer, inputs, grad=True)
    weights = layer.pairs(0, False)
    by_hand: dict[str, list[Tensor]] = {key: [] for key in values}
    states: tuple = ()
    for t in range(3):
        event, *further = (one[t] for one in inputs.values())
        keyed = dict(zip(list(inputs)[1:], further, strict=True))
        after, named = layer.cell(event, *states, weights=weights, values=True, **keyed)
        states = after if isinstance(after, tuple) else (after,)
        for key, steps in by_hand.items():
            steps.append(named[key])
    for key, value in values.items():
        if value.requires_grad:
            expected = gradients(torch.stack(by_hand[key]).expand_as(value), leaves)
            close(gradients(value, leaves), expected, key)


HOLDS = {
    "number": 0.25,
    "unit": torch.linspace(0, 1, 5, dtype=F64),
    "step": torch.linspace(0, 1, 4, dtype=F64).view(4, 1, 1),
    "all": torch.rand(4, 3, 5, dtype=F64),
    "list": [0.1, 0.2, 0.3, 0.4, 0.5],
    "float32": torch.full((5,), 0.5),
}


@pytest.mark.parametrize("how", HOLDS)
def test_hold_fixes_a_value(how: str):
    layer, x = make("lstm"), torch.randn(4, 3, 3, dtype=F64)
    held = torch.as_tensor(HOLDS[how], dtype=F64).expand(4, 3, 5)
    values, free = layer.trace(x, hold={"f": HOLDS[how]}), layer.trace(x)
    close(values["f"], held, table={F64: 0.0})
    before = torch.cat([torch.zeros(1, 3, 5, dtype=F64), values["c"][:-1]])
    close(values["forget"], held * before)
    close(values["i"][0], free["i"][0])  # values that do not depend on it stay
    assert (values["h"] - free["h"]).abs().max() > 1e-3


@every_cell
def test_to_hold_a_value_at_what_it_is_changes_nothing(name: str):
    layer = make(name)
    inputs = sequences(layer, 4, 2)
    free = trace(layer, inputs)
    for key, value in free.items():
        if layer.graph.values[key].op != "weight":
            close(trace(layer, inputs, hold={key: value}), free, f"hold {key}")


@pytest.mark.parametrize("name", ["learned", "zoneout"])
def test_what_is_known_before_the_loop_can_be_held_too(name: str):
    layer = make(name).train()
    inputs = sequences(layer, 4, 2)
    held = {"learned": "half", "zoneout": "keep"}[name]
    values = trace(layer, inputs, hold={held: 0.25})
    assert (values[held] == 0.25).all()


def test_hold_takes_the_inputs_form():
    lengths = [4, 1, 3]
    layer, x = make("lstm"), torch.randn(4, 3, 3, dtype=F64)
    held = torch.rand(4, 3, 5, dtype=F64)
    expected = layer.trace(x, lengths=lengths, hold={"f": held})["h"]
    packed, own = (pack_padded_sequence(one, lengths, enforce_sorted=False) for one in (x, held))
    right = pack_padded_sequence(expected, lengths, enforce_sorted=False).data
    for hold in (own, own.data):
        close(layer.trace(packed, hold={"f": hold})["h"].data, right, table=SAME)
    turned = make("lstm", batch_first=True)
    values = turned.trace(x.transpose(0, 1), lengths=lengths, hold={"f": held.transpose(0, 1)})["h"]
    close(values.transpose(0, 1), expected, table=SAME)
    close(
        layer.trace(x[:, 0], hold={"f": held[:, 0]})["h"],
        layer.trace(x[:, :1], hold={"f": held[:, :1]})["h"][:, 0],
        table=SAME,
    )


def test_hold_in_one_of_several_layers_and_directions():
    layer, x = make("lstm", num_layers=2, bidirectional=True), torch.randn(4, 2, 3, dtype=F64)
    free, held = layer.trace(x), layer.trace(x, hold={"l1.reverse.f": 0.0, "l1.forward.o": 1.0})
    assert not held["l1.reverse.f"].any() and (held["l1.forward.o"] == 1).all()
    for name in free:
        if name.startswith("l0."):
            close(held[name], free[name], table={F64: 0.0})
    assert (held["l1.reverse.c"] - held["l1.reverse.learn"]).abs().max() == 0


def test_a_gradient_reaches_what_is_held():
    layer, x = make("lstm"), torch.randn(4, 2, 3, dtype=F64)
    held = torch.rand(5, dtype=F64, requires_grad=True)
    values = layer.trace(x, hold={"f": held}, grad=True)
    (grad,) = torch.autograd.grad(values["h"].sum(), held)
    nudge = torch.zeros(5, dtype=F64)
    nudge[2] = 1e-6
    up, down = (
        layer.trace(x, hold={"f": (held + sign * nudge).detach()})["h"].sum() for sign in (1, -1)
    )
    assert abs((up - down) / 2e-6 - grad[2]) < 1e-7


WRONG = {
    "unknown": ({"q": 0.0}, gw.ArgumentError, "hold names 'q'; the trace has"),
    "shape": ({"f": torch.zeros(4)}, gw.SizeError, "hold['f'] has shape (4,)"),
    "kind": ({"f": "closed"}, gw.ArgumentError, "hold['f'] is a str"),
    "none": ({"f": None}, gw.ArgumentError, "hold['f'] is a NoneType"),
    "packed": (
        {"f": pack_padded_sequence(torch.zeros(3, 2, 5), [3, 1])},
        gw.ArgumentError,
        "packed in another way",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_holds_are_refused(case: str):
    hold, kind, words = WRONG[case]
    with pytest.raises(kind) as caught:
        make("lstm").trace(torch.zeros(3, 2, 3, dtype=F64), hold=hold)
    assert words in str(caught.value)


def test_with_several_layers_a_plain_name_is_refused():
    with pytest.raises(gw.ArgumentError, match=r"'l0\.forward\.f'"):
        make("lstm", num_layers=2).trace(torch.zeros(3, 2, 3, dtype=F64), hold={"f": 0.0})
