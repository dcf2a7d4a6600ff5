"""Stages: the earliest part of a run in which each term can be computed.

    0  from weights only: once a run
    1  from the inputs of the steps: for all steps at once, before the loop
    2  from the previous state: the first products of the loop, and the terms that use them
    k  from a product, or a reduction over a row, of values of stage k - 1 of this step

A value that no next state depends on (`after_loop`) can be computed after the loop.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from gatewright.graph.terms import Term
from gatewright.language.node import closure

WEIGHTS, INPUTS, STATE = 0, 1, 2

#: Operations that need whole rows of their operand before one unit of the result is known.
MIXING = frozenset({"product", "transposed", "sum", "largest"})


def stages(terms: Iterable[Term], held: Container[Term] = ()) -> dict[Term, int]:
    """Compute the stage of each term; `held` terms are known for all steps before the loop."""
    stage: dict[Term, int] = {}
    for term in terms:
        if term.op in ("event", "input", "noise") or term in held:
            stage[term] = INPUTS
        elif term.op in ("state", "seed"):
            stage[term] = STATE
        else:
            latest = max((stage[operand] for operand in term.operands), default=WEIGHTS)
            # Rows of the previous state are complete before the step begins.
            complete = all(o.op in ("state", "seed") for o in term.operands if stage[o] >= STATE)
            waits = term.op in MIXING and latest >= STATE and not complete
            stage[term] = latest + waits
    return stage


def after_loop(updates: Iterable[Term], requested: Iterable[Term]) -> frozenset[Term]:
    """Find the requested terms that no next state depends on, with all that only they need."""
    return frozenset(closure(requested) - closure(updates))
