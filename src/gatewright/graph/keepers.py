"""The gates that keep a memory: which products they are, whatever they are called."""

from __future__ import annotations

from gatewright.graph.graph import Graph
from gatewright.graph.terms import Term, is_constant

#: Operations on which a value is carried as it is, or times a factor: the additive path.
#: A factor is what does not come from a state by these operations alone.
CARRIES = frozenset(
    {"add", "subtract", "negative", "multiply", "divide", "where", "expand", "state"}
)


def keepers(graph: Graph) -> dict[str, int]:
    """The products whose sigmoid a state is multiplied with on its way to the next one.

    1 where the gate keeps when it is open, as in `f * c`; -1 where it keeps when it is shut,
    as in `(1 - z) * h`.

    >>> from gatewright.cells import CELLS
    >>> keepers(CELLS["lstm"]().graph), keepers(CELLS["elman_rnn"]().graph)
    ({'f': 1}, {})
    """
    found: dict[str, int] = {}
    carried = _carried(graph)
    for term in graph.forward:
        if term.op != "multiply" or term not in carried:
            continue
        for state, factor in (term.operands, term.operands[::-1]):
            if state.op != "state":
                continue
            sign = 1
            if factor.op == "subtract" and is_constant(factor.operands[0], 1.0):
                sign, factor = -1, factor.operands[1]
            if factor.op == "sigmoid":
                for product in _added(factor.operands[0]):
                    found.setdefault(product, sign)
    return found


def _carried(graph: Graph) -> set[Term]:
    """The terms that reach the next states by the additive path alone."""
    found: set[Term] = set()
    waiting = list(graph.updates.values())
    while waiting:
        term = waiting.pop()
        if term.op in CARRIES and term not in found:
            found.add(term)
            waiting += term.operands
    return found


def _added(term: Term) -> list[str]:
    """The names of the products that a sum is made of."""
    if term.op == "add":
        return [name for one in term.operands for name in _added(one)]
    if term.op == "product":
        return [term.operands[1].attributes["weight"].product]
    return []
