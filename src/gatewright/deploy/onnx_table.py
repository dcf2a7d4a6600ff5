"""The translation of our operator to ONNX, for torch's exporter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from gatewright.errors import BackendError
from gatewright.exports.onnx import LayerGraph, state_tensors
from gatewright.exports.onnx_step import GraphBuilder
from gatewright.graph.sizes import number
from gatewright.layers.operator import ONNX_EXPORT, form_of, weights_by_place

INT32 = 6  # of onnx.TensorProto


def onnx_translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """The translations of our layers, for `torch.onnx.export`.

    Each layer becomes ONNX's LSTM, GRU or RNN where it has the equations of these, and a Scan
    elsewhere; batch and time stay dynamic.

    >>> import torch, gatewright as gw
    >>> model, x = gw.GRU(3, 8, batch_first=True).eval(), torch.zeros(2, 5, 3)
    >>> table = gw.onnx_translations()
    >>> torch.onnx.export(                                              # doctest: +SKIP
    ...     model, (x,), "model.onnx", dynamo=True, custom_translation_table=table,
    ...     dynamic_shapes=({0: "batch", 1: "time"},),
    ... )

    `gatewright.export(module, "model.onnx", example=x)` does the same in one call.
    """
    ONNX_EXPORT.has_translation = True
    return {torch.ops.gatewright.recurrent.default: _translate}


def _translate(
    input: Any,
    weights: Sequence[Any],
    states: Sequence[Any],
    further: Sequence[Any],
    lengths: Any,
    starts: Any,
    form: str,
    backend: str,
) -> list[Any]:
    """Record the nodes of one layer; returns its output and its states."""
    decoded = form_of(form)
    _check(input, starts)
    b, values = GraphBuilder(), {"x": input}
    names = []
    for position, weight in enumerate(weights):
        names.append(f"weight {position}")
        values[names[-1]] = weight
    steps = None
    if lengths is not None:
        values["lengths"] = lengths
        steps = b.node("Cast", "lengths", to=INT32)
    unbatched = len(input.shape) == 2
    batch_axis = 0 if decoded.batch_first else 1

    def batched(name: str, axis: int) -> str:
        return b.node("Unsqueeze", name, b.integers(axis)) if unbatched else name

    inputs = {}
    for name, value in zip(decoded.graph.equations.inputs, further, strict=True):
        values[name] = value
        size = number(decoded.graph.inputs[name].size, decoded.sizes(0))
        inputs[name] = batched(_as_steps(b, name, value, len(input.shape), size), batch_axis)
    tensors, before = state_tensors(decoded), {}
    for tensor, state in zip(tensors, states, strict=bool(states)):
        values[f"{tensor.name}_in"] = state
        before[tensor.name] = batched(f"{tensor.name}_in", 1)
    layer = LayerGraph(b, decoded, weights_by_place(decoded, names), lengths=steps)
    output, after = layer.run(batched("x", batch_axis), before, inputs)
    results = [(output, batch_axis), *((after[tensor.name], 1) for tensor in tensors)]
    return record(
        b,
        values,
        [
            b.node("Squeeze", name, b.integers(axis)) if unbatched else b.node("Identity", name)
            for name, axis in results
        ],
    )


def _check(input: Any, starts: Any) -> None:
    import onnx_ir as ir

    if starts is not None:
        raise BackendError(
            "starts= has no counterpart in ONNX; export the layer without it, and run the episodes "
            "as sequences of their own"
        )
    if input.dtype is not None and input.dtype != ir.DataType.FLOAT:
        raise BackendError(
            f"the layer computes in {input.dtype.name.lower()}; expected float32: call .float() on "
            "the module and the example first"
        )


def _as_steps(b: GraphBuilder, name: str, value: Any, axes: int, size: int) -> str:
    """A further input with its last axis, of the size that the cell reads."""
    import onnx_ir as ir

    if value.dtype == ir.DataType.BOOL:
        name = b.node("Cast", name, to=1)
    if len(value.shape) < axes:
        name = b.node("Unsqueeze", name, b.integers(-1))
    return b.node("Expand", name, b.integers(*[1] * (axes - 1), size))


def record(b: GraphBuilder, values: Mapping[str, Any], outputs: Sequence[str]) -> list[Any]:
    """Add a builder's nodes to the graph that torch's exporter is writing.

    Args:
        values: The exporter's values, by the names that the builder has for them.
        outputs: The names of the results, whose values are returned.
    """
    import onnx_ir as ir
    from onnx import helper
    from onnxscript import evaluator

    empty = [helper.make_empty_tensor_value_info(name) for name in values]
    results = [helper.make_empty_tensor_value_info(name) for name in outputs]
    written = helper.make_graph(b.nodes, "layer", empty, results, b.constants)
    graph = ir.serde.deserialize_graph(written)
    sources = [values[name] for name in values]
    ir.convenience.replace_all_uses_with(list(graph.inputs), sources)
    constants = []
    for value in graph.initializers.values():
        assert value.const_value is not None
        node = ir.Node("", "Constant", [], [ir.AttrTensor("value", value.const_value)])
        ir.convenience.replace_all_uses_with(value, node.outputs[0])
        constants.append(node)
    returned = list(graph.outputs)
    graph.outputs.clear()
    nodes = list(graph)
    graph.remove(nodes)
    for node in nodes:
        for output in node.outputs:
            output.name = None  # the exporter's graph has names of its own
    recorder: Any = evaluator.default()  # of torch's exporter, while it translates
    recorder.nodes.extend([*constants, *nodes])
    return returned
