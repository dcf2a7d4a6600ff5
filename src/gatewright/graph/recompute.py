"""What the backward pass takes from the forward one, and what it computes again.

Leaves are there anyway: inputs, weights, and the previous states, which the forward run
stores as its result. Products, reductions and functions that cost more than the memory's
way there and back (tanh, exp, a division) are saved. A cheap operation on what is there
already is computed again, which is less than to write and read it.
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
#: Cheap operations in a row that are still less than one value written and read.
MOST_RECOMPUTED = 4


def split_needed(
    reads: Iterable[Term], there: Set[Term] = frozenset()
) -> tuple[list[Term], list[Term]]:
    """Divide the step's terms that the adjoint reads into saved and recomputed ones.

    What is `there` anyway is neither, as leaves are.

    Each recomputed term comes after its operands, and all of them are leaves, saved, or
    recomputed themselves.
    """
    reads = (one for one in reads if one.op not in LEAVES and one not in there)
    needed = sorted(reads, key=lambda one: one.index)
    saved = {one for one in needed if one.op not in CHEAP}
    recomputed: dict[Term, None] = {}
    for one in needed:
        if one not in saved:
            steps = path(one, saved | set(recomputed) | there)
            if steps is None:
                saved.add(one)
            else:
                recomputed |= dict.fromkeys(steps)
    return sorted(saved, key=lambda one: one.index), sorted(recomputed, key=lambda one: one.index)


def path(term: Term, there: Set[Term], most: int = MOST_RECOMPUTED) -> list[Term] | None:
    """The cheap operations that lead to a term from what is there; None if it takes more."""
    if term in there or term.op in LEAVES:
        return []
    if term.op not in CHEAP or most == 0:
        return None
    steps: dict[Term, None] = {}
    for one in term.operands:
        inside = path(one, there, most - 1)
        if inside is None:
            return None
        steps |= dict.fromkeys(inside)
    return [*steps, term] if len(steps) < most else None
