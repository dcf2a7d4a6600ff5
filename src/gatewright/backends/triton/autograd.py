"""Runs of a graph on a GPU's kernels, and autograd around them.

Values that follow from the inputs only are plain torch: a few large products for all steps at
once, which autograd differentiates. Only the loop is an autograd function.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gatewright.backends.fallback import aliases, gradients_by_operations, without_tensors
from gatewright.backends.reference import TermGroup
from gatewright.backends.run import Result, Run
from gatewright.backends.triton.backward import Backward
from gatewright.backends.triton.loop import LoopKernels, loop_of, run_forward
from gatewright.backends.triton.steps import DeviceOrder, device_order
from gatewright.graph.stages import STATE, stages
from gatewright.schedule.loop import ScheduleOptions


def run(run: Run) -> Result:
    """Run a graph over a sequence."""
    graph = run.graph
    like = next(iter(run.states.values()))
    held = {graph.values[name] for name in run.hold}
    stage = stages(graph.forward, held) if held else graph.stages
    known = run.known_terms()
    options = ScheduleOptions.of(run.names, run.hold, run.needs_input_gradients())
    loop = loop_of(graph, options, tuple(sorted(run.sizes.items())))
    early = [term for term in graph.forward if stage[term] < STATE]
    TermGroup(early, known, run.sizes).compute(known, like)
    states = [*run.states.values(), *(run.fresh.values() if run.restart is not None else ())]
    tensors = [plain(known[term], like) for term in loop.inputs]
    tensors += [plain(state, like) for state in states]
    order = device_order(tuple(run.rows), len(like), run.reverse, like.device)
    order = order.restarted(run.restart)
    if torch.is_grad_enabled():
        outputs = LoopFunction.apply(loop, order, run, *tensors)
    else:
        outputs, _ = run_forward(loop, order, tensors, training=False)
    values = {**known, **dict(zip(loop.outputs, outputs, strict=False))}
    return Result.of(run, values, outputs[len(loop.outputs) :])


def plain(tensor: Tensor, like: Tensor) -> Tensor:
    """Lay out a tensor as kernels read it: numbers, row by row."""
    numbers = tensor.to(like.dtype) if tensor.dtype == torch.bool else tensor
    return numbers.resolve_neg().contiguous()


class LoopFunction(torch.autograd.Function):
    """The loop: tensors from torch in, returned values and last states out."""

    @staticmethod
    def forward(ctx: Any, loop: LoopKernels, order: DeviceOrder, run: Run, *tensors: Tensor) -> Any:
        training = any(ctx.needs_input_grad)
        outputs, buffers = run_forward(loop, order, tensors, training=training)
        if training:
            ctx.save_for_backward(*buffers.values(), *tensors)
            ctx.set_materialize_grads(False)
            ctx.run = loop, order, without_tensors(run), list(buffers)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> Any:
        saved = ctx.saved_tensors  # read once: each access unpacks all of them
        loop, order, run, buffers = ctx.run
        own, tensors = dict(zip(buffers, saved, strict=False)), saved[len(buffers) :]
        if torch.is_grad_enabled():
            tensors = aliases(tensors)
            gradients = gradients_by_operations(
                run, loop.inputs, loop.outputs, tensors, upstream, tensors
            )
        else:
            rows = [None if g is None else plain(g, tensors[-1]) for g in upstream]
            requested = ctx.needs_input_grad[len(NOT_TENSORS) :]
            gradients = Backward(loop, order, tensors, own, rows, requested).run()
        return (*NOT_TENSORS, *gradients)


#: The gradients of the arguments of `LoopFunction` in front of its tensors.
NOT_TENSORS = (None,) * 3
