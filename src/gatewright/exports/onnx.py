"""A recurrent layer as an ONNX model.

A layer whose equations are those of ONNX's LSTM, GRU or RNN becomes that node; any other becomes a
Scan over its own operators, which runtimes execute step by step, and slowly. Gate orders: LSTM
i, o, f, c and its peepholes i, o, f; GRU z, r, h.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np

from gatewright.backends.recognise import Recognised, recognise
from gatewright.errors import ArgumentError
from gatewright.exports.onnx_step import (
    IR_VERSION,
    OPSET,
    GraphBuilder,
    WeightValue,
    as_array,
    emit_step,
)
from gatewright.graph import Graph, Weight
from gatewright.graph.sizes import number

#: Our gates in ONNX's order.
GATE_ORDER = {"LSTM": "iofg", "GRU": "zrn", "RNN": "h"}
FLOAT, INT64 = 1, 7  # of onnx.TensorProto


@dataclass(frozen=True)
class Place:
    """One layer in one direction: its sizes and its weights."""

    reverse: bool
    sizes: Mapping[str, int]
    weights: Mapping[str, WeightValue]


class LayerGraph:
    """A layer in an ONNX graph that is being written.

    Args:
        form: The cell and the sizes of a layer, its `Form`.
        weights: By layer and direction, and then by path.
        streaming: Whether it takes one step at a time, `(B, I)`, rather than whole sequences.
        lengths: The name of the input with the steps of each sequence, in int32, or None.
        int8: Whether its products are in int8, which ONNX's own nodes do not have.
    """

    def __init__(
        self,
        b: GraphBuilder,
        form: Any,
        weights: Mapping[tuple[int, bool], Mapping[str, WeightValue]],
        *,
        streaming: bool = False,
        lengths: str | None = None,
        int8: bool = False,
    ) -> None:
        self.b, self.form, self.graph, self.weights = b, form, form.graph, weights
        self.streaming, self.lengths, self.int8 = streaming, lengths, int8
        self.node = None if int8 else recognise(self.graph)
        self.steps: str | None = None

    def run(
        self, x: str, states: Mapping[str, str], further: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        """Add the layer; returns its output and the states after it, each as `states`.

        Args:
            x: `(T, B, I)` or `(B, T, I)` as in the layer's form, or `(B, I)` if streaming;
                `further` inputs likewise.
            states: Before the first step, by the names of `state_tensors`; empty for the cell's.
        """
        b = self.b
        swaps = self.form.batch_first and not self.streaming
        if swaps:
            x = b.node("Transpose", x, perm=[1, 0, 2])
            further = {
                name: b.node("Transpose", source, perm=[1, 0, 2])
                for name, source in further.items()
            }
        tensors = state_tensors(self.form)
        starts: dict[str, list[str]] = {}
        for tensor in tensors if states else ():
            name, places = states[tensor.name], range(tensor.places)
            starts.setdefault(tensor.state, []).extend(
                [name]
                if tensor.places == 1
                else [b.node("Slice", name, *map(b.integers, (k, k + 1))) for k in places]
            )
        y, after = self._run_layers(x, starts, further)
        last = {}
        for tensor in tensors:
            own = [after[tensor.state].pop(0) for _ in range(tensor.places)]
            last[tensor.name] = own[0] if len(own) == 1 else b.node("Concat", *own, axis=0)
        return b.node("Transpose", y, perm=[1, 0, 2]) if swaps else y, last

    def _run_layers(
        self, x: str, states: Mapping[str, Sequence[str]], further: Mapping[str, str]
    ) -> tuple[str, dict[str, list[str]]]:
        """Add layer after layer; `states` are those of each place, `(1, B, size)`."""
        after: dict[str, list[str]] = {name: [] for name in self.graph.states}
        index = 0
        for layer in range(self.form.num_layers):
            outputs = []
            for reverse in self.form.reverses:
                place = Place(reverse, self.form.sizes(layer), self.weights[layer, reverse])
                if states:
                    starts = {name: names[index] for name, names in states.items()}
                else:
                    starts = {name: self._start(name, x, place) for name in self.graph.states}
                output, last = self._place(place, x, starts, further)
                outputs.append(output)
                for name, state in last.items():
                    after[name].append(state)
                index += 1
            x = outputs[0] if len(outputs) == 1 else self.b.node("Concat", *outputs, axis=-1)
        return x, after

    def _start(self, name: str, x: str, place: Place) -> str:
        """The cell's own start of a state, `(1, B, size)`; empty for the zeros of a node."""
        b, start = self.b, self.graph.initial[name]
        if self.node is not None and isinstance(start, int | float) and not start:
            return ""
        size = number(self.graph.states[name].size, place.sizes)
        rows = b.node("Shape", x, start=1, end=2)
        shape = b.node("Concat", b.integers(1), rows, b.integers(size), axis=0)
        values = (
            place.weights[start.path]
            if isinstance(start, Weight)
            else np.array([start], np.float32)
        )
        return b.node("Expand", b.value(values), shape)

    def _place(
        self, place: Place, x: str, starts: Mapping[str, str], further: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        if self.node is not None:
            return self._as_node(self.node, place, x, starts)
        b = self.b
        rows = {name: b.node("Squeeze", start, b.integers(0)) for name, start in starts.items()}
        if self.streaming:
            values = {self.graph.equations.event: x, **further, **rows}
            output, after = emit_step(
                b, self.graph, place.sizes, place.weights, values, int8=self.int8
            )
        else:
            output, after = self._as_scan(place, x, rows, further)
        return output, {
            name: b.node("Unsqueeze", state, b.integers(0)) for name, state in after.items()
        }

    # The nodes that runtimes have.
    def _as_node(
        self, known: Recognised, place: Place, x: str, starts: Mapping[str, str]
    ) -> tuple[str, dict[str, str]]:
        b, hidden = self.b, number(self.graph.output.size, place.sizes)
        if self.streaming:
            x = b.node("Unsqueeze", x, b.integers(0))
        order = GATE_ORDER[known.kind]
        gates = Gates(b, known, place.weights, hidden)
        bias = [*gates.all(order, "x", "bias"), *gates.all(order, "h", "bias")]
        inputs = [
            x,
            gates.stack(gates.all(order, "x", "weight"), "W"),
            gates.stack(gates.all(order, "h", "weight"), "R"),
            gates.stack(bias, "B"),
            self.lengths or "",
            *(starts[name] for name in known.states),
        ]
        attributes: dict[str, Any] = {
            "hidden_size": hidden,
            "direction": "reverse" if place.reverse else "forward",
        }
        if known.kind == "LSTM" and any(path.endswith("c*.weight") for path in known.paths):
            inputs.append(gates.stack(gates.all("iof", "c*", "weight"), "P"))
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

        b, graph, sizes = self.b, self.graph, place.sizes
        inner = GraphBuilder(b)
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

    b: GraphBuilder
    known: Recognised
    weights: Mapping[str, WeightValue]
    hidden: int

    def tensor(self, path: str) -> WeightValue:
        """A weight, or the sum of several biases; zeros where the cell has none."""
        first, *rest = [self.weights[name] for name in self.known.paths.get(path, ())] or [
            np.zeros(self.hidden, np.float32)
        ]
        return reduce(partial(self.b.weight, "Add"), rest, first)

    def all(self, gates: Sequence[str], source: str, role: str) -> list[WeightValue]:
        """The matrices or the biases of all gates."""
        return [self.tensor(f"{gate}.{source}.{role}") for gate in gates]

    def stack(self, weights: Sequence[WeightValue], stem: str) -> str:
        """Weights one below the other, for the only direction of a node: `(1, ...)`."""
        stacked = self.b.weight("Concat", *weights, axis=0)
        if isinstance(stacked, str):
            return self.b.node("Unsqueeze", stacked, self.b.integers(0))
        return self.b.constant(stacked[None], stem)


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

    outputs = [events("y", layer.output_size)]
    tensors = state_tensors(form)
    for tensor in tensors:
        shape: list[Any] = [tensor.places, "B", tensor.units]
        inputs.append(helper.make_tensor_value_info(f"{tensor.name}_in", FLOAT, shape))
        outputs.append(helper.make_tensor_value_info(f"{tensor.name}_out", FLOAT, shape))
    weights = {
        place: {path: as_array(tensor) for path, tensor in layer.store(*place).tensors().items()}
        for place in layer.places
    }
    written = LayerGraph(b, form, weights, streaming=streaming, lengths=steps or None, int8=int8)
    y, after = written.run("x", {tensor.name: f"{tensor.name}_in" for tensor in tensors}, further)
    b.node("Identity", y, outputs=["y"])
    for state, value in after.items():
        b.node("Identity", value, outputs=[f"{state}_out"])
    _check_names(further, b, inputs)
    written_graph = helper.make_graph(b.nodes, name, inputs, outputs, b.constants)
    model = helper.make_model(
        written_graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="gatewright",
    )
    helper.set_model_props(model, {"states": json.dumps(_starts(layer))})
    return model


@dataclass(frozen=True)
class StateTensor:
    """A tensor of a state, `(places, B, units)`: all of it, or that of one layer."""

    state: str
    name: str
    places: int
    units: int


def _check_names(further: Iterable[str], b: GraphBuilder, inputs: Sequence[Any]) -> None:
    """Refuse further inputs with the name of another value of the model.

    Raises:
        ArgumentError: naming the first of them.
    """
    names = Counter(value.name for value in [*inputs, *b.constants])
    names.update(output for node in b.nodes for output in node.output)
    for text in further:
        if names[text] > 1:
            raise ArgumentError(
                f"the cell's further input {text} has the name of another value of the ONNX model, "
                "where a name has to be unique; rename it in the cell's step"
            )


def state_tensors(form: Any) -> list[StateTensor]:
    """The tensors of the states: one each, or one a layer where the sizes differ."""
    tensors = []
    for state in form.graph.states:
        sizes, directions = form.state_sizes(state), form.directions
        if form.differs_by_layer(state):
            own = [StateTensor(state, f"{state}{k}", directions, n) for k, n in enumerate(sizes)]
        else:
            own = [StateTensor(state, state, len(sizes) * directions, sizes[0])]
        tensors += own
    return tensors


def _starts(layer: Any) -> dict[str, Any]:
    """For the metadata: the input and the output of each state, and the numbers it starts from."""
    starts: dict[str, Any] = {}
    for tensor in state_tensors(layer.form):
        start: Any = layer.graph.initial[tensor.state]
        if isinstance(start, Weight):
            start = [layer.store(*place).tensors()[start.path].tolist() for place in layer.places]
        name = tensor.name
        starts[name] = {"input": f"{name}_in", "output": f"{name}_out", "start": start}
    return starts
