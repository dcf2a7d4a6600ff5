"""The gates that keep a memory: which biases set them, whatever they are called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gatewright.graph.graph import Graph
from gatewright.graph.terms import Term, is_constant

#: Operations on which a value is carried as it is, or times a factor: the additive path.
#: A factor is what does not come from a state by these operations alone.
CARRIES = frozenset(
    {"add", "subtract", "negative", "multiply", "divide", "where", "expand", "state"}
)


@dataclass(frozen=True, slots=True)
class Keeper:
    """A gate whose value a state is multiplied with on its way to the next one.

    With b for the sum of its biases and nothing else at its input, what it keeps is

        open    sigmoid(b)             the forget gate
        shut    1 - share sigmoid(b)   the update gate of the other sign
        rate    exp(-exp(b))           a leak, over a step that takes a time of 1

    Attributes:
        state: The state that it keeps.
        biases: The products and parameters that hold its biases.
        kind, share: See above.
        series: How many gates the state passes, one after the other, in a step.
    """

    state: str
    biases: tuple[str, ...]
    kind: Literal["open", "shut", "rate"]
    share: float = 1.0
    series: int = 1


def keepers(graph: Graph) -> list[Keeper]:
    """The gates that keep a cell's states, in the order of its states and lines.

    >>> from gatewright.cells import CELLS
    >>> keepers(CELLS["lstm"]().graph)
    [Keeper(state='c', biases=('f',), kind='open', share=1.0, series=1)]
    >>> keepers(CELLS["elman_rnn"]().graph)
    []
    """
    found = []
    for state in graph.states:
        path = kept(graph, state)
        own = [
            (*gate, names)
            for term in path[1:]
            if term.op == "multiply"
            for carried, factor in (term.operands, term.operands[::-1])
            if carried in path and (gate := _gate(factor)) and (names := biases(gate[2]))
        ]
        found += [Keeper(state, names, kind, share, len(own)) for kind, share, _, names in own]
    return found


def kept(graph: Graph, state: str) -> list[Term]:
    """The additive path from a state before the step to the same one after it."""
    reached: set[Term] = set()
    waiting = [graph.updates[state]]
    while waiting:
        term = waiting.pop()
        if term.op in CARRIES and term not in reached:
            reached.add(term)
            waiting += term.operands
    path = [graph.states[state]]
    for term in graph.forward:
        if term in reached and any(one in path for one in term.operands):
            path.append(term)
    return path if graph.updates[state] in path else path[:1]


def biases(term: Term) -> tuple[str, ...]:
    """The products and parameters that are added up to a term as its biases."""
    if term.op == "add":
        return tuple(dict.fromkeys(name for one in term.operands for name in biases(one)))
    if term.op == "weight" and term.attributes["weight"].role in ("bias", "parameter"):
        return (term.attributes["weight"].product,)
    return ()


def _gate(factor: Term) -> tuple[Literal["open", "shut", "rate"], float, Term] | None:
    """The kind, share and preactivation of the gate that a factor is; None if it is none."""
    if factor.op == "sigmoid":
        return "open", 1.0, factor.operands[0]
    if factor.op == "subtract" and is_constant(factor.operands[0], 1.0):
        gate, share = factor.operands[1], 1.0
        if gate.op == "multiply" and gate.operands[0].op == "constant":
            share, gate = float(gate.operands[0].attributes["value"]), gate.operands[1]
        return ("shut", share, gate.operands[0]) if gate.op == "sigmoid" else None
    if factor.op == "exp":
        within = factor.operands[0]
        for one in (within, *within.operands):
            if one.op == "negative" and one.operands[0].op == "exp":
                return "rate", 1.0, one.operands[0].operands[0]
    return None
