"""The test cases of ONNX's operators RNN, LSTM and GRU, rebuilt with our layers.

ONNX has another order of gates than torch, its GRU resets the state before the product by
default, and its biases are one vector: those of the input, then those of the hidden state.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import gatewright as gw
from tolerances import close

pytest.importorskip("onnx", reason="the cases come with the package onnx (extra `test`)")

from onnx import helper
from onnx.backend.test.case import node as node_cases
from onnx.backend.test.case.node import gru, lstm, rnn

#: The positions of torch's gates in the tensors of ONNX.
ORDERS = {"RNN": (0,), "LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2)}
#: The position of each gate in the tensors of ONNX, and in its peepholes.
GATES = {"i": (0, 0), "o": (1, 1), "f": (2, 2), "g": (3, None)}


#: The modules whose import makes the cases; importing all modules would take seconds.
SOURCES = (gru, lstm, rnn)
CASES = {
    case.name: case
    for case in node_cases._NodeTestCases
    if case.model.graph.node[0].op_type in ORDERS
}


def reordered(stacked: Tensor, kind: str) -> Tensor:
    """The gates of a stacked tensor in torch's order."""
    parts = stacked.chunk(len(ORDERS[kind]))
    return torch.cat([parts[at] for at in ORDERS[kind]])


def attributes_of(node: Any) -> dict[str, Any]:
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def build_drop_in(kind: str, tensors: dict[str, Tensor], batch_first: bool) -> gw.Recurrent:
    """A drop-in with a node's weights."""
    directions, _, input_size = tensors["W"].shape
    hidden_size = tensors["R"].shape[-1]
    options: dict[str, Any] = {"bidirectional": directions == 2, "batch_first": batch_first}
    if kind == "GRU":
        options["reset"] = "before"
    layer = getattr(gw, kind)(input_size, hidden_size, **options)
    biases = tensors.get("B", torch.zeros(directions, 2 * tensors["W"].shape[1]))
    state = {}
    for row, suffix in enumerate(("_l0", "_l0_reverse")[:directions]):
        state[f"weight_ih{suffix}"] = reordered(tensors["W"][row], kind)
        state[f"weight_hh{suffix}"] = reordered(tensors["R"][row], kind)
        for name, half in zip(("bias_ih", "bias_hh"), biases[row].chunk(2), strict=True):
            state[f"{name}{suffix}"] = reordered(half, kind)
    layer.load_state_dict(state)
    return layer


def build_peepholes(tensors: dict[str, Tensor]) -> gw.Recurrent:
    """A peephole LSTM with a node's weights."""
    layer = gw.PeepholeLSTM(tensors["W"].shape[-1], tensors["R"].shape[-1])
    ours, theirs, peepholes = (tensors[name][0] for name in ("W", "R", "P"))
    bias = sum(tensors["B"][0].chunk(2))
    for gate, (block, peephole) in GATES.items():
        weights = layer.weights(gate)
        weights["x"] = ours.chunk(4)[block], bias.chunk(4)[block]
        weights["h"] = theirs.chunk(4)[block], None
        if peephole is not None:
            weights["c*"] = peepholes.chunk(3)[peephole], None
    return layer


def run(case: Any) -> dict[str, Tensor]:
    """A case's outputs by name, computed by our layer."""
    (node,) = case.model.graph.node
    values, _ = case.data_sets[0]
    present = [name for name in node.input if name]
    tensors = {name: torch.tensor(value) for name, value in zip(present, values, strict=True)}
    attributes = attributes_of(node)
    assert set(attributes) <= {"hidden_size", "direction", "layout"}
    batch_first = attributes.get("layout", 0) == 1
    backwards = attributes.get("direction") == b"reverse"
    if "P" in tensors:
        layer = build_peepholes(tensors)
    else:
        layer = build_drop_in(node.op_type, tensors, batch_first)
    event = tensors["X"].flip(0) if backwards else tensors["X"]
    states = [tensors[name] for name in ("initial_h", "initial_c") if name in tensors]
    more = {"lengths": tensors["sequence_lens"]} if "sequence_lens" in tensors else {}
    with torch.no_grad():
        output, after = layer(event, tuple(states) or None, **more)
    output = output.flip(0) if backwards else output
    # ONNX has an axis of directions before that of units, and by default before the batch.
    output = output.unflatten(-1, (layer.directions, -1))
    results = [output if batch_first else output.transpose(1, 2)]
    for state in (after,) if isinstance(after, Tensor) else after:
        results.append(state.transpose(0, 1) if batch_first else state)
    return {name: value for name, value in zip(node.output, results, strict=False) if name}


def test_the_cases_are_there():
    assert all(source.__file__ for source in SOURCES) and len(CASES) >= 18
    kinds = [case.model.graph.node[0].op_type for case in CASES.values()]
    assert {kind: kinds.count(kind) for kind in ORDERS} == {"RNN": 6, "LSTM": 6, "GRU": 6}


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_onnx(name: str):
    (node,) = CASES[name].model.graph.node
    _, expected = CASES[name].data_sets[0]
    outputs = [one for one in node.output if one]
    actual = run(CASES[name])
    assert list(actual) == outputs
    for output, value in zip(outputs, expected, strict=True):
        close(actual[output], torch.tensor(value).to(torch.float32), f"{name} {output}")
