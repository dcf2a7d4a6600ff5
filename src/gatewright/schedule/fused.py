"""The schedule of an inference whose loop computes the part before it too, step by step.

Otherwise the products of the inputs are computed for all steps at once. An LSTM writes four numbers
for each unit then, which go to memory and come back. Here each step computes those of its own rows,
and they are in the second-level cache when the next nest reads them. The nests are those of the two
parts, so every value has the same bits.
"""

from __future__ import annotations

from functools import lru_cache

from gatewright.graph.graph import Graph
from gatewright.graph.terms import Term
from gatewright.schedule.loop import Loop, Schedule, ScheduleOptions, SchedulePart, schedule


@lru_cache(maxsize=128)
def schedule_fused(graph: Graph, options: ScheduleOptions) -> Schedule:
    """Schedule one loop of all nests; a run without gradients only, since it has no adjoint."""
    work = schedule(graph, options._replace(fused=False))
    if work.before is None:
        return work
    before, loop = work.before.loop, work.loop.loop
    computed = {term for nest in before.nests for term in nest.terms}

    def merged(early: tuple[Term, ...], late: tuple[Term, ...]) -> tuple[Term, ...]:
        return tuple(dict.fromkeys(term for term in (*early, *late) if term not in computed))

    both = Loop(
        (*before.nests, *loop.nests),
        merged(before.step_leaves, loop.step_leaves),
        merged(before.vectors, loop.vectors),
        merged(before.matrices, loop.matrices),
    )
    outputs = [term for term in work.before.outputs if term in work.requested]
    part = SchedulePart.of_inference(both, [*outputs, *work.loop.outputs], graph.states)
    return Schedule(graph, None, part, work.requested, work.updates)
