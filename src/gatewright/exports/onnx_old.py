"""The cells that ONNX has as one node, as an ONNX model.

Gate orders: LSTM i, o, f, c and its peepholes i, o, f; GRU z, r, h. A GRU like torch's, which
applies the reset after the product, has `linear_before_reset=1`.
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

#: Our gates in ONNX's order, by the type of the node.
GATE_ORDER = {"LSTM": ("i", "o", "f", "g"), "GRU": ("z", "r", "n"), "RNN": ("h",)}
#: The node's type for a cell.
NODE_TYPES: dict[type[Cell], str] = {
    LSTM: "LSTM",
    PeepholeLSTM: "LSTM",
    GRU: "GRU",
    ElmanRNN: "RNN",
}


def why_not(cell: Cell) -> str | None:
    """Return the reason why ONNX has no node for a cell, or None."""
    if type(cell) not in NODE_TYPES:
        return "ONNX has no node of this cell"
    if isinstance(cell, LSTM) and cell.projection:
        return "ONNX's LSTM has no projection"
    if isinstance(cell, PeepholeLSTM) and (
        cell.peephole != "diagonal" or set(cell.gates) != set("ifo") or cell.output_reads != "new"
    ):
        return "ONNX's LSTM has diagonal peepholes to all three gates"
    return None


def model(cell: Cell, weights: Mapping[str, Tensor]) -> Any:
    """A model from `x (T, B, I)` and the states `h, c (1, B, H)` to the output and new states.

    The results are `output (T, B, H)`, `h_after` and, for an LSTM, `c_after`, `(1, B, H)`.

    Args:
        cell: One for which `why_not` returns None.
        weights: By path, as in the cell's graph.
    """
    from onnx import TensorProto, helper, numpy_helper

    node_type = NODE_TYPES[type(cell)]
    gates = GATE_ORDER[node_type]
    hidden = weights[f"{gates[0]}.x.weight"].shape[0]

    def stack(source: str, role: str) -> np.ndarray[Any, Any]:
        """The matrices or biases of all gates, with a first axis for the one direction."""
        zeros = np.zeros(hidden, np.float32)
        parts = [weights.get(f"{gate}.{source}.{role}") for gate in gates]
        return np.concatenate([zeros if part is None else part.numpy() for part in parts])[None]

    constants = {
        "W": stack("x", "weight"),
        "R": stack("h", "weight"),
        "B": np.concatenate([stack("x", "bias"), stack("h", "bias")], 1),
        "axis": np.array([1]),  # of the directions, which the output leaves out
    }
    states = ["h", "c"] if node_type == "LSTM" else ["h"]
    inputs = ["x", "W", "R", "B", "", *states]  # "": no lengths
    if isinstance(cell, PeepholeLSTM):
        peepholes = [weights[f"{gate}.c*.weight"].numpy() for gate in ("i", "o", "f")]
        constants["P"] = np.concatenate(peepholes)[None]
        inputs.append("P")
    attributes: dict[str, Any] = {"hidden_size": hidden}
    if isinstance(cell, GRU):
        attributes["linear_before_reset"] = int(cell.reset == "after")
    if isinstance(cell, ElmanRNN):
        attributes["activations"] = [cell.nonlinearity.capitalize()]

    def value(name: str, *shape: int | str | None) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    new_states = [f"{state}_after" for state in states]
    graph = helper.make_graph(
        [
            helper.make_node(node_type, inputs, ["directions", *new_states], **attributes),
            helper.make_node("Squeeze", ["directions", "axis"], ["output"]),
        ],
        type(cell).__name__,
        [value("x", "T", "B", None), *(value(name, 1, "B", hidden) for name in states)],
        [value("output", "T", "B", hidden), *(value(name, 1, "B", hidden) for name in new_states)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8)
