"""A cell and its layers as the page reads them: formulas, diagram, and the terms of a step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch

from gatewright.backends.step import starts
from gatewright.draw.diagram.cell_diagram import page_svg
from gatewright.errors import TooLarge
from gatewright.graph import Graph, Term
from gatewright.graph.memory_gates import additive_path, memory_gates
from gatewright.graph.sizes import number
from gatewright.language.printing import formulas
from gatewright.layers.recurrent import Recurrent
from gatewright.layers.weights.stored_names import Place, direction
from gatewright.page.blob import Blob
from gatewright.probes.gates import factors

#: Both namings of a cell: the names of its step, and the lesson's event, STM and LTM.
NAMINGS = ("code", "lesson")


def cell_part(graph: Graph, id: str) -> dict[str, Any]:
    """A cell's formulas and diagrams.

    Args:
        graph: Of the cell.
        id: The beginning of the ids in its diagrams; unique on the page.
    """
    equations = graph.equations
    positions = {node: k for k, node in enumerate(equations.nodes)}
    written: dict[str, Any] = {}
    diagrams: dict[str, str] = {}
    for naming in NAMINGS:
        written[naming] = [
            {
                "name": formula.name,
                "node": positions[formula.node],
                "parts": [
                    {
                        "text": part.text,
                        "node": None if part.node is None else positions[part.node],
                        "weight": part.weight,
                    }
                    for part in formula.right
                ],
            }
            for formula in formulas(equations, naming)
        ]
        try:
            diagrams[naming] = page_svg(equations, naming, f"{id}-{naming}")
        except TooLarge:
            diagrams[naming] = ""  # its formulas can still be read
    return {
        "name": equations.name,
        "about": equations.about,
        "formulas": written,
        "diagrams": diagrams,
        "gates": factors(graph),
    }


def layer_parts(layers: Recurrent, blob: Blob, prefix: str = "") -> Iterator[dict[str, Any]]:
    """Yield each layer and direction of recurrent layers, in the order in which they run.

    Args:
        layers: In the state in which it is used, without the noise of training.
        blob: Takes the weights.
        prefix: The beginning of the layers' names, where several networks are in one model.
    """
    for place in layers.places:
        yield layer_part(layers, place, blob, prefix)


def layer_part(layers: Recurrent, place: Place, blob: Blob, prefix: str) -> dict[str, Any]:
    """One layer in one direction: its terms with their sizes in numbers, and their names."""
    position, reverse = place
    graph, sizes = layers.graph, layers.sizes(position)
    name = f"{prefix}l{position}"
    if layers.bidirectional:
        name = f"{name}.{direction(reverse)}"
    weights = layers.store(position, reverse).tensors()
    paths = {path: blob.add(f"{name}.{path}", weights[path]) for path in graph.weights}
    first = starts(graph, sizes, weights, 1, next(iter(weights.values()), torch.zeros(())))
    return {
        "name": name,
        "reverse": reverse,
        "input_size": sizes["input"],
        "hidden_size": sizes["hidden"],
        "terms": [term_part(term, sizes, paths) for term in graph.forward],
        "named": {value: term.index for value, term in graph.values.items()},
        "nodes": [graph.lowered[node].index for node in graph.equations.nodes],
        "inputs": {value: term.index for value, term in graph.inputs.items()},
        "event": graph.equations.event,
        "states": {
            state: {
                "term": term.index,
                "size": number(term.size, sizes),
                "start": blob.add(f"{name}.start.{state}", first[state][0]),
                "update": graph.updates[state].index,
                # The terms that carry the state to its next value, without gates and products.
                "carry": [carrying.index for carrying in additive_path(graph, state)[1:]],
            }
            for state, term in graph.states.items()
        },
        "memory_gates": [
            {"state": gate.state, "term": gate.factor.index}
            for gate in memory_gates(graph)
            if gate.factor is not None
        ],
        "output": graph.output.index,
    }


def term_part(term: Term, sizes: dict[str, int], paths: dict[str, str]) -> dict[str, Any]:
    """One term: its operation, operands and size, and what its operation needs besides."""
    part: dict[str, Any] = {
        "op": term.op,
        "operands": [operand.index for operand in term.operands],
        "size": number(term.size, sizes),
    }
    attributes = term.attributes
    match term.op:
        case "constant":
            value = float(attributes["value"])
            part["value"] = value if math.isfinite(value) else str(value)  # JSON has no infinity
        case "inverse_size":  # known as soon as the sizes are
            share = (attributes.get("heads") or 1) / number(attributes["of"], sizes)
            part |= {"op": "constant", "value": share}
        case "noise":  # outside of training a noise is its expectation
            part |= {"op": "constant", "value": float(attributes["p"])}
        case "weight":
            part["weight"] = paths[attributes["weight"].path]
        case "event" | "input" | "state":
            part["name"] = attributes["name"]
        case "product" | "sum" | "largest" | "expand":
            part["heads"] = int(attributes.get("heads") or 1)
    return part
