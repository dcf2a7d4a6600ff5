"""Running a graph on kernels, and autograd around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gatewright.backends import reference
from gatewright.backends.llvm import extent, in_memory, why_not_read, why_watched
from gatewright.backends.llvm.backward import run_backward
from gatewright.backends.llvm.call_list import Shape, prepared
from gatewright.backends.llvm.forward import run_forward
from gatewright.backends.llvm.library import Kernels, kernels
from gatewright.backends.no_dynamo import untraced
from gatewright.backends.order import Order, ordered
from gatewright.backends.reference import Result, Run, Section, at_hand
from gatewright.errors import ArgumentError
from gatewright.graph import Term
from gatewright.graph.sizes import number
from gatewright.graph.stages import INPUTS


def run(task: Run) -> Result:
    """Run a graph over a sequence."""
    graph = task.graph
    like = next(iter(task.states.values()))
    bits = 64 if like.dtype == torch.float64 else 32
    known = at_hand(task)
    ready = [one for one in graph.forward if graph.stages[one] < INPUTS]
    Section(ready, known, task).compute(known, like)
    if torch.compiler.is_compiling():
        from gatewright.backends.llvm.operators import call

        wanted, last = call(task, known)
        return result(task, {**known, **wanted}, last)
    steps = [*task.inputs.values(), *task.hold.values()]
    inputs = torch.is_grad_enabled() and any(one.requires_grad for one in steps)
    built = kernels(graph, (tuple(task.names), tuple(sorted(task.hold)), inputs), bits)
    states = [*task.states.values(), *(task.fresh.values() if task.restart is not None else ())]
    brought = [known[one] for one in built.given]
    built.check(brought, task.sizes)
    given = prepared(built, brought, states)
    order = ordered(task, len(like))
    counts = len(order.rows), order.batch, order.total
    shape = Shape.of(task.sizes, *counts, given, fresh=task.restart is not None)
    if torch.is_grad_enabled():
        found = Loops.apply(built, shape, order, task, *given)
    else:
        places = [one.data_ptr() for one in given]
        found, _ = run_forward(built, shape, order, places, like.dtype, training=False)
    values = {**known, **dict(zip(built.wanted, found, strict=False))}
    return result(task, values, found[len(built.wanted) :])


def result(task: Run, values: Mapping[Term, Tensor], last: Sequence[Tensor]) -> Result:
    """What a task asked for, out of the values of terms and the last states."""
    graph, total = task.graph, sum(task.rows)

    def over_time(term: Term) -> Tensor:
        return values[term].expand(total, number(term.size, task.sizes))

    named = {name: over_time(graph.values[name]) for name in task.names}
    return Result(over_time(graph.output), dict(zip(graph.states, last, strict=True)), named)


class Loops(torch.autograd.Function):
    """A graph over a sequence: what comes from torch in, wanted values and last states out."""

    @staticmethod
    def forward(
        ctx: Any, built: Kernels, shape: Shape, order: Order, task: Run, *given: Tensor
    ) -> Any:
        training = any(ctx.needs_input_grad)
        places, dtype = [one.data_ptr() for one in given], given[-1].dtype
        outputs, kept = run_forward(built, shape, order, places, dtype, training=training)
        if kept is not None:
            # Saved as autograd's own, so that it lets go of it after the backward pass, and
            # notices if what was given is changed before it.
            ctx.save_for_backward(kept, *given)
            ctx.set_materialize_grads(False)
            ctx.run = built, shape, order, bare(task)
            ctx.saved_as = Saved([kept, *given])
        return tuple(outputs)

    @staticmethod
    @untraced
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        kept, *given = ctx.saved_as.restored(ctx.saved_tensors)
        built, shape, order, task = ctx.run
        if by_operations(given, gradients):
            given = aliases(given)
            return (*NOT_TENSORS, *differentiable(built, task, given, gradients, given))
        upstream = in_rows(gradients)
        shape = shape.backward(upstream, ctx.needs_input_grad[len(NOT_TENSORS) :])
        places, shapes = [one.data_ptr() for one in given], [one.shape for one in given]
        found = run_backward(built, shape, order, places, kept, upstream, shapes)
        return (*NOT_TENSORS, *found)


#: What `Loops` takes before its tensors has no gradient.
NOT_TENSORS = (None,) * 4


class Saved:
    """The form of tensors that are saved for the backward pass.

    A hook on what is saved may give back anything, and a user may free its memory meanwhile.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.forms = [
            (
                tensor.shape,
                tensor.dtype,
                tensor.stride(),
                extent(tensor.shape, tensor.stride()) * tensor.element_size(),
            )
            for tensor in tensors
        ]

    def restored(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The tensors, with their numbers in memory as they were.

        Raises:
            ArgumentError: if a hook has returned another shape or dtype, or memory was freed.
        """
        pairs = zip(self.forms, tensors, strict=True)
        return [self._restored(form, tensor) for form, tensor in pairs]

    @staticmethod
    def _restored(form: tuple[Any, ...], tensor: Tensor) -> Tensor:
        shape, dtype, strides, size = form
        if tensor.shape != shape or tensor.dtype != dtype:
            raise ArgumentError(
                f"a tensor that was saved for the backward pass is now {tensor.dtype} of shape "
                f"{tuple(tensor.shape)}; expected {dtype} of shape {tuple(shape)}: a hook on saved "
                "tensors returned it, or its data were replaced"
            )
        if torch._C._has_storage(tensor) and not tensor.is_meta:
            start = tensor.storage_offset() * dtype.itemsize
            as_before = tensor.stride() == strides and not tensor.is_neg()
            if as_before and tensor.untyped_storage().nbytes() - start >= size:
                return tensor
            if as_before:
                raise ArgumentError(
                    f"the memory of a tensor of shape {tuple(shape)} was freed or resized between "
                    "the forward and the backward pass; keep it until then"
                )
        like = torch.empty_strided(shape, strides, dtype=dtype, device=tensor.device)
        return like.copy_(tensor)


#: A placeholder that expands to any size: the output may be a held value that was not passed.
NOTHING = torch.zeros(())


def in_rows(gradients: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Gradients from outside as kernels read them: the numbers themselves, in whole rows."""
    for gradient in gradients:
        if gradient is not None and not in_memory(gradient):
            raise ArgumentError(
                f"an upstream gradient of shape {tuple(gradient.shape)} has lost its memory: it "
                "was freed or resized before the backward pass"
            )
    return [one.resolve_neg().contiguous() if one is not None else None for one in gradients]


def by_operations(given: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> bool:
    """Whether a backward pass is for plain operations, and not for the kernels."""
    every = [*given, *[one for one in gradients if one is not None]]
    watched = torch.is_grad_enabled() or why_watched() is not None
    return watched or why_not_read(every) is not None


def bare(task: Run) -> Run:
    """A task without its tensors: what autograd saves is all that a backward pass may hold."""

    return replace(
        task,
        weights=dict.fromkeys(task.weights, NOTHING),
        inputs=dict.fromkeys(task.inputs, NOTHING),
        states=dict.fromkeys(task.states, NOTHING),
        fresh=dict.fromkeys(task.fresh, NOTHING),
        hold=dict.fromkeys(task.hold, NOTHING),
        noises=[NOTHING] * len(task.noises),
    )


def aliases(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The same tensors for a recomputation, each as if it did not depend on another one.

    An event may have been computed from a weight of the layer. Between the saved tensors
    autograd knows that path, and would count it in the gradient of the weight.
    """
    with torch.enable_grad():
        return [tensor.view_as(tensor) for tensor in tensors]


def differentiable(
    built: Kernels,
    task: Run,
    given: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
    sources: Sequence[Tensor],
) -> list[Tensor | None]:
    """The gradients of `sources`, which what is given was made from, by operations of torch.

    The reference runs once more, under autograd. They are differentiable if grad mode is on.
    """
    further = torch.is_grad_enabled()
    graph = built.schedule.graph
    known = dict(zip(built.given, given, strict=False))
    states = dict(zip(graph.states, given[len(known) :], strict=False))
    fresh = dict(zip(graph.states, given[len(known) + len(states) :], strict=False))
    # What is held and nobody reads was not given; its value does not matter.
    hold = {name: known.get(graph.values[name], one) for name, one in task.hold.items()}
    # What follows from weights alone never went through the kernels, and is not known here.
    names = [name for name in task.names if graph.values[name] in built.wanted]
    task = replace(task, states=states, fresh=fresh or task.fresh, hold=hold, names=names)
    with torch.enable_grad():
        result = reference.run(task, known)
    by_term = {graph.output: result.output}
    by_term |= {graph.values[name]: one for name, one in result.values.items()}
    outputs = [*(by_term[term] for term in built.wanted), *result.states.values()]
    wanted = [one for one in sources if one.requires_grad]
    both = zip(outputs, gradients, strict=True)
    reached = [(o, g.reshape(o.shape)) for o, g in both if o.requires_grad and g is not None]
    found = iter(
        torch.autograd.grad(
            [o for o, _ in reached],
            wanted,
            [g for _, g in reached],
            create_graph=further,
            allow_unused=True,
        )
    )
    return [next(found) if one.requires_grad else None for one in sources]
