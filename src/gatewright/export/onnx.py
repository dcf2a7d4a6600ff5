"""The cells that ONNX has as one node, as a model: made node by node with `onnx.helper`.

Gate orders: LSTM i, o, f, c and its peepholes i, o, f; GRU z, r, h. A GRU of torch's kind is
`linear_before_reset=1`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from gatewright.cells.gru import GRU
from gatewright.cells.lstm import LSTM, PeepholeLSTM
from gatewright.cells.rnn import ElmanRNN
from gatewright.language.cell import Cell

#: Our products in ONNX's order, by the node's type.
ORDER = {"LSTM": ("i", "o", "f", "g"), "GRU": ("z", "r", "n"), "RNN": ("h",)}


def why_not(cell: Cell) -> str | None:
    """Why ONNX has no node for a cell, or None."""
    kind = _kind(cell)
    if kind is None:
        return "ONNX has no node of this cell"
    if isinstance(cell, LSTM) and cell.projection:
        return "ONNX's LSTM has no projection"
    if isinstance(cell, PeepholeLSTM) and (
        cell.peephole != "diagonal" or set(cell.gates) != set("ifo") or cell.output_reads != "new"
    ):
        return "ONNX's LSTM has diagonal peepholes to all three gates"
    return None


def model(cell: Cell, weights: Mapping[str, Tensor]) -> Any:
    """A model from `x (T, B, I)` and the states `(1, B, H)` to `output (T, B, H)` and states.

    Args:
        weights: By path, as in the cell's graph.
    """
    from onnx import TensorProto, helper, numpy_helper

    kind = _kind(cell)
    assert kind is not None
    order = ORDER[kind]
    hidden = weights[f"{order[0]}.x.weight"].shape[0]

    def stack(source: str, role: str) -> np.ndarray[Any, Any]:
        zeros = np.zeros(hidden, np.float32)
        parts = [weights.get(f"{gate}.{source}.{role}") for gate in order]
        return np.concatenate([zeros if one is None else one.numpy() for one in parts])[None]

    biases = np.concatenate([stack("x", "bias"), stack("h", "bias")], 1)
    given = {"W": stack("x", "weight"), "R": stack("h", "weight"), "B": biases}
    states = ["h", "c"] if kind == "LSTM" else ["h"]
    inputs = ["x", "W", "R", "B", "", *states]
    if isinstance(cell, PeepholeLSTM):
        peepholes = [weights[f"{gate}.c*.weight"].numpy() for gate in ("i", "o", "f")]
        given["P"] = np.concatenate(peepholes)[None]
        inputs.append("P")
    how: dict[str, Any] = {"hidden_size": hidden}
    if isinstance(cell, GRU):
        how["linear_before_reset"] = int(cell.reset == "after")
    if isinstance(cell, ElmanRNN):
        how["activations"] = [cell.nonlinearity.capitalize()]
    after = [f"{one}_after" for one in states]
    given["axis"] = np.array([1])
    graph = helper.make_graph(
        [
            helper.make_node(kind, inputs, ["directions", *after], **how),
            helper.make_node("Squeeze", ["directions", "axis"], ["output"]),
        ],
        type(cell).__name__,
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", "B", None]),
            *(
                helper.make_tensor_value_info(s, TensorProto.FLOAT, [1, "B", hidden])
                for s in states
            ),
        ],
        [
            helper.make_tensor_value_info("output", TensorProto.FLOAT, ["T", "B", hidden]),
            *(helper.make_tensor_value_info(s, TensorProto.FLOAT, [1, "B", hidden]) for s in after),
        ],
        [numpy_helper.from_array(one, name) for name, one in given.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)


def _kind(cell: Cell) -> str | None:
    kinds = {LSTM: "LSTM", PeepholeLSTM: "LSTM", GRU: "GRU", ElmanRNN: "RNN"}
    return kinds.get(type(cell))
