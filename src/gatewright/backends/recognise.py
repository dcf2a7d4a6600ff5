"""Recognise a cell's equations as those of an LSTM, GRU or RNN that others have ready-made.

The graph decides, not the class: a user's cell with other names for the same gates is recognised
too. The equations are written as a text in which weights are holes, operands of sums and products
are sorted, and biases are left out; two cells with the same text differ in their weights only.

`NODES` are the cells that runtimes have as one node, `FUNCTIONS` those that torch has as one
function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, permutations

from gatewright.cells.gru import GRU
from gatewright.cells.lstm import LSTM, PeepholeLSTM
from gatewright.cells.rnn import ElmanRNN
from gatewright.graph import Graph, Term
from gatewright.graph.lowering import build_graph
from gatewright.language.cell import Cell

#: The weights of a text's holes, in its order: one path of a matrix or a vector, or those of the
#: biases of a sum, which may be none.
Holes = list[tuple[str, ...]]


#: Cells to recognise, each with its kind.
Known = tuple[tuple[str, Cell], ...]

_COMMON: Known = (
    ("RNN", ElmanRNN(nonlinearity="tanh")),
    ("RNN", ElmanRNN(nonlinearity="relu")),
    ("GRU", GRU(reset="after")),
    ("LSTM", LSTM()),
)
_PEEPHOLES: Known = tuple(
    ("LSTM", PeepholeLSTM(gates=gates, peephole="diagonal", output_reads="new"))
    for count in (1, 2, 3)
    for gates in combinations("ifo", count)
)
#: The cells that runtimes have as one node.
NODES: Known = (*_COMMON, ("GRU", GRU(reset="before")), *_PEEPHOLES)
#: The cells that torch has as one function; the size of the projection does not matter.
FUNCTIONS: Known = (*_COMMON, ("LSTM", LSTM(projection=1)))


@dataclass(frozen=True)
class Recognised:
    """A cell as one that others have.

    Attributes:
        kind: LSTM, GRU or RNN.
        states: The cell's own states in the order of that cell: the output first.
        paths: The paths of the cell's own weights by those of ours; biases may be none or several.
        resets_after: Of a GRU, whether the reset follows the product.
        nonlinearity: Of an RNN: tanh or relu.
    """

    kind: str
    states: tuple[str, ...]
    paths: Mapping[str, tuple[str, ...]]
    resets_after: bool = False
    nonlinearity: str = "tanh"


@lru_cache(maxsize=256)
def recognise(graph: Graph, known: Known = NODES) -> Recognised | None:
    """The cell among the known ones that has a cell's equations, or None."""
    if graph.equations.inputs or graph.noises:
        return None
    texts = _texts(known)
    for order in permutations(graph.states):
        text, holes = _signature(graph, order)
        if text not in texts:
            continue
        kind, cell, ours = texts[text]
        paths = _paths(ours, holes)
        if paths is None:
            continue
        resets_after = isinstance(cell, GRU) and cell.reset == "after"
        nonlinearity = cell.nonlinearity if isinstance(cell, ElmanRNN) else "tanh"
        return Recognised(kind, order, paths, resets_after, nonlinearity)
    return None


def _paths(places: Holes, holes: Holes) -> dict[str, tuple[str, ...]] | None:
    """The paths of a cell's own weights by those of a known cell with the same text, if they fit.

    They do not where the cell has a bias and the known one no place for it, or where the known
    one reads a value twice and the cell reads two: `(1 - z) * n + y * h` has the text of a GRU.
    """
    paths: dict[str, tuple[str, ...]] = {}
    for place, own in zip(places, holes, strict=True):
        if place and paths.setdefault(place[0], own) == own:
            continue
        if place or own:
            return None
    return paths


@lru_cache(maxsize=8)
def _texts(known: Known) -> dict[str, tuple[str, Cell, Holes]]:
    """The kind of each known cell, the cell and its holes, by its text."""
    texts: dict[str, tuple[str, Cell, Holes]] = {}
    for kind, cell in known:
        graph = build_graph(cell.equations)
        text, holes = _signature(graph, tuple(graph.states))
        texts[text] = kind, cell, holes
    return texts


def _signature(graph: Graph, states: tuple[str, ...]) -> tuple[str, Holes]:
    """The text of a cell's equations, with its states in this order, and the text's holes."""
    places = {graph.states[name]: f"s{position}" for position, name in enumerate(states)}
    written: dict[Term, tuple[str, Holes]] = {}

    def write(term: Term) -> tuple[str, Holes]:
        if term not in written:
            written[term] = _write(term, places, write)
        return written[term]

    parts = [write(graph.updates[name]) for name in states] + [write(graph.output)]
    return "; ".join(text for text, _ in parts), [hole for _, holes in parts for hole in holes]


def _write(
    term: Term, places: Mapping[Term, str], write: Callable[[Term], tuple[str, Holes]]
) -> tuple[str, Holes]:
    """The text of a term and its holes, from those of its operands."""
    if term in places:
        return places[term], []
    if term.op == "event":
        return "x", []
    if term.op == "constant":
        return repr(term.attributes["value"]), []
    if term.op == "weight":
        return f"w as {_size(term, places)}", [(term.attributes["weight"].path,)]
    if term.op == "product":
        # By itself it is a sum too, since the known cell may have a bias there.
        text, holes = _product(term, places, write)
        return f"add({text})", [(), *holes]
    if term.op == "add":
        operands = _flat(term, "add")
        added = [o for o in operands if o.op == "weight" and o.size == term.size]
        biases = tuple(operand.attributes["weight"].path for operand in added)
        text, holes = _sorted(
            [
                _product(operand, places, write) if operand.op == "product" else write(operand)
                for operand in operands
                if operand not in added
            ]
        )
        return f"add({text})", [biases, *holes]
    if term.op == "multiply":
        text, holes = _sorted([write(operand) for operand in _flat(term, "multiply")])
        return f"multiply({text})", holes
    parts = [write(operand) for operand in term.operands]
    details = "".join(f" {key}={value}" for key, value in sorted(term.attributes.items()))
    text = ", ".join(part for part, _ in parts)
    return f"{term.op}{details}({text})", [hole for _, holes in parts for hole in holes]


def _product(
    term: Term, places: Mapping[Term, str], write: Callable[[Term], tuple[str, Holes]]
) -> tuple[str, Holes]:
    """The text of a product and its holes."""
    source, holes = write(term.operands[0])
    path = term.operands[1].attributes["weight"].path
    # A matrix in blocks, or one that is computed from another, is no node's matrix.
    kind = "M" if term.attributes["heads"] == 1 else f"M{term.attributes['heads']}"
    if term.operands[1].attributes["weight"].antisymmetric:
        kind = "A"
    return f"{kind}({source}) as {_size(term, places)}", [(path,), *holes]


def _size(term: Term, places: Mapping[Term, str]) -> object:
    """The state that has a term's size: a single gate or weight for all units is another cell."""
    return next((name for state, name in places.items() if state.size == term.size), term.size)


def _flat(term: Term, op: str) -> list[Term]:
    """The operands of a chain of one operation."""
    if term.op != op:
        return [term]
    return [part for operand in term.operands for part in _flat(operand, op)]


def _sorted(parts: list[tuple[str, Holes]]) -> tuple[str, Holes]:
    """Parts whose order does not matter, joined."""
    parts = sorted(parts, key=lambda part: part[0])
    return ", ".join(text for text, _ in parts), [hole for _, holes in parts for hole in holes]
