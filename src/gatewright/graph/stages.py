"""Stages: when in a run each term can be computed.

    0  from weights alone: once a run
    1  from the inputs of the steps: for all steps at once, before the loop
    2  from the previous state: the first products of the loop and what follows from them
    k  from a product, or a reduction over a row, of values of stage k - 1 of this step

A value outside every next state (`after`) can leave the loop at its other end.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from gatewright.graph.terms import Term
from gatewright.language.node import closure

WEIGHTS, INPUTS, STATE = 0, 1, 2

#: Operations that need whole rows of their operand before one unit of the result is known.
MIXING = frozenset({"product", "transposed", "sum", "largest"})


def stages(terms: Iterable[Term], given: Container[Term] = ()) -> dict[Term, int]:
    """The stage of each term; those in `given` are known for all steps before the loop."""
    found: dict[Term, int] = {}
    for term in terms:
        if term.op in ("event", "input", "noise") or term in given:
            found[term] = INPUTS
        elif term.op in ("state", "seed"):
            found[term] = STATE
        else:
            found[term] = max((found[one] for one in term.operands), default=WEIGHTS)
            ready = all(one.op in ("state", "seed") for one in term.operands if found[one] >= STATE)
            if term.op in MIXING and found[term] >= STATE and not ready:
                found[term] += 1
    return found


def after_loop(updates: Iterable[Term], wanted: Iterable[Term]) -> frozenset[Term]:
    """What is wanted of a step but feeds no next state."""
    return frozenset(closure(wanted) - closure(updates))
