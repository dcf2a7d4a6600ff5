"""A recurrent layer as an ONNX model.

A layer whose equations are those of ONNX's LSTM, GRU or RNN becomes that node; any other becomes a
Scan over its own operators, which runtimes execute step by step, and slowly. Gate orders: LSTM
i, o, f, c and its peepholes i, o, f; GRU z, r, h.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gatewright.exports.onnx_step import IR_VERSION, OPSET, GraphBuilder, as_array, emit_step
from gatewright.exports.recognise import Recognised, recognise
from gatewright.graph import Graph, Weight
from gatewright.graph.sizes import number

#: Our gates in ONNX's order.
GATE_ORDER = {"LSTM": "iofg", "GRU": "zrn", "RNN": "h"}
FLOAT, INT64 = 1, 7  # of onnx.TensorProto


@dataclass(frozen=True)
class Place:
    """One layer in one direction: its weights, and the rows of the states that are its own."""

    layer: int
    reverse: bool
    weights: Mapping[str, Tensor]


class LayerGraph:
    """A layer in an ONNX graph that is being written.

    Args:
        layer: A `Recurrent`.
        streaming: Whether it takes one step at a time, `(B, I)`, rather than whole sequences.
        lengths: The name of the input with the steps of each sequence, or None.
        int8: Whether its products are in int8, which ONNX's own nodes do not have.
    """

    def __init__(
        self,
        b: GraphBuilder,
        layer: Any,
        *,
        streaming: bool = False,
        lengths: str | None = None,
        int8: bool = False,
    ) -> None:
        self.b, self.layer, self.graph = b, layer, layer.graph
        self.streaming, self.lengths, self.int8 = streaming, lengths, int8
        self.node = None if int8 else recognise(self.graph)
        self.steps: str | None = None

    def run(
        self, x: str, states: Mapping[str, Sequence[str]], further: Mapping[str, str]
    ) -> tuple[str, dict[str, list[str]]]:
        """Add the layer; returns its output and the states after it.

        Args:
            x: `(T, B, I)`, or `(B, I)` if streaming; `further` inputs likewise.
            states: By name: the start of each place, `(1, B, size)`.
        """
        after: dict[str, list[str]] = {name: [] for name in states}
        directions = self.layer.directions
        for layer in range(self.layer.num_layers):
            outputs = []
            for direction in range(directions):
                place = Place(
                    layer, bool(direction), self.layer.store(layer, bool(direction)).tensors()
                )
                index = layer * directions + direction
                starts = {name: names[index] for name, names in states.items()}
                output, last = self._place(place, x, starts, further)
                outputs.append(output)
                for name, state in last.items():
                    after[name].append(state)
            x = outputs[0] if directions == 1 else self.b.node("Concat", *outputs, axis=-1)
        return x, after

    def _place(
        self, place: Place, x: str, starts: Mapping[str, str], further: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        if self.node is not None:
            return self._as_node(self.node, place, x, starts)
        b = self.b
        rows = {name: b.node("Squeeze", start, b.integers(0)) for name, start in starts.items()}
        if self.streaming:
            values = {self.graph.equations.event: x, **further, **rows}
            sizes = self.layer.sizes(place.layer)
            output, after = emit_step(b, self.graph, sizes, place.weights, values, int8=self.int8)
        else:
            output, after = self._as_scan(place, x, rows, further)
        return output, {
            name: b.node("Unsqueeze", state, b.integers(0)) for name, state in after.items()
        }

    # The nodes that runtimes have.
    def _as_node(
        self, known: Recognised, place: Place, x: str, starts: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        b, hidden = self.b, number(self.graph.output.size, self.layer.sizes(place.layer))
        if self.streaming:
            x = b.node("Unsqueeze", x, b.integers(0))
        order = GATE_ORDER[known.kind]
        gates = Gates(known, place.weights, hidden)
        bias = np.concatenate([gates.stack(order, "x", "bias"), gates.stack(order, "h", "bias")])
        inputs = [
            x,
            b.constant(gates.stack(order, "x", "weight")[None], "W"),
            b.constant(gates.stack(order, "h", "weight")[None], "R"),
            b.constant(bias[None], "B"),
            self.lengths or "",
            *(starts[name] for name in known.states),
        ]
        attributes: dict[str, Any] = {
            "hidden_size": hidden,
            "direction": "reverse" if place.reverse else "forward",
        }
        if known.kind == "LSTM" and any(path.endswith("c*.weight") for path in known.paths):
            peepholes = [gates.tensor(f"{gate}.c*.weight", hidden) for gate in "iof"]
            inputs.append(b.constant(np.concatenate(peepholes)[None], "P"))
        if known.kind == "GRU":
            attributes["linear_before_reset"] = int(known.resets_after)
        if known.kind == "RNN":
            attributes["activations"] = [known.nonlinearity.capitalize()]
        # (T, directions, B, H), of which there is one direction; the last states likewise.
        last = [b.name(f"{name}_last") for name in known.states]
        output = b.node(known.kind, *inputs, outputs=[b.name("all"), *last], **attributes)
        output = b.node("Squeeze", output, b.integers(1))
        if self.streaming:
            output = b.node("Squeeze", output, b.integers(0))
        return output, dict(zip(known.states, last, strict=True))

    # Every other cell.
    def _as_scan(
        self, place: Place, x: str, starts: Mapping[str, str], further: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        from onnx import helper

        b, graph, sizes = self.b, self.graph, self.layer.sizes(place.layer)
        inner = GraphBuilder(b.name("step") + "/")
        scanned = {graph.equations.event: x, **further}
        before = {name: inner.name(name) for name in starts}
        now = {name: inner.name(name) for name in scanned}
        values = {**now, **before}
        output, updates = emit_step(inner, graph, sizes, place.weights, values, int8=self.int8)
        sources = list(scanned.values())
        if self.lengths is not None:
            sources.append(self._step_numbers(x))
            mark = inner.name("step")
            now["a step's number"] = mark
            output, updates = _only_within(inner, self.lengths, mark, output, before, updates)

        def row(name: str, size: int) -> Any:
            return helper.make_tensor_value_info(name, FLOAT, [None, size])

        def size_of(name: str) -> int:
            return number({**graph.states, **graph.inputs}[name].size, sizes)

        # A result of a body is the output of a node of its own.
        results = [inner.node("Identity", updates[name]) for name in before]
        output = inner.node("Identity", output)
        inputs = [row(text, size_of(name)) for name, text in before.items()]
        inputs += [row(text, size_of(name)) for name, text in now.items() if name in scanned]
        if self.lengths is not None:
            inputs.append(helper.make_tensor_value_info(mark, INT64, []))
        body = helper.make_graph(
            inner.nodes,
            "step",
            inputs,
            [
                *(row(text, size_of(name)) for name, text in zip(before, results, strict=True)),
                row(output, number(graph.output.size, sizes)),
            ],
            inner.constants,
        )
        last = [b.name(f"{name}_last") for name in starts]
        outputs = b.name("all")
        b.node(
            "Scan",
            *starts.values(),
            *(self._in_reading_order(source, place) for source in sources),
            outputs=[*last, outputs],
            body=body,
            num_scan_inputs=len(sources),
        )
        return self._in_reading_order(outputs, place), dict(zip(starts, last, strict=True))

    def _in_reading_order(self, rows: str, place: Place) -> str:
        """Steps from the last to the first, where a place reads them so.

        A Scan could do it by an attribute, which not every runtime knows.
        """
        if not place.reverse:
            return rows
        b = self.b
        return b.node("Slice", rows, *map(b.integers, (-1, -(2**62), 0, -1)))

    def _step_numbers(self, x: str) -> str:
        """0, 1, ... up to the steps of `x`."""
        if self.steps is None:
            b = self.b
            first, stride = (b.constant(np.array(value, np.int64)) for value in (0, 1))
            count = b.node("Gather", b.node("Shape", x), first)
            self.steps = b.node("Range", first, count, stride)
        return self.steps


@dataclass(frozen=True)
class Gates:
    """The weights of a recognised cell, by the paths of ours."""

    known: Recognised
    weights: Mapping[str, Tensor]
    hidden: int

    def tensor(self, path: str, size: int) -> NDArray[np.float32]:
        """A weight, or the sum of several biases; zeros where the cell has none."""
        own = [as_array(self.weights[name]) for name in self.known.paths.get(path, ())]
        return sum(own[1:], own[0]) if own else np.zeros(size, np.float32)

    def stack(self, gates: Sequence[str], source: str, role: str) -> NDArray[np.float32]:
        """The matrices or the biases of all gates, one below the other."""
        return np.concatenate(
            [self.tensor(f"{gate}.{source}.{role}", self.hidden) for gate in gates]
        )


def _only_within(
    b: GraphBuilder,
    lengths: str,
    step: str,
    output: str,
    before: Mapping[str, str],
    updates: Mapping[str, str],
) -> tuple[str, dict[str, str]]:
    """Keep the states of sequences that have ended, and let their output be 0."""
    inside = b.node("Less", step, b.node("Cast", lengths, to=INT64))
    inside = b.node("Unsqueeze", inside, b.integers(1))
    zero = b.constant(np.zeros(1, np.float32))
    return b.node("Where", inside, output, zero), {
        name: b.node("Where", inside, updates[name], state) for name, state in before.items()
    }


def why_no_node(graph: Graph) -> str | None:
    """The reason why a cell's equations are no node of ONNX, or None."""
    if recognise(graph) is not None:
        return None
    return "ONNX has no node of these equations; they run as a Scan, step by step"


def layer_model(
    layer: Any,
    *,
    streaming: bool = False,
    lengths: bool = False,
    name: str = "layer",
    int8: bool = False,
) -> Any:
    """A layer as an ONNX model.

    Inputs: `x` and further inputs, in the layer's own form, or `(B, size)` if streaming; each
    state's start, `h_in` of `(layers × directions, B, size)`; `lengths` `(B,)` in int32, if asked
    for. Outputs: `y`, and `h_out` for each state. Batch and time are dynamic. The metadata name
    the states and their starts. With `int8` its products are in int8.
    """
    from onnx import helper

    b = GraphBuilder()
    graph, form = layer.graph, layer.form
    per_layer = {state for state in graph.states if form.differs_by_layer(state)}
    time = [] if streaming else (["B", "T"] if layer.batch_first else ["T", "B"])

    def events(text: str, size: int) -> Any:
        return helper.make_tensor_value_info(text, FLOAT, [*(time or ["B"]), size])

    inputs = [events("x", layer.input_size)]
    further = {}
    for text in graph.equations.inputs:
        inputs.append(events(text, number(graph.inputs[text].size, layer.sizes(0))))
        further[text] = text
    steps = ""
    if lengths:
        steps = "lengths"
        inputs.append(helper.make_tensor_value_info(steps, 6, ["B"]))

    x = "x"
    if layer.batch_first and not streaming:
        x = b.node("Transpose", x, perm=[1, 0, 2])
        further = {
            text: b.node("Transpose", source, perm=[1, 0, 2]) for text, source in further.items()
        }
    starts: dict[str, list[str]] = {}
    outputs: list[Any] = []
    for state in graph.states:
        starts[state] = []
        sizes = form.state_sizes(state)
        for text, count, size in _state_tensors(layer, state, sizes, state in per_layer):
            shape: list[Any] = [count, "B", size]
            inputs.append(helper.make_tensor_value_info(f"{text}_in", FLOAT, shape))
            outputs.append(helper.make_tensor_value_info(f"{text}_out", FLOAT, shape))
            starts[state] += [
                f"{text}_in"
                if count == 1
                else b.node("Slice", f"{text}_in", b.integers(place), b.integers(place + 1))
                for place in range(count)
            ]
    written = LayerGraph(b, layer, streaming=streaming, lengths=steps or None, int8=int8)
    y, after = written.run(x, starts, further)
    if layer.batch_first and not streaming:
        y = b.node("Transpose", y, perm=[1, 0, 2])
    b.node("Identity", y, outputs=["y"])
    for state in graph.states:
        position = 0
        for text, count, _ in _state_tensors(
            layer, state, form.state_sizes(state), state in per_layer
        ):
            own = after[state][position : position + count]
            b.node("Concat", *own, axis=0, outputs=[f"{text}_out"])
            position += count
    outputs = [events("y", layer.output_size), *outputs]
    written_graph = helper.make_graph(b.nodes, name, inputs, outputs, b.constants)
    model = helper.make_model(
        written_graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="gatewright",
    )
    helper.set_model_props(model, {"states": json.dumps(_starts(layer, per_layer))})
    return model


def _state_tensors(
    layer: Any, state: str, sizes: Sequence[int], by_layer: bool
) -> list[tuple[str, int, int]]:
    """The tensors of a state: (name, places, units); one, or one a layer where sizes differ."""
    if not by_layer:
        return [(state, layer.num_layers * layer.directions, sizes[0])]
    return [(f"{state}{k}", layer.directions, size) for k, size in enumerate(sizes)]


def _starts(layer: Any, per_layer: set[str]) -> dict[str, Any]:
    """For the metadata: the input and the output of each state, and the numbers it starts from."""
    starts: dict[str, Any] = {}
    for state, start in layer.graph.initial.items():
        sizes = layer.form.state_sizes(state)
        own: Any = start
        if isinstance(start, Weight):
            own = [
                layer.store(*place).tensors()[start.path].tolist() for place in layer.form.places
            ]
        for text, _, _ in _state_tensors(layer, state, sizes, state in per_layer):
            starts[text] = {"input": f"{text}_in", "output": f"{text}_out", "start": own}
    return starts
