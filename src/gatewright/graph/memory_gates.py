"""Memory gates: the gates that carry a state from step to step, and the biases that set them.

They are recognised by the terms of the graph, not by their names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from gatewright.graph.graph import Graph
from gatewright.graph.terms import Term, is_constant

#: Operations on which a value is carried unchanged or times a factor: the additive path. A
#: factor is an operand that does not come from a state by these operations only.
CARRIES = frozenset(
    {"add", "subtract", "negative", "multiply", "divide", "where", "expand", "state"}
)


@dataclass(frozen=True, slots=True)
class MemoryGate:
    """A gate that multiplies a state on its way to the next one.

    With b for the sum of its biases and all other inputs 0, the gate multiplies by

        open    sigmoid(b)             the forget gate
        shut    1 - share sigmoid(b)   the update gate of the other sign
        rate    exp(-exp(b))           a leak, over a step that takes a time of 1

    Attributes:
        state: The state that it multiplies.
        biases: The products and parameters that hold its biases.
        kind, share: See above.
        series: The number of gates that multiply the state one after the other in a step.
        factor: The term that multiplies the state; None where only its biases are known.
    """

    state: str
    biases: tuple[str, ...]
    kind: Literal["open", "shut", "rate"]
    share: float = 1.0
    series: int = 1
    factor: Term | None = field(default=None, repr=False, compare=False)


def memory_gates(graph: Graph) -> list[MemoryGate]:
    """List the gates that carry a cell's states, in the order of its states and lines.

    >>> from gatewright.cells import CELLS
    >>> memory_gates(CELLS["lstm"]().graph)
    [MemoryGate(state='c', biases=('f',), kind='open', share=1.0, series=1)]
    >>> memory_gates(CELLS["elman_rnn"]().graph)
    []
    """
    gates = []
    for state in graph.states:
        path = additive_path(graph, state)
        own = [
            (*gate, names, factor)
            for term in path[1:]
            if term.op == "multiply"
            for carried, factor in (term.operands, term.operands[::-1])
            if carried in path and (gate := _gate(factor)) and (names := biases(gate[2]))
        ]
        gates += [
            MemoryGate(state, names, kind, share, len(own), factor=factor)
            for kind, share, _, names, factor in own
        ]
    return gates


def additive_path(graph: Graph, state: str) -> list[Term]:
    """List the terms that carry a state before the step to the same state after it."""
    reached: set[Term] = set()
    waiting = [graph.updates[state]]
    while waiting:
        term = waiting.pop()
        if term.op in CARRIES and term not in reached:
            reached.add(term)
            waiting += term.operands
    path = [graph.states[state]]
    for term in graph.forward:
        if term in reached and any(operand in path for operand in term.operands):
            path.append(term)
    return path if graph.updates[state] in path else path[:1]


def biases(term: Term) -> tuple[str, ...]:
    """List the products and parameters that are added up to a term as its biases."""
    if term.op == "add":
        return tuple(dict.fromkeys(name for part in term.operands for name in biases(part)))
    if term.op == "weight" and term.attributes["weight"].role in ("bias", "parameter"):
        return (term.attributes["weight"].product,)
    return ()


def _gate(factor: Term) -> tuple[Literal["open", "shut", "rate"], float, Term] | None:
    """Recognise a factor as a gate: its kind, share and pre-activation, or None."""
    if factor.op == "sigmoid":
        return "open", 1.0, factor.operands[0]
    if factor.op == "subtract" and is_constant(factor.operands[0], 1.0):
        gate, share = factor.operands[1], 1.0
        if gate.op == "multiply" and gate.operands[0].op == "constant":
            share, gate = float(gate.operands[0].attributes["value"]), gate.operands[1]
        return ("shut", share, gate.operands[0]) if gate.op == "sigmoid" else None
    if factor.op == "exp":
        exponent = factor.operands[0]
        for term in (exponent, *exponent.operands):
            if term.op == "negative" and term.operands[0].op == "exp":
                return "rate", 1.0, term.operands[0].operands[0]
    return None
