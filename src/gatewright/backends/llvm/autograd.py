"""Runs of a graph on kernels, as a function that torch's autograd differentiates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gatewright.backends.fallback import (
    aliases,
    gradients_by_operations,
    needs_operations,
    without_tensors,
)
from gatewright.backends.llvm.backward import run_backward
from gatewright.backends.llvm.call_shape import CallShape, prepared
from gatewright.backends.llvm.forward import run_forward
from gatewright.backends.llvm.library import Kernels, kernels
from gatewright.backends.llvm.precision import LOW, lowered, numbers_of, raised
from gatewright.backends.no_dynamo import untraced
from gatewright.backends.order import Order, ordered
from gatewright.backends.reference import TermGroup
from gatewright.backends.run import Result, Run
from gatewright.backends.saved import SavedTensors, in_rows
from gatewright.backends.storage import Memory
from gatewright.graph.stages import INPUTS
from gatewright.schedule.loop import ScheduleOptions


def run(run: Run) -> Result:
    """Run a graph over a sequence."""
    dtype = next(iter(run.states.values())).dtype
    if dtype == LOW:
        return lowered(_run(raised(run), dtype), dtype)
    return _run(run, dtype)


def _run(run: Run, dtype: torch.dtype) -> Result:
    """Run with the products of a dtype."""
    graph = run.graph
    like = next(iter(run.states.values()))
    known = run.known_terms()
    # Terms that follow from weights only are computed by torch, once a run.
    early = [term for term in graph.forward if graph.stages[term] < INPUTS]
    TermGroup(early, known, run.sizes).compute(known, like)
    if torch.compiler.is_compiling():
        from gatewright.backends.llvm.operators import call

        values, last = call(run, known)
        return Result.of(run, {**known, **values}, last)
    options = ScheduleOptions.of(run.names, run.hold, run.needs_input_gradients())
    built = kernels(graph, options, numbers_of(dtype))
    states = [*run.states.values(), *(run.fresh.values() if run.restart is not None else ())]
    inputs = [known[term] for term in built.inputs]
    built.check(inputs, run.sizes)
    tensors = prepared(built, inputs, states)
    order = ordered(run, len(like))
    counts = len(order.rows), order.batch, order.total
    shape = CallShape.of(run.sizes, *counts, tensors, fresh=run.restart is not None)
    if torch.is_grad_enabled():
        outputs = KernelRun.apply(built, shape, order, run, *tensors)
    else:
        memory = Memory.of(tensors)
        outputs, _ = run_forward(built, shape, order, memory, like.dtype, training=False)
    values = {**known, **dict(zip(built.outputs, outputs, strict=False))}
    return Result.of(run, values, outputs[len(built.outputs) :])


class KernelRun(torch.autograd.Function):
    """A run on kernels: tensors from torch in, returned values and last states out."""

    @staticmethod
    def forward(
        ctx: Any, built: Kernels, shape: CallShape, order: Order, run: Run, *tensors: Tensor
    ) -> Any:
        training = any(ctx.needs_input_grad)
        memory, dtype = Memory.of(tensors), tensors[-1].dtype
        outputs, saved = run_forward(built, shape, order, memory, dtype, training=training)
        if saved is not None:
            # Saved by autograd, which frees the memory after the backward pass, and notices if
            # a tensor is changed before it.
            ctx.save_for_backward(saved, *tensors)
            ctx.set_materialize_grads(False)
            ctx.run = built, shape, order, without_tensors(run)
            ctx.saved_as = SavedTensors([saved, *tensors])
        return tuple(outputs)

    @staticmethod
    @untraced
    def backward(ctx: Any, *upstream: Tensor | None) -> Any:
        saved, *tensors = ctx.saved_as.restored(ctx.saved_tensors)
        built, shape, order, run = ctx.run
        if needs_operations(tensors, upstream):
            return (*NOT_TENSORS, *by_operations(built, run, aliases(tensors), upstream))
        rows = in_rows(upstream)
        shape = shape.backward(rows, ctx.needs_input_grad[len(NOT_TENSORS) :])
        memory, shapes = Memory.of(tensors), [tensor.shape for tensor in tensors]
        gradients = run_backward(built, shape, order, memory, saved, rows, shapes)
        return (*NOT_TENSORS, *gradients)


#: The gradients of the arguments of `KernelRun` in front of its tensors.
NOT_TENSORS = (None,) * 4


def by_operations(
    built: Kernels,
    run: Run,
    tensors: Sequence[Tensor],
    upstream: Sequence[Tensor | None],
    sources: Sequence[Tensor] | None = None,
) -> list[Tensor | None]:
    """Compute the gradients of the sources of a run's tensors by torch's operations.

    The sources are the tensors themselves, unless others are passed.
    """
    return gradients_by_operations(
        run, built.inputs, built.outputs, tensors, upstream, tensors if sources is None else sources
    )
