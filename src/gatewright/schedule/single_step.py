"""The schedule of one step by itself: the loop computes the products of the inputs too.

A run over a sequence computes everything that follows from the inputs for all steps at once,
before the loop. One step gains nothing by that: here a product of the event and one of a state
that are added up are a single sum, accumulated in the same registers.
"""

from __future__ import annotations

from functools import lru_cache

from gatewright.graph.graph import Graph
from gatewright.graph.recompute import LEAVES
from gatewright.graph.stages import INPUTS
from gatewright.graph.terms import Term
from gatewright.language.node import closure
from gatewright.schedule.loop import Schedule, SchedulePart, nests


@lru_cache(maxsize=128)
def schedule_step(graph: Graph) -> Schedule:
    """Schedule one forward step; there is nothing before its loop, and no adjoint."""
    terms = graph.terms.extended()
    needed = closure([*graph.updates.values(), graph.output])
    stage = dict(graph.stages)
    inside = [
        term
        for term in graph.forward
        if term in needed and stage[term] >= INPUTS and term.op not in LEAVES
    ]
    own = set(inside)
    zero = terms.constant(0.0)

    def computed(term: Term) -> Term:
        """Return a term of the loop: values from outside are copied by it."""
        if term in own:
            return term
        copy = terms.new("add", term, zero, size=term.size)
        stage[copy] = stage[term]
        inside.append(copy)
        return copy

    updates = {name: computed(term) for name, term in graph.updates.items()}
    output = computed(graph.output)
    loop = nests(inside, {output, *updates.values()}, stage)
    part = SchedulePart.of_inference(loop, (output,), graph.states)
    return Schedule(graph, None, part, (output,), updates)
