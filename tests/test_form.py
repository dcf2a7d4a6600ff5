"""`Form`: the sizes, places and names of a layer follow from its cell and its sizes."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

import gatewright as gw
from gatewright.layers.built_in import BUILT_IN


class Narrowing(gw.Cell):
    """The state has the size of the input, the output a size of its own."""

    def step(self, x, h):
        h = gw.tanh(gw.linear(x, h, size="input"))
        return gw.state(h=h, output=gw.linear(h, size=2))


def test_a_layer_reads_what_all_directions_below_return():
    form = gw.LSTM(3, 4, 3, bidirectional=True, proj_size=1).form
    assert [form.sizes(k) for k in range(3)] == [
        {"input": 3, "hidden": 4},
        {"input": 2, "hidden": 4},
        {"input": 2, "hidden": 4},
    ]
    assert form.output_size == 2
    assert form.state_sizes("h") == [1, 1, 1] and form.state_sizes("c") == [4, 4, 4]
    assert not form.differs_by_layer("h")


@pytest.mark.filterwarnings("ignore:hidden_size")
def test_a_state_may_differ_by_layer():
    form = gw.Recurrent(Narrowing(), 5, 4, 2).form
    assert form.state_sizes("h") == [5, 2] and form.differs_by_layer("h")
    assert not gw.Recurrent(Narrowing(), 5, 4).form.differs_by_layer("h")


def test_places_and_trace_names():
    form = gw.GRU(3, 4, 2, bidirectional=True).form
    assert form.places == [(0, False), (0, True), (1, False), (1, True)]
    assert form.trace_name("z", 1, True) == "l1.reverse.z"
    assert gw.GRU(3, 4).form.places == [(0, False)]
    assert gw.GRU(3, 4).form.trace_name("z", 0, False) == "z"


def test_a_form_is_frozen_and_follows_the_layer():
    layer = gw.GRU(3, 4)
    with pytest.raises(FrozenInstanceError):
        layer.form.input_size = 5
    layer.batch_first = True
    assert layer.form.batch_first


@pytest.mark.parametrize("name", BUILT_IN)
def test_options_are_read_from_the_constructors(name: str):
    layer, cell = getattr(gw, name), getattr(gw, f"{name}Cell")
    options = {
        "RNN": {"nonlinearity": "tanh"},
        "LSTM": {"proj_size": 0},
        "GRU": {"reset": "after"},
        "PeepholeLSTM": {
            "peephole": "diagonal",
            "gates": ("i", "f", "o"),
            "output_reads": "new",
        },
    }[name]
    assert layer.options == options
    assert cell.options == ({} if name == "LSTM" else options)
