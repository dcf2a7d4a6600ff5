"""One step by itself, as a loop: the products of its inputs are computed in it too.

A run over a sequence computes what follows from the inputs for all steps at once, before the
loop. One step has nothing to gain by that: here a product of the event and one of a state that
are added up are one sum, in one walk.
"""

from __future__ import annotations

from gatewright.graph.graph import Graph
from gatewright.graph.recompute import LEAVES
from gatewright.graph.stages import INPUTS
from gatewright.graph.terms import Term
from gatewright.language.node import closure
from gatewright.schedule.loop import Loop, Part, Schedule, nests


def schedule_step(graph: Graph) -> Schedule:
    """How one step is run forwards; there is nothing before its loop, and no way back."""
    needed = closure([*graph.updates.values(), graph.output])
    stage = dict(graph.stages)
    inside = [
        one
        for one in graph.forward
        if one in needed and stage[one] >= INPUTS and one.op not in LEAVES
    ]
    own = set(inside)
    zero = graph.terms.constant(0.0)

    def computed(term: Term) -> Term:
        """A term of the loop: what comes from outside is copied in it."""
        if term in own:
            return term
        copy = graph.terms.new("add", term, zero, size=term.size)
        stage[copy] = stage[term]
        inside.append(copy)
        return copy

    updates = {name: computed(term) for name, term in graph.updates.items()}
    output = computed(graph.output)
    loop = nests(inside, {output, *updates.values()}, stage)
    part = Part(loop, (output,), (output,), graph.adjoint, Loop((), (), (), ()))
    return Schedule(graph, None, part, (output,), updates)
