"""The RNN, LSTM and GRU nodes of an ONNX file as layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, count
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.deploy.incoming.activations import (
    FUNCTIONS,
    SIGMOID,
    TANH,
    Activation,
    with_numbers,
)
from gatewright.deploy.incoming.cells import ImportedCell, ImportedGRU, ImportedLSTM, ImportedRNN
from gatewright.deploy.incoming.file_layers import (
    DirectionWeights,
    FileLayers,
    GateWeights,
    build_layer,
)
from gatewright.deploy.incoming.onnx_constants import OnnxConstants
from gatewright.deploy.incoming.reverse_layer import ReverseLayer
from gatewright.errors import ArgumentError, ModelError
from gatewright.exports.onnx import GATE_ORDER
from gatewright.files import regular_file
from gatewright.layers.recurrent import Recurrent
from gatewright.names import did_you_mean
from gatewright.schema import shown

Array = NDArray[Any]

#: The inputs of a node, by position; a GRU and an RNN have the first six.
INPUTS = ("X", "W", "R", "B", "sequence_lens", "initial_h", "initial_c", "P")
#: The gates of an LSTM that have peepholes, in the order of P.
PEEPHOLES = "iof"
#: The activations of a node that names none: ONNX's f, g and h.
USUAL: Mapping[str, tuple[Activation, ...]] = MappingProxyType(
    {"RNN": (TANH,), "GRU": (SIGMOID, TANH), "LSTM": (SIGMOID, TANH, TANH)}
)
DIRECTIONS = {"forward": 1, "reverse": 1, "bidirectional": 2}
#: The types of attributes.
ATTRIBUTES: Mapping[str, str] = MappingProxyType(
    {
        "activation_alpha": "FLOATS",
        "activation_beta": "FLOATS",
        "activations": "STRINGS",
        "clip": "FLOAT",
        "direction": "STRING",
        "hidden_size": "INT",
        "input_forget": "INT",
        "layout": "INT",
        "linear_before_reset": "INT",
        "output_sequence": "INT",  # of versions before 7: it named the outputs that are there
    }
)
#: Values of a constant that are shown in a note, at most.
MAX_SHOWN = 8


def read_onnx(path: Path) -> FileLayers:
    """The recurrent layers of an ONNX file, by the names of their nodes.

    Raises:
        ArgumentError: if the file cannot be read, holds no such node, or one that computes what
            our layers cannot.
        ModelError: if it is damaged.
    """
    model = _parsed(path)
    for function in model.functions:
        if any(_is_recurrent(node) for node in function.node):
            raise ArgumentError(
                f"{path} has a recurrent node in its function {function.name}, which is not "
                "followed; inline its functions (onnx.inliner.inline_local_functions), and save "
                "it again"
            )
    opset = max([o.version for o in model.opset_import if o.domain in ("", "ai.onnx")], default=1)
    layers: dict[str, Recurrent | ReverseLayer] = {}
    notes: dict[str, Sequence[str]] = {}
    others: Counter[str] = Counter()
    for prefix, node, constants in _nodes(model.graph, OnnxConstants(model.graph, path, opset)):
        if not _is_recurrent(node):
            others[node.op_type] += node.op_type != "Constant"
            continue
        numbered = (f"{node.op_type}_{number}" for number in count())
        texts = filter(None, chain([node.name], node.output, numbered))
        name = next(prefix + text for text in texts if prefix + text not in layers)
        layers[name], notes[name] = _NodeReader(node, name, constants).read()
    if not layers:
        raise ArgumentError(f"{path} holds no RNN, LSTM or GRU node{_near_miss(others)}")
    left_out = [f"{several} {kind}" for kind, several in sorted(others.items()) if several]
    return FileLayers(layers, notes, left_out)


def _parsed(path: Path) -> Any:
    """The file's ModelProto."""
    try:
        import onnx
    except ImportError as error:
        raise ArgumentError(
            f"{path}: reading ONNX needs the package onnx: pip install 'gatewright[onnx]'"
        ) from error
    try:
        with regular_file(path) as (file, _):
            return onnx.load_model_from_string(file.read())
    except OSError as error:
        raise ArgumentError(f"cannot read {path}: {error.strerror or error}") from error
    except Exception as error:  # that of protobuf, which need not be importable by its name
        raise ModelError(f"{path} is damaged, or no ONNX file: {error}") from error


def _nodes(
    graph: Any, constants: OnnxConstants, prefix: str = ""
) -> Iterator[tuple[str, Any, OnnxConstants]]:
    """Each node of a graph and of the graphs in its nodes (If, Loop, Scan), and its prefix."""
    for node in graph.node:
        texts = (node.op_type, node.name, node.domain, *node.input, *node.output)
        if not all(isinstance(text, str) for text in texts):  # bytes that are no UTF-8
            raise ModelError(f"{constants.file} is damaged: the names of a node are no text")
        yield prefix, node, constants
        for attribute in node.attribute:
            for inner in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                scope = OnnxConstants(inner, constants.file, constants.opset, constants)
                yield from _nodes(inner, scope, f"{prefix}{node.name or node.op_type}/")


def _is_recurrent(node: Any) -> bool:
    return node.op_type in GATE_ORDER and node.domain in ("", "ai.onnx")


def _near_miss(others: Mapping[str, int]) -> str:
    """The rest of a message about a file without recurrent nodes: the likely reason."""
    loops = [kind for kind in ("Loop", "Scan") if others.get(kind)]
    if not loops:
        return "; nothing else of a file is converted"
    return (
        f"; its {' and '.join(loops)} may be recurrences that were written out, which are not "
        "recognised: write that cell as a gw.Cell, or convert the model that it came from"
    )


class _NodeReader:
    """One recurrent node, while it is read."""

    def __init__(self, node: Any, name: str, constants: OnnxConstants) -> None:
        self.kind: str = node.op_type
        self.title = f"{constants.file}: the node {name} ({self.kind})"
        self.constants = constants
        self.inputs = {role: text for role, text in zip(INPUTS, node.input, strict=False) if text}
        self.attributes = self._attributes(node)
        self.direction = self.attributes.get("direction", b"forward").decode(errors="replace")
        if self.direction not in DIRECTIONS:
            raise self._damaged("direction", self.direction, ", ".join(DIRECTIONS))
        self.directions = DIRECTIONS[self.direction]

    def read(self) -> tuple[Recurrent | ReverseLayer, list[str]]:
        """The node's layer, and the notes on it."""
        weights = self._weights()
        starts, notes = self._starts(weights["R"].shape[-1])
        cell = self._cell(peepholes="P" in weights, starts=bool(starts))
        directions = [
            DirectionWeights(
                self._gates({role: tensor[index] for role, tensor in weights.items()}),
                {state: start[index] for state, start in starts.items()},
            )
            for index in range(self.directions)
        ]
        layer = build_layer(cell, directions, batch_first=self.attributes.get("layout", 0) == 1)
        return ReverseLayer(layer) if self.direction == "reverse" else layer, notes

    # Attributes.
    def _attributes(self, node: Any) -> dict[str, Any]:
        from onnx import AttributeProto, helper

        attributes = {}
        for attribute in node.attribute:
            name = attribute.name
            if name not in ATTRIBUTES:
                raise ArgumentError(
                    f"{self.title} has the attribute {name}, which is not converted; expected only "
                    f"{', '.join(ATTRIBUTES)}"
                )
            kind = AttributeProto.AttributeType.Name(attribute.type)
            if kind != ATTRIBUTES[name]:
                raise self._damaged(f"{name}'s type", kind, ATTRIBUTES[name])
            attributes[name] = helper.get_attribute_value(attribute)
        return attributes

    def _activations(self) -> tuple[Activation, ...]:
        """The activations f, g and h of every direction."""
        usual = USUAL[self.kind]
        names = [text.decode(errors="replace") for text in self.attributes.get("activations", [])]
        if not names:
            return usual
        if len(names) != self.directions * len(usual):
            count = f"{self.directions * len(usual)}, {len(usual)} for each direction"
            raise self._damaged("activations", names, count)
        spelled = {name.lower(): name for name in FUNCTIONS}
        # The lists have numbers only for the functions that take some, in their order.
        numbers = {
            name: list(self.attributes.get(f"activation_{name}", [])) for name in ("alpha", "beta")
        }
        activations = []
        for text in names:
            if text.lower() not in spelled:
                raise ArgumentError(
                    f"{self.title} has the activation {text!r}; {did_you_mean(text, FUNCTIONS)}"
                    f"expected {', '.join(FUNCTIONS)}. Write that cell as a gw.Cell"
                )
            try:
                activations.append(with_numbers(spelled[text.lower()], numbers))
            except ArgumentError as error:
                raise ArgumentError(f"{self.title}: {error}") from None
        first = tuple(activations[: len(usual)])
        if tuple(activations) != first * self.directions:
            raise ArgumentError(
                f"{self.title} has other activations in reverse ({activations}); a layer has one "
                "cell for both directions: split the node into one of each direction"
            )
        return first

    def _cell(self, *, peepholes: bool, starts: bool) -> ImportedCell:
        attributes = self.attributes
        clip = attributes.get("clip", 0.0)
        if not 0 <= clip < float("inf"):
            raise self._damaged("clip", clip, "a number above 0")
        options: dict[str, Any] = {"clip": clip, "starts": starts}
        options |= dict(zip(("gate", "new", "used"), self._activations(), strict=False))
        if self.kind == "LSTM":
            coupled = attributes.get("input_forget", 0) != 0
            return ImportedLSTM(coupled=coupled, peepholes=peepholes, **options)
        if self.kind == "GRU":
            after = attributes.get("linear_before_reset", 0) != 0
            return ImportedGRU(reset="after" if after else "before", **options)
        options["new"] = options.pop("gate")
        return ImportedRNN(**options)

    # Weights.
    def _weights(self) -> dict[str, Array]:
        """The tensors W, R, B and P, checked; without P where it is 0."""
        weights: dict[str, Array] = {}
        for role in ("W", "R", "B", "P"):
            if role not in self.inputs:
                continue
            value = self.constants.value(self.inputs[role])
            if value is None:
                raise ArgumentError(
                    f"{self.title} reads its weights {role} from {self.inputs[role]!r}, an input "
                    "of the graph or a value that it computes; expected a constant: let ONNX "
                    "Runtime write the optimised model (optimized_model_filepath), and convert that"
                )
            weights[role] = value
        missing = [role for role in ("W", "R") if role not in weights]
        if missing:
            raise ModelError(f"{self.title} is damaged: it has no weights {missing[0]}")
        w, r = weights["W"], weights["R"]
        hidden, count = r.shape[-1] if r.ndim else 0, len(GATE_ORDER[self.kind])
        stated = self.attributes.get("hidden_size", hidden)
        if stated != hidden:
            raise self._damaged("hidden_size", stated, f"{hidden}, as R has")
        shapes = {
            "W": (self.directions, count * hidden, w.shape[-1] if w.ndim else 0),
            "R": (self.directions, count * hidden, hidden),
            "B": (self.directions, 2 * count * hidden),
            "P": (self.directions, len(PEEPHOLES) * hidden),
        }
        for role, tensor in weights.items():
            if tensor.shape != shapes[role] or 0 in tensor.shape:
                raise self._damaged(f"{role}'s shape", tensor.shape, str(shapes[role]))
            if tensor.dtype != w.dtype or tensor.dtype.kind != "f":
                kinds = "float16, float32 or float64, one for all weights"
                raise self._damaged(f"{role}'s type", tensor.dtype.name, kinds)
            if not np.isfinite(tensor).all():
                raise self._damaged(role, "not finite", "numbers")
        if "P" in weights and not weights["P"].any():
            del weights["P"]
        return weights

    def _gates(self, weights: Mapping[str, Array]) -> dict[str, GateWeights]:
        """The weights of one direction, by our names of the gates."""
        order = GATE_ORDER[self.kind]
        parts = {role: np.split(weights[role], len(order)) for role in ("W", "R")}
        biases = np.split(weights["B"], 2 * len(order)) if "B" in weights else None
        peepholes = (
            dict(zip(PEEPHOLES, np.split(weights["P"], len(PEEPHOLES)), strict=True))
            if "P" in weights
            else {}
        )
        gates = {}
        for index, gate in enumerate(order):
            if gate == "f" and self.attributes.get("input_forget", 0):
                continue  # such a cell computes f of i
            gates[gate] = GateWeights(
                parts["W"][index],
                parts["R"][index],
                None if biases is None else biases[index],
                None if biases is None else biases[len(order) + index],
                peepholes.get(gate),
            )
        return gates

    # States and lengths.
    def _starts(self, hidden: int) -> tuple[dict[str, Array], list[str]]:
        """The starts of the states that are constants, `(D, H)`, and notes on the others."""
        starts, notes = {}, []
        for role in ("initial_h", "initial_c"):
            source, state = self.inputs.get(role), role[-1]
            if source is None or self.constants.is_zero(source):
                continue
            value = self.constants.value(source, repeated=True)
            start = None if value is None else self._start(role, value, hidden)
            if start is None:
                notes.append(f"{state} starts at the value {source!r} of the file: pass it as hx")
            else:
                starts[state] = start
        source = self.inputs.get("sequence_lens")
        if source is not None:
            value = self.constants.value(source)
            steps = "" if value is None or value.size > MAX_SHOWN else f", {value.tolist()}"
            notes.append(f"reads as many steps of each row as {source!r} has{steps}: pass lengths=")
        return starts, notes

    def _start(self, role: str, value: Array, hidden: int) -> Array | None:
        """A constant start, `(D, H)`; None where it differs by row of the batch."""
        if value.ndim == 3 and self.attributes.get("layout", 0) == 1:
            value = value.swapaxes(0, 1)
        rows = value.shape[1] if value.ndim == 3 else 1
        try:
            full = np.broadcast_to(value, (self.directions, rows, hidden))
        except ValueError:
            expected = f"({self.directions}, batch, {hidden})"
            raise self._damaged(f"{role}'s shape", value.shape, expected) from None
        # The rows are compared as they are stored: spread over the units they may be huge.
        is_same = value.ndim < 3 or bool((value == value[:, :1]).all())
        return full[:, 0] if rows and is_same else None

    def _damaged(self, name: str, value: Any, expected: str) -> ModelError:
        return ModelError(f"{self.title} is damaged: {name} is {shown(value)}; expected {expected}")
