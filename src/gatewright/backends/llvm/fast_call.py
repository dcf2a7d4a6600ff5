"""Prepared runs: what follows from a run's form is made once, and only addresses are new.

Where a network is small, Python around a run takes longer than the run. Here the addresses of
tensors go into prepared calls, and autograd sees the tensors that a layer keeps, whole, instead
of the parts of them that the cell's equations name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from gatewright.backends.llvm.autograd import (
    Saved,
    aliases,
    bare,
    by_operations,
    differentiable,
    in_rows,
)
from gatewright.backends.llvm.backward import run_backward
from gatewright.backends.llvm.call_list import Lie, Piece, Shape
from gatewright.backends.llvm.forward import run_forward
from gatewright.backends.llvm.library import Kernels, kernels
from gatewright.backends.llvm.threads import threads
from gatewright.backends.no_dynamo import untraced
from gatewright.backends.order import ordered
from gatewright.backends.reference import Run, Section
from gatewright.backends.weights import Share
from gatewright.graph import Term
from gatewright.language.node import closure

#: The shapes of the output and of the last states, without their last axis.
Shapes = tuple[tuple[int, ...], tuple[int, ...]]


class FastCall:
    """A run of which only the tensors are new: the event, the states, the weights as they are kept.

    A *whole* is a tensor that a call brings, a constant, or a sum of two of the former (torch's
    two biases). What kernels read are pieces of the wholes.

    Attributes:
        pieces: Of each tensor that the kernels read, and of each state, its whole.
        sums: Pairs of wholes whose sums are wholes too, behind those that a call brings.
        starts: The states before the first step, for calls that bring none.
    """

    def __init__(
        self,
        task: Run,
        built: Kernels,
        shares: Mapping[str, Share],
        weights: Mapping[str, Tensor],
        shapes: Shapes,
        constants: Mapping[Term, Tensor],
    ) -> None:
        graph = task.graph
        event = next(iter(task.inputs.values())).contiguous()
        states = [state.contiguous() for state in task.states.values()]
        self.shapes, self.dtype = shapes, event.dtype
        self.built = built
        self.task, self.order = bare(task), ordered(task, len(states[0]))
        self.starts = [state.detach() for state in states]
        self.saved_as: Saved | None = None
        self.constants = list(constants.values())
        terms = [*graph.inputs.values(), *graph.states.values()]
        places = {name: len(terms) + i for i, name in enumerate(weights)}
        wholes = [event, *states, *weights.values(), *self.constants]
        entire = [*enumerate(terms), *enumerate(constants, len(terms) + len(weights))]
        #: Of each term its piece, and the numbers of the whole in front of it in memory.
        pieces: dict[Term, tuple[Piece, int, Lie]] = {}
        for position, term in entire:
            lie = Lie(tuple(wholes[position].shape), wholes[position].stride())
            pieces[term] = Piece(position, 0, lie.shape), 0, lie
        lengths = [whole.numel() for whole in wholes]
        self.sums: list[tuple[int, ...]] = []
        for term in graph.forward:
            if term.op != "weight":
                continue
            share = shares[term.attributes["weight"].path]
            summands = tuple([places[name] for name in share.names])
            if len(summands) > 1 and summands not in self.sums:
                self.sums.append(summands)
            own = weights[share.names[0]]
            rows, *rest = own.shape
            shape = (rows // share.parts, *rest)
            first = share.position * shape[0]
            if len(summands) == 1:
                position, strides = summands[0], own.stride()
            else:
                position, strides = len(wholes) + self.sums.index(summands), (1,)
            piece = Piece(position, first * prod(rest), shape)
            pieces[term] = piece, first * strides[0], Lie(shape, strides)
        lengths += [lengths[summands[0]] for summands in self.sums]
        read = [pieces[term] for term in (*built.given, *graph.states.values())]
        self.pieces = tuple([piece for piece, _, _ in read])
        self.places = [(piece.whole, offset, lie) for piece, offset, lie in read]
        size = event.element_size()
        self.offsets = [(whole, offset * size) for whole, offset, _ in self.places]
        lies = tuple([lie for _, _, lie in self.places])
        counts = len(self.order.rows), self.order.batch, self.order.total
        self.shape = Shape(tuple(task.sizes.items()), *counts, threads(), lies)
        self.wide = replace(self.shape, pieces=self.pieces, wholes=tuple(lengths))

    def __call__(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The output and the last states."""
        if torch.is_grad_enabled():
            results: tuple[Tensor, ...] = FastRun.apply(self, *tensors)
            # An operation for each, since torch calls the hooks of all results of one function
            # where one of them is reached, with None for the others. No view: users detach
            # results in place.
            return tuple([result.transpose_(0, 0) for result in results])
        return tuple(self.forward(self.wholes(tensors), training=False)[0])

    def wholes(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The tensors that a call brings, the constants, and the sums."""
        return [*tensors, *self.constants, *[tensors[i] + tensors[j] for i, j in self.sums]]

    def addresses(self, wholes: Sequence[Tensor]) -> list[int]:
        """The address of each piece."""
        begins = [whole.data_ptr() for whole in wholes]
        return [begins[whole] + offset for whole, offset in self.offsets]

    def forward(
        self, wholes: Sequence[Tensor], *, training: bool
    ) -> tuple[list[Tensor], Tensor | None]:
        """The output and the last states, and what the backward pass reads."""
        return run_forward(
            self.built,
            self.shape,
            self.order,
            self.addresses(wholes),
            self.dtype,
            training=training,
            forms=self.shapes,
        )

    def backward(
        self,
        kept: Tensor,
        tensors: Sequence[Tensor],
        gradients: Sequence[Tensor | None],
        asked: Sequence[bool],
    ) -> list[Tensor | None]:
        """The gradients of the tensors that a call brought."""
        wholes = self.wholes(tensors)
        summed = [any(asked[i] for i in pair) for pair in self.sums]
        every = [*asked, *[False] * len(self.constants), *summed]
        upstream = in_rows(gradients)
        shape = self.wide.backward(upstream, [every[piece.whole] for piece in self.pieces])
        results = run_backward(
            self.built,
            shape,
            self.order,
            self.addresses(wholes),
            kept,
            upstream,
            [whole.shape for whole in wholes],
        )
        first = len(wholes) - len(self.sums)
        for pair, gradient in zip(self.sums, results[first:], strict=True):
            if gradient is None:
                continue
            for i in [i for i in pair if asked[i]]:
                before = results[i]
                # Each summand has a tensor of its own: its user may change it in place.
                results[i] = gradient.clone() if before is None else before + gradient
        return [result if wanted else None for result, wanted in zip(results, asked, strict=False)]

    def differentiable(
        self, tensors: Sequence[Tensor], gradients: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        """The gradients by operations of torch."""
        pieces, tensors = [], aliases(tensors)
        with torch.enable_grad():
            wholes = self.wholes(tensors)
            for position, offset, lie in self.places:
                whole = wholes[position]
                start = whole.storage_offset() + offset
                pieces.append(whole.as_strided(lie.shape, lie.strides, start))
        return differentiable(self.built, self.task, pieces, gradients, tensors)


class FastRun(torch.autograd.Function):
    """A prepared run: whole tensors in, the output and the last states out."""

    @staticmethod
    def forward(ctx: Any, call: FastCall, *tensors: Tensor) -> Any:
        wholes = call.wholes(tensors)
        outputs, kept = call.forward(wholes, training=any(ctx.needs_input_grad))
        if kept is not None:
            ctx.save_for_backward(kept, *tensors)
            ctx.set_materialize_grads(False)
            ctx.call = call
            if call.saved_as is None:  # the same in all runs of a form
                call.saved_as = Saved([kept, *tensors])
        return tuple(outputs)

    @staticmethod
    @untraced
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        call: FastCall = ctx.call
        assert call.saved_as is not None
        kept, *tensors = call.saved_as.restored(ctx.saved_tensors)
        if by_operations(tensors, gradients):
            return None, *call.differentiable(tensors, gradients)
        return None, *call.backward(kept, tensors, gradients, ctx.needs_input_grad[1:])


def prepare(
    task: Run, shares: Mapping[str, Share], weights: Mapping[str, Tensor], shapes: Shapes
) -> FastCall | None:
    """Runs of a task's form, prepared, or None where more than tensors would be new.

    Args:
        shares: What each of the graph's weights is of the tensors kept, by path.
        weights: The tensors that are named there.
        shapes: Those of the results.
    """
    graph = task.graph
    plain = len(task.inputs) == 1 and not graph.noises and not task.names and not task.hold
    if not plain or task.restart is not None or not sum(task.rows):
        return None
    for path, weight in graph.weights.items():
        own = [weights[name] for name in shares[path].names]
        rows, *rest = weight.numbers(task.sizes)
        if any(tensor.shape != (rows * shares[path].parts, *rest) for tensor in own):
            return None  # it is refused where the call goes the whole way
        if not rest and not all(tensor.is_contiguous() for tensor in own):
            return None
    event = next(iter(task.inputs.values()))
    way = (), (), torch.is_grad_enabled() and event.requires_grad
    built = kernels(graph, way, 8 * event.element_size())
    if built.wanted != [graph.output]:
        return None  # no kernel computes the output: it is the event, or a parameter
    brought = {*graph.inputs.values(), *[term for term in graph.forward if term.op == "weight"]}
    more = [term for term in built.given if term not in brought]
    needed = closure(more)
    if needed & brought:
        return None  # torch computes some values from the weights, before the kernels
    values: dict[Term, Tensor] = {}
    terms = [term for term in graph.forward if term in needed]
    Section(terms, values, task).compute(values, event)
    constants = {term: values[term].contiguous() for term in more}
    return FastCall(task, built, shares, weights, shapes, constants)
