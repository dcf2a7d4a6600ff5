"""Equations as JSON: they are restored exactly, and damage is refused before anything is built."""

from __future__ import annotations

import copy
import json
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

import gatewright as gw
from by_hand import cell_of
from example_count import example_count
from gatewright.cells import CELLS, GRU, LSTM, PeepholeLSTM
from gatewright.errors import ModelError
from gatewright.language.cell import StoredCell
from gatewright.language.equations import VERSION, Equations
from random_cells import Program, build, programs


def odd_step(self: Any, x: Any, h: Any, m: Any, level: Any, *, mask: Any, dt: Any) -> Any:
    inf = gw.sigmoid(gw.linear(x, h, heads=1, name="inf"))
    gain = gw.parameter(start=1.5)
    once = gw.noise(0.25, per="sequence") * gw.layer_norm(h, heads=2, eps=1e-3)
    m = gw.maximum(m - dt, -float("inf"))
    chosen = gw.where((mask > 0) & ~(h != 0) | (level <= 1), once, gain * inf)
    squashed = gw.softmax(chosen, heads=3) + gw.diagonal(h, m) ** 2
    y = gw.linear(squashed, size=3, bias=False)
    return gw.state(h=squashed, m=m, level=gw.mean(h), output=y)


ODD = cell_of(
    odd_step,
    initial={"h": gw.parameter(start=0.5), "m": -float("inf")},
    sizes={"dt": 1, "level": 1},
)
TREE = [
    *(cell() for cell in CELLS.values()),
    ODD,
    PeepholeLSTM(peephole="full"),
    GRU(reset="before"),
]


def through_json(cell: gw.Cell) -> Any:
    return json.loads(json.dumps(cell.equations.to_json(), allow_nan=False))


@pytest.mark.parametrize("cell", TREE, ids=lambda cell: type(cell).__name__)
def test_equations_are_restored_exactly(cell: gw.Cell):
    restored = Equations.from_json(through_json(cell))
    assert restored.same_as(cell.equations)
    assert restored.to_json() == cell.equations.to_json()
    stored = StoredCell(restored)
    assert str(stored) == str(cell) and stored.latex() == cell.latex()
    assert list(stored.graph.weights.values()) == list(cell.graph.weights.values())
    assert repr(stored) == f"<{type(cell).__name__}, from a saved model>"
    assert copy.deepcopy(stored).equations.same_as(cell.equations)


@settings(
    max_examples=example_count(30),
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@hypothesis.given(programs())
def test_random_cells_are_restored_exactly(program: Program):
    cell = build(program)
    assert StoredCell(Equations.from_json(through_json(cell))).equations.same_as(cell.equations)


def test_a_product_may_be_called_inf():
    assert Equations.from_json(through_json(ODD)).names.keys() >= {"inf"}


def test_same_as_compares_only_the_equations():
    renamed = type("Renamed", (LSTM,), {"__doc__": "Another."})()
    assert renamed.equations.same_as(LSTM().equations)
    assert not LSTM(projection=2).equations.same_as(LSTM().equations)


@pytest.mark.parametrize("version", [None, 0, VERSION + 1, str(VERSION), [VERSION]])
def test_another_version_is_refused(version: Any):
    stored = through_json(LSTM()) | {"version": version}
    with pytest.raises(ModelError, match=f"this gatewright reads version {VERSION}: update"):
        Equations.from_json(stored)


@pytest.mark.parametrize("stored", [None, [], "lstm", 3, {}, {"nodes": []}])
def test_json_that_is_not_a_cell_is_refused(stored: Any):
    with pytest.raises(ModelError, match="the stored cell has version None"):
        Equations.from_json(stored)


def node_of(stored: Any, op: str) -> Any:
    return next(node for node in stored["nodes"] if node["op"] == op)


def put(*path: Any) -> Any:
    """Damage that sets a value. The path begins with an operation or a key, the value is last."""

    def damage(stored: Any) -> None:
        *places, key, value = path
        for place in places:
            known = isinstance(stored, dict) and place in stored
            stored = stored[place] if known or isinstance(place, int) else node_of(stored, place)
        stored[key] = value

    return damage


DAMAGE: dict[str, Any] = {
    "an unknown operation": put("nodes", 0, "op", "system"),
    "an operation that is a list": put("nodes", 0, "op", []),
    "a later operand": put("maximum", "operands", [0, 10_000]),
    "an operand before the first": put("maximum", "operands", [0, -1]),
    "an operand that is a number of text": put("maximum", "operands", ["0", "1"]),
    "an operand that is true": put("maximum", "operands", [True, False]),
    "too few operands": put("maximum", "operands", [0]),
    "no operands of a product": put("diagonal", "operands", []),
    "operands without keys": put("linear", "operands", [0]),
    "a comparison calculated with": put("maximum", "op", "logical_and"),
    "a number as a condition": put("where", "operands", [0, 0, 0]),
    "a heads of 0": put("layer_norm", "heads", 0),
    "a heads that is true": put("softmax", "heads", True),
    "a heads of text": put("linear", "heads", "2"),
    "a bias of 1": put("linear", "bias", 1),
    "a size of 0": put("linear", "size", 0),
    "a size of nothing": put("linear", "size", None),
    "an unknown size": put("linear", "size", "output"),
    "a name with a path": put("linear", "name", "../x"),
    "an empty name": put("linear", "name", ""),
    "keys that repeat": put("linear", "keys", ["x", "x"]),
    "keys of a diagonal without stars": put("diagonal", "keys", ["h", "m"]),
    "keys of a product with stars": put("linear", "keys", ["x*", "h*"]),
    "a constant of text": put("constant", "value", "many"),
    "a constant that is NaN": put("constant", "value", float("nan")),
    "a probability above 1": put("noise", "p", 1.5),
    "a noise per batch": put("noise", "per", "batch"),
    "an eps below 0": put("layer_norm", "eps", -1e-3),
    "an infinite parameter": put("parameter", "start", "inf"),
    "two different weights with one name": put("parameter", "name", "inf"),
    "an attribute more": put("constant", "code", "import os"),
    "no states": put("states", []),
    "states that are text": put("states", "hm"),
    "a state that is repeated": put("states", ["h", "h", "m"]),
    "a state more": put("updates", "c", 0),
    "an update that is a comparison": lambda stored: stored["updates"].update(
        h=next(i for i, node in enumerate(stored["nodes"]) if node["op"] == "greater")
    ),
    "an output that is not there": put("output", None),
    "a name that is not there": put("names", "h", 10_000),
    "another event": put("event", "h"),
    "an event that is a list": put("event", ["x"]),
    "a start of text": put("initial", "m", "much"),
    "a start of a list": put("initial", "m", [1.0]),
    "a start that is learned from text": put("initial", "h", {"learned": "x"}),
    "a start that is learned from infinity": put("initial", "h", {"learned": "inf"}),
    "a start of no state": put("initial", "c", 0.0),
    "a size of no state": put("sizes", "x", 3),
    "a size that is negative": put("sizes", "dt", -1),
    "nodes that are no list": put("nodes", 7),
    "a node that is a number": put("nodes", 0, 7),
    "updates that are a list": put("updates", []),
    "a name that is a number": put("name", 3),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused(name: str):
    stored = through_json(ODD)
    DAMAGE[name](stored)
    with pytest.raises(ModelError, match="the stored cell is damaged") as caught:
        StoredCell(Equations.from_json(stored))
    assert "Error: '" not in str(caught.value) or "save the model again" in str(caught.value)


@pytest.mark.parametrize("key", sorted(through_json(ODD).keys() - {"version"}))
def test_every_entry_is_needed(key: str):
    stored = through_json(ODD)
    del stored[key]
    with pytest.raises(ModelError, match="save the model again"):
        Equations.from_json(stored)


@pytest.mark.parametrize(
    "op", ["linear", "diagonal", "constant", "parameter", "noise", "layer_norm"]
)
def test_every_attribute_is_needed(op: str):
    for key in sorted(node_of(through_json(ODD), op).keys() - {"heads"} | {"op"}):
        stored = through_json(ODD)
        del node_of(stored, op)[key]
        with pytest.raises(ModelError, match="save the model again"):
            Equations.from_json(stored)


def test_sizes_that_no_longer_fit_are_damage():
    def step(self: Any, x: Any, h: Any) -> Any:
        a = gw.linear(x, size=3)
        b = gw.linear(h, size=3)
        return gw.state(h=gw.linear(c=a * b))

    stored = through_json(cell_of(step))
    node_of(stored, "linear")["size"] = 4
    with pytest.raises(ModelError, match=r"damaged: size \d meets size \d"):
        StoredCell(Equations.from_json(stored))


def places(stored: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path to every entry of nested JSON."""
    inside = stored.items() if isinstance(stored, dict) else enumerate(stored)
    paths = []
    for key, value in inside:
        paths.append((*path, key))
        if isinstance(value, dict | list):
            paths += places(value, (*path, key))
    return paths


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 60),
    st.floats(),
    st.sampled_from(
        ["", "h", "x", "x*", "inf", "hidden", "input", "linear", "greater", "a.b", "0"]
    ),
    st.lists(st.integers(-1, 40) | st.sampled_from(["x", "h"]), max_size=3),
    st.dictionaries(st.sampled_from(["h", "x", "learned"]), st.integers(0, 9), max_size=2),
)
STORED = {name: through_json(cell) for name, cell in (("odd", ODD), ("lstm", LSTM()))}
PLACES = {name: [p for p in places(cell) if p != ("version",)] for name, cell in STORED.items()}


@settings(
    max_examples=example_count(400),
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
@hypothesis.given(st.data())
def test_any_damage_is_refused_or_harmless(data: st.DataObject):
    """After any damage there is a ModelError or a cell that works, nothing else."""
    name = data.draw(st.sampled_from(sorted(STORED)))
    stored = copy.deepcopy(STORED[name])
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(PLACES[name]))
        inside: Any = stored
        try:
            for key in way:
                inside = inside[key]
            action = data.draw(st.sampled_from(["delete", "put", "double", "swap"]))
            if action == "delete":
                del inside[last]
            elif action == "put":
                inside[last] = data.draw(JUNK)
            elif action == "double" and isinstance(inside, list):
                inside.insert(last, copy.deepcopy(inside[last]))
            elif action == "swap":
                other = data.draw(
                    st.sampled_from(
                        list(inside) if isinstance(inside, dict) else list(range(len(inside)))
                    )
                )
                inside[last], inside[other] = inside[other], inside[last]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier damage removed this path
    try:
        cell = StoredCell(Equations.from_json(stored))
    except ModelError as error:
        assert str(error)
        return
    # A harmless damage leaves a cell that prints, can be stored and has an adjoint.
    assert str(cell) and cell.latex()
    assert Equations.from_json(cell.equations.to_json()).same_as(cell.equations)
    assert cell.graph.adjoint
