"""The values that are derived to lie within -1 and 1 do, whatever the weights and the events."""

from __future__ import annotations

import copy
from typing import ClassVar

import hypothesis
import pytest
import torch
from hypothesis import HealthCheck, Phase, settings

import gatewright as gw
from example_count import example_count
from gatewright.cells import CELLS
from gatewright.graph.ranges import within_one
from odd_cells import CELLS as ODD
from odd_cells import make, sequences
from random_cells import Program, build, programs

#: The number of random cells.
EXAMPLES = example_count(20)

#: The states of the cells that ship which are bounded.
BOUNDED = {
    "elman_rnn": {"h"},
    "scrn": {"h"},
    "lstm": {"h"},
    "lesson_lstm": {"h"},
    "peephole_lstm": {"h"},
    "lstm_nig": {"h"},
    "lstm_nfg": {"h"},
    "lstm_nog": {"h"},
    "lstm_niaf": {"h"},
    "lstm_np": {"h"},
    "lstm_cifg": {"h", "c"},
    "lstm_fgr": {"h", "i", "f", "o"},
    "layer_norm_lstm": {"h"},
    "zoneout_lstm": {"h"},
    "recurrent_dropout_lstm": {"h"},
    "multiplicative_lstm": {"h"},
    "gru": {"h"},
    "mut1": {"h"},
    "mut2": {"h"},
    "mut3": {"h"},
    "mgu": {"h"},
    "lem": {"y", "z"},
    "recurrent_highway": {"s"},
    "cfc": {"h"},
    "gru_d": {"h"},
}


def bounded_states(cell: gw.Cell) -> set[str]:
    bounded = within_one(cell.graph)
    return {name for name, state in cell.graph.states.items() if state in bounded}


def test_the_bounded_states_of_every_cell():
    assert {n: bounded_states(CELLS[n]()) for n in CELLS if bounded_states(CELLS[n]())} == BOUNDED


@pytest.mark.parametrize("name", ODD)
def test_bounded_values_stay_within_one(name: str):
    """On events and with weights that saturate every gate."""
    layer = make(name, num_layers=1)
    layer.backend = "reference"
    check_bounds(layer)


def check_bounds(layer: gw.Recurrent) -> None:
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(3.0 * torch.randn_like(weight))
        inputs = {n: 10.0 * values for n, values in sequences(layer, 20, 4).items()}
        event, *further = inputs
        trace = layer.trace(inputs[event], **{n: inputs[n] for n in further})
    bounded = within_one(layer.graph)
    for value, term in layer.graph.values.items():
        if term in bounded:
            # A value that overflowed on the way is NaN, which no bound excludes.
            assert trace[value].double().abs().nan_to_num(0.0).max() <= 1.0 + 1e-9, value


@hypothesis.seed(1)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@hypothesis.given(programs())
def test_bounded_values_of_random_cells_stay_within_one(program: Program):
    torch.manual_seed(0)
    try:
        layer = gw.Recurrent(build(program), 5, 6, backend="reference", dtype=torch.float64).eval()
    except gw.SizeError:
        hypothesis.reject()
    check_bounds(layer)


class Blends(gw.Cell):
    """Gates that look like a blend, of which only the first two are."""

    def step(self, x, a, b, c, d, e):
        z, y = gw.sigmoid(gw.linear(x, name="z")), gw.sigmoid(gw.linear(x, name="y"))
        n = gw.tanh(gw.linear(x, name="n"))
        a = n * (1.0 - z) + z * a
        b = b * z + (1.0 - z) * a
        c = z * c + (1.0 - y) * n
        d = (2.0 * z) * d + (1.0 - 2.0 * z) * n
        e = z * e + (2.0 - z) * n
        return gw.state(a=a, b=b, c=c, d=d, e=e)


class Starts(gw.Cell):
    """States that would stay within bounds if they began there."""

    initial: ClassVar = {"b": 1.5, "c": gw.parameter(start=0.5), "d": -1.0}

    def step(self, x, a, b, c, d):
        z = gw.sigmoid(gw.linear(x, a, b, c, d, size="hidden"))
        return gw.state(a=z * a, b=z * b, c=z * c, d=z * d)


def test_a_blend_has_shares_that_add_up_to_one():
    assert bounded_states(Blends()) == {"a", "b"}


def test_a_bounded_state_starts_within_bounds():
    assert bounded_states(Starts()) == {"a", "d"}


def test_a_state_that_reads_an_unbounded_one_is_unbounded():
    class Chain(gw.Cell):
        def step(self, x, a, b, c):
            return gw.state(a=gw.tanh(gw.linear(x, c)), b=a + b, c=0.5 * b)

    assert bounded_states(Chain()) == {"a"}


def test_the_input_of_the_analysis_is_not_changed():
    graph = CELLS["gru"]().graph
    before = copy.copy(graph.forward)
    within_one(graph)
    assert graph.forward == before


def test_a_sum_of_large_numbers_has_no_bounds():
    """In float32, 16777218 + tanh(x) - 16777218 is 2 where the tanh is 1."""

    class Cancels(gw.Cell):
        def step(self, x, a, b):
            n = gw.tanh(gw.linear(x, a, b))
            return gw.state(a=(16777218.0 + n) - 16777218.0, b=(100.0 + 0.5 * n) - 100.0)

    assert bounded_states(Cancels()) == {"b"}
