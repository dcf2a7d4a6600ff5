"""Layers as ONNX models: nodes where ONNX has them, scans elsewhere; equal in two runtimes."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import ModelProto, checker, load_model
from onnx.reference import ReferenceEvaluator

import gatewright as gw
from gatewright.backends.recognise import recognise
from gatewright.cells import CELLS
from gatewright.errors import ArgumentError, SizeError
from gatewright.exports.onnx import layer_model
from gatewright.exports.onnx_fold import names_read
from gatewright.graph.sizes import number
from gatewright.layers.call_inputs import further_size

try:
    import onnxruntime
except ImportError:
    onnxruntime = None

FORMS = {
    "plain": {},
    "both directions": {"bidirectional": True, "num_layers": 2, "batch_first": True},
    "streaming": {"num_layers": 2},
}
#: Cells that are a node of ONNX.
NODES = {"elman_rnn", "lstm", "lstm_np", "peephole_lstm", "gru"}


def layer_of(cell: Any, **options: Any) -> gw.Recurrent:
    torch.manual_seed(0)
    layer = gw.Recurrent(cell, 6, 6, backend="reference", **options).eval()
    for weight in layer.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return layer


def by_name(layer: Any, states: Any) -> dict[str, np.ndarray]:
    """The states as the exported model has them: one tensor each, or one a layer."""
    names = list(layer.graph.states)
    tensors = {}
    for name, state in zip(names, (states,) if len(names) == 1 else states, strict=True):
        several = enumerate(state) if isinstance(state, list | tuple) else [("", state)]
        tensors |= {f"{name}{index}": tensor.numpy() for index, tensor in several}
    return tensors


def evaluated(model: ModelProto, feeds: dict[str, np.ndarray]) -> list[Any]:
    """The outputs by onnx's own evaluator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # it computes branches that are not taken
        return ReferenceEvaluator(model).run(None, feeds)


def unread(graph: Any) -> set[str]:
    """The constants that no node of a graph reads, nor of the graphs inside it."""
    inner = [attribute.g for node in graph.node for attribute in node.attribute]
    own = {tensor.name for tensor in graph.initializer} - set(names_read(graph, graph.node))
    return own.union(*map(unread, inner))


def run(layer: Any, *, streaming: bool, lengths: bool) -> tuple[ModelProto, dict, list]:
    """A model, what it is fed with, and what it has to answer."""
    model = layer_model(layer, streaming=streaming, lengths=lengths)
    checker.check_model(model, full_check=True)
    assert not unread(model.graph)
    steps, rows = (1, 3) if streaming else (7, 3)
    shape = (rows, steps) if layer.batch_first else (steps, rows)
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(*shape, 6, generator=draw)
    further = {
        name: torch.rand(*shape, number(term.size, layer.sizes(0)), generator=draw)
        for name, term in layer.graph.inputs.items()
        if name in layer.graph.equations.inputs
    }
    options = {"lengths": torch.tensor([7, 2, 5])} if lengths else {}
    with torch.no_grad():
        _, start = layer(x, **further)  # a state that is not the cell's own start
        output, last = layer(x, start, **further, **options)
    events = {"x": x, **further}
    feeds = {name: (rows[0] if streaming else rows).numpy() for name, rows in events.items()}
    feeds |= {f"{name}_in": state for name, state in by_name(layer, start).items()}
    if lengths:
        feeds["lengths"] = np.array([7, 2, 5], np.int32)
    answers = [(output[0] if streaming else output).numpy(), *by_name(layer, last).values()]
    return model, feeds, answers


def close(outputs: list[Any], answers: list[Any]) -> None:
    assert len(outputs) == len(answers)
    for output, answer in zip(outputs, answers, strict=True):
        np.testing.assert_allclose(output, answer, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", CELLS)
def test_every_cell(name: str, form: str) -> None:
    try:
        layer = layer_of(name, **FORMS[form])
        for further in layer.graph.equations.inputs:
            further_size(layer.form, further)
    except SizeError:
        pytest.skip("its sizes do not allow two directions")
    is_node = name in NODES
    operators = {
        node.op_type for node in layer_model(layer, streaming=form == "streaming").graph.node
    }
    assert bool(operators & {"LSTM", "GRU", "RNN"}) == is_node
    assert ("Scan" in operators) == (not is_node and form != "streaming")
    for lengths in (False, True)[: 1 if form == "streaming" else 2]:
        model, feeds, answers = run(layer, streaming=form == "streaming", lengths=lengths)
        # onnx's evaluator reads no lengths in its LSTM, GRU and RNN.
        if not (lengths and is_node):
            close(evaluated(model, feeds), answers)
        if onnxruntime is not None:
            session = onnxruntime.InferenceSession(model.SerializeToString())
            close(session.run(None, feeds), answers)


class Renamed(gw.Cell):
    """An LSTM under other names, with its terms in another order."""

    def step(self, x: Any, out: Any, store: Any) -> Any:
        keep = gw.sigmoid(gw.linear(out, x))
        fresh = gw.tanh(gw.linear(x, out, bias=False))
        admit = gw.sigmoid(gw.linear(x, out))
        show = gw.sigmoid(gw.linear(x, out))
        store = admit * fresh + store * keep
        return gw.state(out=gw.tanh(store) * show, store=store)


def test_the_equations_decide_not_the_class() -> None:
    layer = layer_of(Renamed())
    known = recognise(layer.graph)
    assert known is not None and known.kind == "LSTM" and known.states == ("out", "store")
    model, feeds, answers = run(layer, streaming=False, lengths=False)
    assert "LSTM" in {node.op_type for node in model.graph.node}
    # The node's order of the states is not the model's: that is the cell's own.
    assert [value.name for value in model.graph.input][1:] == ["out_in", "store_in"]
    close(evaluated(model, feeds), answers)


class NearlyLSTM(gw.Cell):
    """An LSTM whose memory has a bias of its own, for which the node has no place."""

    def step(self, x: Any, h: Any, c: Any) -> Any:
        i, f, o = (gw.sigmoid(gw.linear(x, h, name=name)) for name in "ifo")
        c = f * c + i * gw.tanh(gw.linear(x, h, name="g")) + gw.parameter(name="drift")
        return gw.state(h=o * gw.tanh(c), c=c)


def test_what_is_nearly_a_node_is_none() -> None:
    layer = layer_of(NearlyLSTM())
    assert recognise(layer.graph) is None
    model, feeds, answers = run(layer, streaming=False, lengths=False)
    close(evaluated(model, feeds), answers)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_the_layers_of_torch(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = getattr(gw, kind)(6, 5, num_layers=2, bidirectional=True).eval()
    (path,) = gw.export(layer, tmp_path / "layer.onnx")
    model = load_model(path)
    x = torch.randn(7, 3, 6)
    with torch.no_grad():
        output, states = layer(x)
    zeros = {name: np.zeros_like(value) for name, value in by_name(layer, states).items()}
    feeds = {"x": x.numpy(), **{f"{name}_in": value for name, value in zeros.items()}}
    close(evaluated(model, feeds), [output.numpy(), *by_name(layer, states).values()])


def test_int8_takes_a_byte_for_each_number_of_a_matrix() -> None:
    model = layer_model(gw.Recurrent("mgu", 64, 96), int8=True)
    assert not unread(model.graph)
    numbers = 2 * 96 * (64 + 96)  # two gates
    assert numbers < model.ByteSize() < 2 * numbers  # with scales, biases and nodes


class Constant(gw.Cell):
    """A cell whose output is a weight that no other term reads."""

    def step(self, x: Any, h: Any) -> Any:
        level = gw.parameter(name="level")
        return gw.state(h=gw.tanh(gw.linear(x, h)), output=level)


def test_a_weight_may_be_the_output() -> None:
    model, feeds, answers = run(layer_of(Constant()), streaming=False, lengths=False)
    close(evaluated(model, feeds), answers)


def test_the_metadata_name_the_states_and_their_starts() -> None:
    model = layer_model(layer_of("slstm"))
    states = json.loads({entry.key: entry.value for entry in model.metadata_props}["states"])
    graph = gw.Recurrent("slstm", 6, 6).graph
    assert list(states) == list(graph.states)
    for name, entry in states.items():
        assert entry["input"] == f"{name}_in" and entry["output"] == f"{name}_out"
        assert entry["start"] == graph.initial[name]


def test_what_cannot_go_out_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "layer.onnx"
    with pytest.raises(ArgumentError, match="the layer is bidirectional"):
        gw.export(gw.GRU(3, 4, bidirectional=True), path, streaming=True)
    with pytest.raises(ArgumentError, match="a Linear cannot be exported to ONNX; pass example="):
        gw.export(torch.nn.Linear(2, 3), path)
    with pytest.raises(ArgumentError, match="has no lengths"):
        gw.export(gw.GRU(3, 4), path, streaming=True, lengths=True)
    assert not path.exists()
