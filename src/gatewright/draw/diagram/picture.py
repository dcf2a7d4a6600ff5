"""Turn a cell's equations into the figures of its diagram.

A learned product, the terms added to it and its nonlinearity become one box; every other
operation is a separate figure.
"""

from __future__ import annotations

from collections.abc import Mapping

from gatewright.draw.diagram.boxes import PRODUCTS, boxes, is_number
from gatewright.draw.diagram.figures import TERMINALS, Figure, Input, Kind, Picture
from gatewright.draw.diagram.joins import join
from gatewright.draw.diagram.memories import memories
from gatewright.draw.diagram.signs import number, of_operation, of_unary
from gatewright.language.equations import Equations
from gatewright.language.node import Node
from gatewright.language.operations import OPERATIONS

#: The cost of an operation on the line of a memory, which prefers cheap ones; 3 by default.
CARRIES = {"add": 1, "multiply": 1, "subtract": 1}
LETTERS = {"linear": "W", "diagonal": "p", "parameter": "w"}


def picture(equations: Equations, words: Mapping[str, str]) -> Picture:
    """The figures of a cell; `words` replace the names of the event and the states."""
    within = boxes(equations)
    hidden = {node for root, members in within.items() for node in members if node is not root}
    names = _names(equations)
    weights = _weights(equations, within)
    visible = _visible_numbers(equations)
    drawn: dict[Node, Figure] = {}
    for node in equations.nodes:
        if node in hidden or (is_number(node) and node not in visible):
            continue
        if node in within or node.op == "parameter":
            drawn[node] = _box(within.get(node, [node]), drawn, names, weights)
        else:
            drawn[node] = _figure(node, words, drawn, names.get(node, ()))
        drawn[node].node = node
    for figure in drawn.values():
        plain = figure.kind in TERMINALS or set(figure.names) <= {*equations.states, "output"}
        figure.label = "" if plain else figure.names[0]
    figures = join(list(drawn.values()))
    _group(figures)
    leaves = [node for node in equations.nodes if node.op == "state"]
    states = {node.attributes["name"]: drawn[node] for node in leaves}
    updates = {name: drawn[node] for name, node in equations.updates.items()}
    output = drawn[equations.output]
    state = next((words.get(name, name) for name, f in updates.items() if f is output), "")
    lines = memories(figures, states, updates)
    return Picture(
        tuple(figures), lines, states, updates, output, state or output.label or "output"
    )


def _figure(
    node: Node, words: Mapping[str, str], drawn: Mapping[Node, Figure], names: tuple[str, ...]
) -> Figure:
    if node.op in TERMINALS:
        name = node.attributes["name"]
        kind: Kind = "event" if node.op == "event" else "input" if node.op == "input" else "state"
        return Figure(kind, words.get(name, name), names=tuple(dict.fromkeys((name, *names))))
    if node.op == "noise":
        return Figure("source", f"noise {number(node.attributes['p'])}", names=names)
    if node.op == "constant":
        return Figure("source", number(node.attributes["value"]), names=names)
    texts = {operand: _inline(operand) for operand in node.operands if is_number(operand)}
    sign, marks = of_operation(node, texts)
    wires = [
        Input(drawn[operand], mark)
        for operand, mark in dict(zip(node.operands, marks, strict=True)).items()
        if operand not in texts
    ]
    row, boolean = OPERATIONS[node.op].kind == "row", OPERATIONS[node.op].boolean
    return Figure(
        "row" if row else "pointwise",
        sign,
        names=names,
        inputs=wires,
        carries=0 if row or boolean else CARRIES.get(node.op, 3),
        learns=any(operand.op == "parameter" for operand in texts),
    )


def _box(
    members: list[Node],
    drawn: Mapping[Node, Figure],
    names: Mapping[Node, tuple[str, ...]],
    weights: Mapping[Node, str],
) -> Figure:
    """A learned box. Its members begin with the node whose value it shows, the last operation."""
    root, members = members[0], members[::-1]
    inputs: dict[tuple[Figure, bool], Input] = {}
    for node in members:
        if node.op in PRODUCTS:
            diagonal = node.op == "diagonal"
            for operand, key in zip(node.operands, node.attributes["keys"], strict=True):
                wire = Input(drawn[operand], "", diagonal, "" if diagonal else key)
                inputs.setdefault((wire.source, diagonal), wire)
    # If there is a matrix, its letter also represents its bias, gain and peephole.
    letter = next(op for op in LETTERS if any(node.op == op for node in members))
    owned = dict.fromkeys(weights[node] for node in members if node.op == letter)
    rows = dict.fromkeys(of_unary(n.op) for n in members if OPERATIONS[n.op].kind == "row")
    signs = [] if OPERATIONS[root.op].arity != 1 or root.op == "negative" else [of_unary(root.op)]
    signs += [sign for sign in rows if sign not in signs]
    return Figure(
        "learned",
        " ".join(signs),
        f"{LETTERS[letter]}_{' '.join(owned)}",
        names.get(root, ()),
        tuple(name for node in members if node is not root for name in names.get(node, ())),
        list(inputs.values()),
        learns=True,
    )


def _weights(equations: Equations, within: Mapping[Node, list[Node]]) -> dict[Node, str]:
    """The printed name of each weight; boxes with the same name are distinguished by key."""
    printed: dict[Node, str] = {}
    read: dict[str, set[tuple[str, ...]]] = {}
    keys: dict[Node, tuple[str, ...]] = {}
    for members in within.values():
        products = [node for node in members if node.op == "linear"]
        for name in {node.attributes["name"] for node in products}:
            same = [node for node in products if node.attributes["name"] == name]
            all_keys = tuple(key for node in reversed(same) for key in node.attributes["keys"])
            keys |= dict.fromkeys(same, all_keys)
            read.setdefault(name, set()).add(all_keys)
    for node in equations.nodes:
        if node.op in LETTERS:
            name = node.attributes["name"]
            several = node in keys and len(read[name]) > 1
            printed[node] = f"{name},{','.join(keys[node])}" if several else name
    return printed


def _visible_numbers(equations: Equations) -> set[Node]:
    """Nodes that are drawn even if they are numbers: states, the output, sources of products."""
    read = [source for node in equations.nodes if node.op in PRODUCTS for source in node.operands]
    return {*equations.updates.values(), equations.output, *read}


def _inline(node: Node) -> str:
    if node.op == "constant":
        return number(node.attributes["value"])
    return f"w_{node.attributes['name']}"


def _names(equations: Equations) -> dict[Node, tuple[str, ...]]:
    """The names of each node; those of states last, since they are at the edge already.

    The states of an inner cell are not known here, but the name of a gate is longer.
    """
    names: dict[Node, tuple[str, ...]] = {}
    for name in sorted(
        equations.names,
        key=lambda name: (name in equations.states, -len(name) if "." in name else 0),
    ):
        node = equations.names[name]
        names[node] = (*names.get(node, ()), name)
    return names


def _group(figures: list[Figure]) -> None:
    """Set the inner cell that each figure belongs to: by its name, else by its readers."""
    readers: dict[Figure, set[str]] = {}
    for figure in reversed(figures):
        if figure.kind in TERMINALS:
            continue
        dotted = next((name for name in (*figure.names, figure.tag[2:]) if "." in name), "")
        around = readers.get(figure, set())
        figure.group = dotted.rpartition(".")[0] or (
            next(iter(around)) if len(around) == 1 and not figure.names else ""
        )
        for wire in figure.inputs:
            readers.setdefault(wire.source, set()).add(figure.group)
