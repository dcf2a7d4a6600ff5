"""The values that the backward pass reads from the forward one, and those it recomputes.

Leaves are available anyway: inputs, weights, and the previous states, which the forward run
stores as its result. Products, reductions and functions that cost more than a trip to memory
and back (tanh, exp, a division) are saved. A cheap operation on available values is computed
again, which costs less than to write and read its result.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from gatewright.graph.terms import COMPARISONS, Term

LEAVES = frozenset({"event", "input", "state", "noise", "weight", "constant", "inverse_size"})
CHEAP = COMPARISONS | {
    "add",
    "subtract",
    "multiply",
    "negative",
    "abs",
    "sign",
    "relu",
    "maximum",
    "minimum",
    "where",
    "expand",
    "stop_gradient",
}
#: Cheap operations in a row that still cost less than one value written and read.
MOST_RECOMPUTED = 4


def split_needed(
    reads: Iterable[Term], available: Set[Term] = frozenset()
) -> tuple[list[Term], list[Term]]:
    """Divide the step's terms that the adjoint reads into saved and recomputed ones.

    Leaves and terms that are `available` anyway are neither. Each recomputed term comes after
    its operands, and all of these are leaves, available, saved, or recomputed themselves.
    """
    reads = (term for term in reads if term.op not in LEAVES and term not in available)
    needed = _in_order(reads)
    saved = {term for term in needed if term.op not in CHEAP}
    recomputed: dict[Term, None] = {}
    for term in needed:
        if term not in saved:
            steps = path(term, saved | set(recomputed) | available)
            if steps is None:
                saved.add(term)
            else:
                recomputed |= dict.fromkeys(steps)
    return _in_order(saved), _in_order(recomputed)


def _in_order(terms: Iterable[Term]) -> list[Term]:
    return sorted(terms, key=lambda term: term.index)


def path(term: Term, available: Set[Term], most: int = MOST_RECOMPUTED) -> list[Term] | None:
    """List the cheap operations from available values to a term; None if it takes more."""
    if term in available or term.op in LEAVES:
        return []
    if term.op not in CHEAP or most == 0:
        return None
    steps: dict[Term, None] = {}
    for operand in term.operands:
        inside = path(operand, available, most - 1)
        if inside is None:
            return None
        steps |= dict.fromkeys(inside)
    return [*steps, term] if len(steps) < most else None
