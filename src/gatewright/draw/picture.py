"""Picture: a cell's equations as the figures of a diagram, before any has a place.

A learned product, what is added to it and the nonlinearity on top become one box; every
other operation is a figure of its own. Sources that several boxes read together are joined
once, as the lesson writes it: [h, x].
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from gatewright.draw.signs import number, of_operation, of_unary
from gatewright.language.equations import Equations
from gatewright.language.node import Node
from gatewright.language.operations import OPERATIONS

Kind = Literal["event", "input", "state", "learned", "pointwise", "row", "source", "join"]
#: Figures that a value enters the cell through.
TERMINALS = ("event", "input", "state")
PRODUCTS = ("linear", "diagonal")


@dataclass(frozen=True)
class Input:
    """A wire's end: what it brings, the letter it carries where order matters, and whether
    it is a peephole (a vector of weights instead of a matrix)."""

    source: Figure
    mark: str = ""
    diagonal: bool = False


@dataclass(eq=False)
class Figure:
    """One thing that is drawn.

    Attributes:
        sign: What stands on it, and `tag` the weights that it owns, as in W_f.
        names: The values' names that it carries; `inside` those of values drawn within it.
        line: The memory on whose line it stands, by its index in `Picture.lines`.
        learns: Whether it owns weights.
        plain: Whether its only names are those of states.
    """

    kind: Kind
    sign: str
    tag: str = ""
    names: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()
    inputs: list[Input] = field(default_factory=list)
    line: int | None = None
    learns: bool = False
    plain: bool = False

    @property
    def label(self) -> str:
        """The name that stands on the wire that leaves it; a state's stands at the edge."""
        return "" if self.kind in TERMINALS or self.plain else next(iter(self.names), "")


@dataclass(frozen=True)
class Picture:
    """All figures, each after those it reads.

    Attributes:
        lines: Each memory: its state, and the figures that it passes on its way.
        updates: Each state after the step; `output` likewise.
    """

    figures: tuple[Figure, ...]
    lines: Mapping[str, tuple[Figure, ...]]
    states: Mapping[str, Figure]
    updates: Mapping[str, Figure]
    output: Figure


def picture(equations: Equations, words: Mapping[str, str]) -> Picture:
    """The figures of a cell; `words` are other names for the event and the states."""
    inside = _inside(equations)
    labels = _labels(equations)
    asked = _asked(equations)
    boxes = {root: [root] for root in inside.values()}
    for node, root in inside.items():
        boxes[root].append(node)
    shared = Counter(node.attributes["name"] for node in equations.nodes if node.op == "linear")
    made: dict[Node, Figure] = {}
    for node in equations.nodes:
        if node in inside or (_is_number(node) and node not in asked):
            continue
        if node in boxes or node.op in (*PRODUCTS, "parameter"):
            made[node] = _box(node, boxes.get(node, [node]), made, labels, shared)
        else:
            made[node] = _figure(node, words, made, labels.get(node, ()))
    for figure in made.values():
        figure.plain = all(name in equations.states for name in figure.names)
    figures = _join(list(made.values()))
    states = {node.attributes["name"]: made[node] for node in equations.nodes if node.op == "state"}
    updates = {name: made[node] for name, node in equations.updates.items()}
    lines = _lines(figures, states, updates)
    return Picture(tuple(figures), lines, states, updates, made[equations.output])


def _figure(
    node: Node, words: Mapping[str, str], made: Mapping[Node, Figure], names: tuple[str, ...]
) -> Figure:
    if node.op in TERMINALS:
        name = node.attributes["name"]
        kind: Kind = "event" if node.op == "event" else "input" if node.op == "input" else "state"
        return Figure(kind, words.get(name, name), names=(name,))
    if node.op == "noise":
        return Figure("source", f"noise {number(node.attributes['p'])}", names=names)
    if node.op == "constant":
        return Figure("source", number(node.attributes["value"]), names=names)
    texts = {one: _inline(one) for one in node.operands if _is_number(one)}
    sign, marks = of_operation(node, texts)
    wires = [
        Input(made[one], mark)
        for one, mark in dict(zip(node.operands, marks, strict=True)).items()
        if one not in texts
    ]
    kind = "row" if OPERATIONS[node.op].kind == "row" else "pointwise"
    learns = any(one.op == "parameter" for one in texts)
    return Figure(kind, sign, names=names, inputs=wires, learns=learns)


def _box(
    root: Node,
    members: list[Node],
    made: Mapping[Node, Figure],
    labels: Mapping[Node, tuple[str, ...]],
    shared: Counter[str],
) -> Figure:
    # `members` begins with the root and goes back; wires and weights are told forwards.
    members = members[::-1]
    inputs: dict[tuple[Figure, bool], Input] = {}
    for node in members:
        if node.op in PRODUCTS:
            for one in node.operands:
                wire = Input(made[one], diagonal=node.op == "diagonal")
                inputs.setdefault((wire.source, wire.diagonal), wire)
    letter = {"linear": "W", "diagonal": "p", "parameter": "w"}
    owners = [node for op in letter for node in members if node.op == op]
    owned = dict.fromkeys(_weights(node, shared) for node in owners)
    tag = f"{letter[owners[0].op]}_{' '.join(owned)}"
    rows = dict.fromkeys(of_unary(one.op) for one in members if OPERATIONS[one.op].kind == "row")
    bare = OPERATIONS[root.op].arity != 1 or root.op == "negative"
    rows.pop(of_unary(root.op), None) if not bare else None
    sign = "" if bare else of_unary(root.op)
    sign = " ".join([sign, *rows]).strip()
    hidden = tuple(name for one in members if one is not root for name in labels.get(one, ()))
    wires = list(inputs.values())
    return Figure("learned", sign, tag, labels.get(root, ()), hidden, wires, learns=True)


def _weights(node: Node, shared: Counter[str]) -> str:
    """A product's name; where several have one name, the key tells them apart."""
    name: str = node.attributes["name"]
    if node.op == "linear" and shared[name] > 1:
        return f"{name},{','.join(node.attributes['keys'])}"
    return name


def _inside(equations: Equations) -> dict[Node, Node]:
    """Each node that is drawn within a box, and the node that the box stands for."""
    uses = Counter(one for node in equations.nodes for one in node.operands)
    uses.update([*equations.updates.values(), equations.output])
    affine: set[Node] = set()

    def fits(node: Node) -> bool:
        return node in affine and (_is_number(node) or uses[node] == 1)

    for node in equations.nodes:
        operands = node.operands
        if node.op in PRODUCTS or _is_number(node):
            affine.add(node)
        elif operands and all(fits(one) for one in operands):
            plain = node.op in ("add", "subtract", "negative")
            scaled = node.op == "multiply" and any(_is_number(one) for one in operands)
            scaled = scaled or (node.op == "divide" and _is_number(operands[1]))
            if plain or scaled or OPERATIONS[node.op].kind == "row":
                affine.add(node)
    found: dict[Node, Node] = {}
    for node in reversed(equations.nodes):
        squashed = OPERATIONS[node.op].kind == "pointwise" and OPERATIONS[node.op].arity == 1
        squashed = squashed and node.op not in ("stop_gradient", "logical_not")
        if node in found or not node.operands or not (node in affine or squashed):
            continue
        parts: list[Node] = []
        waiting = [] if node.op in PRODUCTS else list(node.operands)
        if not all(fits(one) for one in waiting):
            continue
        while waiting:
            parts.append(waiting.pop())
            if parts[-1].op not in PRODUCTS:
                waiting.extend(parts[-1].operands)
        if any(one.op in (*PRODUCTS, "parameter") for one in parts):
            found |= dict.fromkeys(parts, node)
    return found


def _is_number(node: Node) -> bool:
    return node.op in ("constant", "parameter")


def _asked(equations: Equations) -> set[Node]:
    """Nodes that must be drawn even if they are numbers: a state or a product reads them."""
    read = [one for node in equations.nodes if node.op in PRODUCTS for one in node.operands]
    return {*equations.updates.values(), equations.output, *read}


def _inline(node: Node) -> str:
    if node.op == "constant":
        return number(node.attributes["value"])
    return f"w_{node.attributes['name']}"


def _labels(equations: Equations) -> dict[Node, tuple[str, ...]]:
    """The names of each node, a state's own name last: it stands at the edge already."""
    found: dict[Node, tuple[str, ...]] = {}
    ordered = sorted(equations.names, key=lambda name: name in equations.states)
    for name in ordered:
        node = equations.names[name]
        found[node] = (*found.get(node, ()), name)
    return found


def _join(figures: list[Figure]) -> list[Figure]:
    """Sources that two boxes or more read together become one figure, largest gain first."""
    while True:
        reads = {
            box: [one.source for one in box.inputs if not one.diagonal]
            for box in figures
            if box.kind == "learned"
        }
        gains: Counter[tuple[Figure, ...]] = Counter()
        for sources in _common(list(reads.values())):
            readers = [box for box, read in reads.items() if set(sources) <= set(read)]
            if len(readers) > 1:
                gains[sources] = len(readers) * (len(sources) - 1)
        if not gains:
            return figures
        best = gains.most_common(1)[0][0]
        joined = Figure("join", f"[{', '.join(_called(one) for one in best)}]")
        joined.inputs = [Input(one) for one in best]
        for box, read in reads.items():
            if set(best) <= set(read):
                rest = [one for one in box.inputs if one.diagonal or one.source not in best]
                box.inputs = [Input(joined), *rest]
        after = max(figures.index(one) for one in best)
        figures.insert(after + 1, joined)


def _common(reads: list[list[Figure]]) -> Iterator[tuple[Figure, ...]]:
    for index, one in enumerate(reads):
        for other in reads[index + 1 :]:
            shared = tuple(source for source in one if source in other)
            if len(shared) > 1:
                yield shared


def _called(figure: Figure) -> str:
    if figure.kind == "join":
        return figure.sign.strip("[]")
    return figure.sign if figure.kind in TERMINALS else figure.label or "·"


def _lines(
    figures: list[Figure], states: Mapping[str, Figure], updates: Mapping[str, Figure]
) -> dict[str, tuple[Figure, ...]]:
    """The memories: states that reach themselves through pointwise operations alone."""
    found: dict[str, tuple[Figure, ...]] = {}
    for name, state in states.items():
        best: dict[Figure, tuple[int, tuple[Figure, ...]]] = {state: (0, ())}
        for figure in figures:
            if figure.kind != "pointwise" or figure.line is not None:
                continue
            ways = [best[one.source] for one in figure.inputs if one.source in best]
            if ways:
                length, way = min(ways, key=lambda one: one[0])
                # A sum or product carries a memory on; anything else bends it.
                step = 1 if figure.sign in ("+", "×") else 3
                best[figure] = (length + step, (*way, figure))
        if updates[name] in best:
            way = best[updates[name]][1]
            for figure in (state, *way):
                figure.line = len(found)
            found[name] = way
    return found
