"""Compute the nodes of an ONNX model that read only weights, before it is written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

#: Operators that make no weight from weights: they spread one over a larger tensor.
SPREADING = {"Expand", "Tile", "ConstantOfShape", "Range"}


def fold_weights(model: Any) -> None:
    """Compute every node whose inputs are all constant, in place, and drop unused weights.

    Gates that are slices of one matrix in the module are slices of a weight in its graph, too.
    """
    from onnx import helper, numpy_helper
    from onnx.reference import ReferenceEvaluator

    graph = model.graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    constant = {"", *known}  # an input that is left out is named ""
    folded, rest = [], []
    for node in graph.node:
        has_graph = any(attribute.HasField("g") for attribute in node.attribute)
        if constant.issuperset(node.input) and not has_graph and node.op_type not in SPREADING:
            folded.append(node)
            constant.update(node.output)
        else:
            rest.append(node)
    computed = {name for node in folded for name in node.output}
    read = [name for name in names_read(graph, rest) if name in computed]
    if folded:
        part = helper.make_graph(
            folded,
            "weights",
            [],
            [helper.make_empty_tensor_value_info(name) for name in read],
            list(graph.initializer),
        )
        evaluated = ReferenceEvaluator(
            helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)
        ).run(read, {})
        for name, array in zip(read, evaluated, strict=True):
            known[name] = numpy_helper.from_array(array, name)
    used = [known[name] for name in names_read(graph, rest) if name in known]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(rest)
    graph.initializer.extend(used)


def names_read(graph: Any, nodes: Iterable[Any]) -> list[str]:
    """The names of the values that nodes, or the graph's outputs, read, each once."""
    names: dict[str, None] = {}
    for node in nodes:
        names.update(dict.fromkeys(node.input))
        for attribute in node.attribute:
            if attribute.HasField("g"):
                names.update(dict.fromkeys(names_read(attribute.g, attribute.g.node)))
    names.update(dict.fromkeys(value.name for value in graph.output))
    return list(names)
