"""Prepared calls: repeated calls of the same form skip the Python set-up.

Where a network is small, the Python code around a run takes longer than the run. Here the
addresses of tensors go straight into prepared calls, and autograd sees the whole tensors that a
layer holds instead of the parts of them that the cell's equations name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gatewright.backends.fallback import aliases, needs_operations, without_tensors
from gatewright.backends.llvm.autograd import by_operations
from gatewright.backends.llvm.backward import run_backward
from gatewright.backends.llvm.call_shape import CallShape, Piece, TensorForm
from gatewright.backends.llvm.elements import LOW_BYTES
from gatewright.backends.llvm.forward import run_forward
from gatewright.backends.llvm.library import Kernels, kernels
from gatewright.backends.llvm.precision import LOW, numbers_of
from gatewright.backends.llvm.threads import threads
from gatewright.backends.no_dynamo import untraced
from gatewright.backends.order import ordered
from gatewright.backends.reference import TermGroup
from gatewright.backends.run import Run
from gatewright.backends.saved import SavedTensors, in_rows
from gatewright.backends.storage import Memory
from gatewright.backends.weights import Share
from gatewright.graph import Term
from gatewright.language.node import closure
from gatewright.schedule.loop import ScheduleOptions

#: The shapes of the output and of the last states, without their last axis.
Shapes = tuple[tuple[int, ...], tuple[int, ...]]


class View(NamedTuple):
    """The part of a whole tensor that kernels read as one term.

    Attributes:
        piece: The whole, and the rows of it.
        offset: The numbers in memory from the first one of the whole to that of the view.
        form: The view's shape and strides.
    """

    piece: Piece
    offset: int
    form: TensorForm


class FastCall:
    """Runs of one form: only the event, the states and the layer's tensors are new.

    A *whole* is a tensor that a call brings, a constant, or a sum of two of the former (torch's
    two biases). Kernels read views of the wholes.

    Attributes:
        views: A view for each tensor that the kernels read, and for each state.
        offsets: The whole and the offset in bytes of each view.
        sums: Pairs of wholes whose sums are wholes too, and follow the others.
        dtype: The number type of the tensors that a call brings, and of the results.
        starts: The states before the first step, for calls that bring none.
    """

    def __init__(
        self,
        run: Run,
        built: Kernels,
        shares: Mapping[str, Share],
        weights: Mapping[str, Tensor],
        shapes: Shapes,
        constants: Mapping[Term, Tensor],
    ) -> None:
        graph = run.graph
        self.shapes, self.dtype = shapes, next(iter(run.inputs.values())).dtype
        event = next(iter(run.inputs.values())).contiguous()
        states = [state.contiguous() for state in run.states.values()]
        self.built = built
        self.run, self.order = without_tensors(run), ordered(run, len(states[0]))
        self.starts = [state.detach() for state in states]
        self.saved_as: SavedTensors | None = None
        self.constants = list(constants.values())
        wholes = [event, *states, *weights.values(), *self.constants]
        brought = [*graph.inputs.values(), *graph.states.values()]
        first_constant = len(brought) + len(weights)
        positions = {name: len(brought) + i for i, name in enumerate(weights)}
        views = {
            term: _entire(position, wholes[position])
            for position, term in (*enumerate(brought), *enumerate(constants, first_constant))
        }
        self.sums: list[tuple[int, ...]] = []
        for term in graph.forward:
            if term.op == "weight":
                share = shares[term.attributes["weight"].path]
                summands = tuple([positions[name] for name in share.names])
                tensor = weights[share.names[0]]
                if len(summands) == 1:
                    views[term] = _part(summands[0], share, TensorForm.of(tensor))
                    continue
                if summands not in self.sums:
                    self.sums.append(summands)
                # Several summands are biases, and their sum is a new vector, in float32.
                position = len(wholes) + self.sums.index(summands)
                views[term] = _part(position, share, TensorForm(tuple(tensor.shape), (1,)))
        self.views = [views[term] for term in (*built.inputs, *graph.states.values())]
        wide = built.numbers.bytes
        self.offsets = [
            (view.piece.whole, view.offset * (LOW_BYTES if view.form.low else wide))
            for view in self.views
        ]
        counts = len(self.order.rows), self.order.batch, self.order.total
        forms = tuple([view.form for view in self.views])
        self.shape = CallShape(tuple(run.sizes.items()), *counts, threads(), forms)
        lengths = [whole.numel() for whole in wholes]
        lengths += [lengths[summands[0]] for summands in self.sums]
        #: The shape of which the backward pass is derived.
        self.shape_of_wholes = replace(
            self.shape, pieces=tuple([view.piece for view in self.views]), wholes=tuple(lengths)
        )

    def __call__(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Run: the output and the last states."""
        if torch.is_grad_enabled():
            results: tuple[Tensor, ...] = FastRun.apply(self, *tensors)
            # An operation for each result, since torch calls the hooks of all results of a
            # function where one of them is reached, with None for the others. It is in place
            # and makes no view, since users detach results in place.
            return tuple([result.transpose_(0, 0) for result in results])
        return tuple(self.forward(self.wholes(tensors), training=False)[0])

    def wholes(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the tensors that a call brings, the constants, and the sums."""
        sums = [in_float32(tensors[i]) + in_float32(tensors[j]) for i, j in self.sums]
        return [*tensors, *self.constants, *sums]

    def memory(self, wholes: Sequence[Tensor]) -> Memory:
        """Return the memory of each view."""
        begins, storages = Memory.of(wholes)
        return Memory([begins[whole] + offset for whole, offset in self.offsets], storages)

    def forward(
        self, wholes: Sequence[Tensor], *, training: bool
    ) -> tuple[list[Tensor], Tensor | None]:
        """Compute the output and the last states, and the memory of the backward pass."""
        return run_forward(
            self.built,
            self.shape,
            self.order,
            self.memory(wholes),
            self.dtype,
            training=training,
            fronts=self.shapes,
        )

    def backward(
        self,
        saved: Tensor,
        tensors: Sequence[Tensor],
        gradients: Sequence[Tensor | None],
        requested: Sequence[bool],
    ) -> list[Tensor | None]:
        """Compute the gradients of the tensors that a call brought."""
        wholes = self.wholes(tensors)
        summed = [any(requested[i] for i in pair) for pair in self.sums]
        of_wholes = [*requested, *[False] * len(self.constants), *summed]
        upstream = in_rows(gradients)
        shape = self.shape_of_wholes.backward(
            upstream, [of_wholes[view.piece.whole] for view in self.views]
        )
        results = run_backward(
            self.built,
            shape,
            self.order,
            self.memory(wholes),
            saved,
            upstream,
            [whole.shape for whole in wholes],
        )
        first = len(wholes) - len(self.sums)
        for pair, gradient in zip(self.sums, results[first:], strict=True):
            if gradient is None:
                continue
            for i in [i for i in pair if requested[i]]:
                before = results[i]
                # Each summand has a tensor of its own: its user may change it in place.
                results[i] = gradient.clone() if before is None else before + gradient
        return [
            gradient.to(self.dtype) if own and gradient is not None else None
            for gradient, own in zip(results, requested, strict=False)
        ]

    def by_operations(
        self, tensors: Sequence[Tensor], gradients: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        """Compute the gradients of a call's tensors by torch's operations."""
        views, tensors = [], aliases(tensors)
        with torch.enable_grad():
            wholes = self.wholes(tensors)
            for piece, offset, form in self.views:
                whole = wholes[piece.whole]
                start = whole.storage_offset() + offset
                views.append(in_float32(whole.as_strided(form.shape, form.strides, start)))
        return by_operations(self.built, self.run, views, gradients, tensors)


def _entire(position: int, tensor: Tensor) -> View:
    """Return the view of a whole tensor."""
    form = TensorForm.of(tensor)
    return View(Piece(position, 0, form.shape), 0, form)


def in_float32(tensor: Tensor) -> Tensor:
    """Return a tensor in bfloat16 in float32, and others as they are."""
    return tensor.float() if tensor.dtype == LOW else tensor


def _part(position: int, share: Share, form: TensorForm) -> View:
    """Return the view of a weight's share of a tensor: some of its rows."""
    rows, *rest = form.shape
    own = (rows // share.parts, *rest)
    first = share.position * own[0]
    piece = Piece(position, first * prod(rest), own)
    return View(piece, first * form.strides[0], form._replace(shape=own))


class FastRun(torch.autograd.Function):
    """A prepared run: whole tensors in, the output and the last states out."""

    @staticmethod
    def forward(ctx: Any, call: FastCall, *tensors: Tensor) -> Any:
        wholes = call.wholes(tensors)
        outputs, saved = call.forward(wholes, training=any(ctx.needs_input_grad))
        if saved is not None:
            ctx.save_for_backward(saved, *tensors)
            ctx.set_materialize_grads(False)
            ctx.call = call
            if call.saved_as is None:  # the same in all runs of a form
                call.saved_as = SavedTensors([saved, *tensors])
        return tuple(outputs)

    @staticmethod
    @untraced
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        call: FastCall = ctx.call
        assert call.saved_as is not None
        saved, *tensors = call.saved_as.restored(ctx.saved_tensors)
        if needs_operations(tensors, gradients):
            return None, *call.by_operations(tensors, gradients)
        return None, *call.backward(saved, tensors, gradients, ctx.needs_input_grad[1:])


def prepare(
    run: Run, shares: Mapping[str, Share], weights: Mapping[str, Tensor], shapes: Shapes
) -> FastCall | None:
    """Prepare calls that repeat a run; see `choose.prepare_call`."""
    graph = run.graph
    plain = len(run.inputs) == 1 and not graph.noises and not run.names and not run.hold
    if not plain or run.restart is not None or not sum(run.rows):
        return None
    for path, weight in graph.weights.items():
        own = [weights[name] for name in shares[path].names]
        rows, *rest = weight.numbers(run.sizes)
        if any(tensor.shape != (rows * shares[path].parts, *rest) for tensor in own):
            return None  # `Kernels.check` refuses it in an ordinary call
        if not rest and not all(tensor.is_contiguous() for tensor in own):
            return None
    event = next(iter(run.inputs.values()))
    options = ScheduleOptions((), (), torch.is_grad_enabled() and event.requires_grad)
    built = kernels(graph, options, numbers_of(event.dtype))
    if built.outputs != [graph.output]:
        return None  # no kernel computes the output: it is the event, or a parameter
    brought = {*graph.inputs.values(), *[term for term in graph.forward if term.op == "weight"]}
    more = [term for term in built.inputs if term not in brought]
    needed = closure(more)
    if needed & brought:
        return None  # torch computes some values from the weights, before the kernels
    values: dict[Term, Tensor] = {}
    terms = [term for term in graph.forward if term in needed]
    like = event.float() if event.dtype == LOW else event
    TermGroup(terms, values, run.sizes).compute(values, like)
    constants = {term: values[term].contiguous() for term in more}
    return FastCall(run, built, shares, weights, shapes, constants)
