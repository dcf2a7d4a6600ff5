"""Picture: a cell's equations as the figures of its diagram.

A learned product, what is added to it and the nonlinearity on top become one box; every
other operation is a figure of its own.
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

#: How much an operation bends a memory that passes through it; what is not named, more.
CARRIES = {"add": 1, "multiply": 1, "subtract": 1}
LETTERS = {"linear": "W", "diagonal": "p", "parameter": "w"}


def picture(equations: Equations, words: Mapping[str, str]) -> Picture:
    """The figures of a cell; `words` are other names for the event and the states."""
    within = boxes(equations)
    hidden = {one for root, members in within.items() for one in members if one is not root}
    names = _names(equations)
    weights = _weights(equations, within)
    asked = _asked(equations)
    made: dict[Node, Figure] = {}
    for node in equations.nodes:
        if node in hidden or (is_number(node) and node not in asked):
            continue
        if node in within or node.op == "parameter":
            made[node] = _box(within.get(node, [node]), made, names, weights)
        else:
            made[node] = _figure(node, words, made, names.get(node, ()))
    for figure in made.values():
        plain = figure.kind in TERMINALS or set(figure.names) <= {*equations.states, "output"}
        figure.label = "" if plain else figure.names[0]
    figures = join(list(made.values()))
    _group(figures)
    states = {node.attributes["name"]: made[node] for node in equations.nodes if node.op == "state"}
    updates = {name: made[node] for name, node in equations.updates.items()}
    output = made[equations.output]
    state = next((words.get(name, name) for name, one in updates.items() if one is output), "")
    lines = memories(figures, states, updates)
    return Picture(
        tuple(figures), lines, states, updates, output, state or output.label or "output"
    )


def _figure(
    node: Node, words: Mapping[str, str], made: Mapping[Node, Figure], names: tuple[str, ...]
) -> Figure:
    if node.op in TERMINALS:
        name = node.attributes["name"]
        kind: Kind = "event" if node.op == "event" else "input" if node.op == "input" else "state"
        return Figure(kind, words.get(name, name), names=tuple(dict.fromkeys((name, *names))))
    if node.op == "noise":
        return Figure("source", f"noise {number(node.attributes['p'])}", names=names)
    if node.op == "constant":
        return Figure("source", number(node.attributes["value"]), names=names)
    texts = {one: _inline(one) for one in node.operands if is_number(one)}
    sign, marks = of_operation(node, texts)
    wires = [
        Input(made[one], mark)
        for one, mark in dict(zip(node.operands, marks, strict=True)).items()
        if one not in texts
    ]
    row, boolean = OPERATIONS[node.op].kind == "row", OPERATIONS[node.op].boolean
    return Figure(
        "row" if row else "pointwise",
        sign,
        names=names,
        inputs=wires,
        carries=0 if row or boolean else CARRIES.get(node.op, 3),
        learns=any(one.op == "parameter" for one in texts),
    )


def _box(
    members: list[Node],
    made: Mapping[Node, Figure],
    names: Mapping[Node, tuple[str, ...]],
    weights: Mapping[Node, str],
) -> Figure:
    """One learned box; `members` begins with what it stands for and goes back."""
    root, members = members[0], members[::-1]
    inputs: dict[tuple[Figure, bool], Input] = {}
    for node in members:
        if node.op in PRODUCTS:
            diagonal = node.op == "diagonal"
            for one, key in zip(node.operands, node.attributes["keys"], strict=True):
                wire = Input(made[one], "", diagonal, "" if diagonal else key)
                inputs.setdefault((wire.source, diagonal), wire)
    # A matrix speaks for the box where there is one: its bias, gain and peephole go with it.
    letter = next(op for op in LETTERS if any(one.op == op for one in members))
    owned = dict.fromkeys(weights[one] for one in members if one.op == letter)
    rows = dict.fromkeys(of_unary(one.op) for one in members if OPERATIONS[one.op].kind == "row")
    signs = [] if OPERATIONS[root.op].arity != 1 or root.op == "negative" else [of_unary(root.op)]
    signs += [one for one in rows if one not in signs]
    return Figure(
        "learned",
        " ".join(signs),
        f"{LETTERS[letter]}_{' '.join(owned)}",
        names.get(root, ()),
        tuple(name for one in members if one is not root for name in names.get(one, ())),
        list(inputs.values()),
        learns=True,
    )


def _weights(equations: Equations, within: Mapping[Node, list[Node]]) -> dict[Node, str]:
    """What each owner of weights is called; boxes that share a name are told apart by key."""
    found: dict[Node, str] = {}
    read: dict[str, set[tuple[str, ...]]] = {}
    keys: dict[Node, tuple[str, ...]] = {}
    for members in within.values():
        for name in {one.attributes["name"] for one in members if one.op == "linear"}:
            mine = [one for one in members if one.op == "linear" and one.attributes["name"] == name]
            together = tuple(key for one in reversed(mine) for key in one.attributes["keys"])
            keys |= dict.fromkeys(mine, together)
            read.setdefault(name, set()).add(together)
    for node in equations.nodes:
        if node.op in LETTERS:
            name = node.attributes["name"]
            several = node in keys and len(read[name]) > 1
            found[node] = f"{name},{','.join(keys[node])}" if several else name
    return found


def _asked(equations: Equations) -> set[Node]:
    """Nodes that must be drawn even if they are numbers: a state or a product reads them."""
    read = [one for node in equations.nodes if node.op in PRODUCTS for one in node.operands]
    return {*equations.updates.values(), equations.output, *read}


def _inline(node: Node) -> str:
    if node.op == "constant":
        return number(node.attributes["value"])
    return f"w_{node.attributes['name']}"


def _names(equations: Equations) -> dict[Node, tuple[str, ...]]:
    """The names of each node; those of states last, since they stand at the edge already.

    Within a cell's field the states' names are not known, but a gate's is the longer.
    """
    found: dict[Node, tuple[str, ...]] = {}
    for name in sorted(
        equations.names,
        key=lambda name: (name in equations.states, -len(name) if "." in name else 0),
    ):
        node = equations.names[name]
        found[node] = (*found.get(node, ()), name)
    return found


def _group(figures: list[Figure]) -> None:
    """Say which cell within the cell each figure belongs to: by name, else by its readers."""
    readers: dict[Figure, set[str]] = {}
    for figure in reversed(figures):
        if figure.kind in TERMINALS:
            continue
        named = next((one for one in (*figure.names, figure.tag[2:]) if "." in one), "")
        around = readers.get(figure, set())
        figure.group = named.rpartition(".")[0] or (
            next(iter(around)) if len(around) == 1 and not figure.names else ""
        )
        for one in figure.inputs:
            readers.setdefault(one.source, set()).add(figure.group)
