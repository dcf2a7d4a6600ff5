"""Running a graph on a GPU's kernels, and autograd around them.

What follows from the inputs alone is plain torch: a few large products for all steps at once,
which autograd differentiates. Only the loop is a function of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gatewright.backends.llvm.autograd import aliases, bare, differentiable, result
from gatewright.backends.reference import Result, Run, Section, at_hand
from gatewright.backends.triton.backward import Backward
from gatewright.backends.triton.loop import Loop, loop_of, run_forward
from gatewright.backends.triton.steps import Steps, steps
from gatewright.graph.stages import STATE, stages


def run(task: Run) -> Result:
    """Run a graph over a sequence."""
    graph = task.graph
    like = next(iter(task.states.values()))
    given_values = {graph.values[name] for name in task.hold}
    stage = stages(graph.forward, given_values) if given_values else graph.stages
    known = at_hand(task)
    fed = [*task.inputs.values(), *task.hold.values()]
    inputs = torch.is_grad_enabled() and any(one.requires_grad for one in fed)
    way = tuple(task.names), tuple(sorted(task.hold)), inputs
    loop = loop_of(graph, way, tuple(sorted(task.sizes.items())))
    early = [one for one in graph.forward if stage[one] < STATE]
    Section(early, known, task).compute(known, like)
    states = [*task.states.values(), *(task.fresh.values() if task.restart is not None else ())]
    given = [plain(known[one], like) for one in loop.given] + [plain(one, like) for one in states]
    order = steps(tuple(task.rows), len(like), task.reverse, like.device).restarted(task.restart)
    if torch.is_grad_enabled():
        found = Loops.apply(loop, order, task, *given)
    else:
        found, _ = run_forward(loop, order, given, training=False)
    values = {**known, **dict(zip(loop.wanted, found, strict=False))}
    return result(task, values, found[len(loop.wanted) :])


def plain(one: Tensor, like: Tensor) -> Tensor:
    """A tensor as kernels read it: numbers, row by row."""
    numbers = one.to(like.dtype) if one.dtype == torch.bool else one
    return numbers.resolve_neg().contiguous()


class Loops(torch.autograd.Function):
    """The loop: what comes from torch in, wanted values and last states out."""

    @staticmethod
    def forward(ctx: Any, loop: Loop, order: Steps, task: Run, *given: Tensor) -> Any:
        training = any(ctx.needs_input_grad)
        outputs, own = run_forward(loop, order, given, training=training)
        if training:
            ctx.save_for_backward(*own.values(), *given)
            ctx.set_materialize_grads(False)
            ctx.run = loop, order, bare(task), list(own)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        saved = ctx.saved_tensors  # once: each look at it unpacks all of them
        loop, order, task, names = ctx.run
        own, given = dict(zip(names, saved, strict=False)), saved[len(names) :]
        if torch.is_grad_enabled():
            given = aliases(given)
            return (*NOT_TENSORS, *differentiable(loop, task, given, gradients, given))
        upstream = [None if one is None else plain(one, given[-1]) for one in gradients]
        asked = ctx.needs_input_grad[len(NOT_TENSORS) :]
        return (*NOT_TENSORS, *Backward(loop, order, given, own, upstream, asked).run())


#: What `Loops` takes before its tensors has no gradient.
NOT_TENSORS = (None,) * 3
