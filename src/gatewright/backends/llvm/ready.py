"""Runs of one form, made ready: what follows from the form alone is made once.

Where a network is small, Python around a run takes longer than the run. Here only the tensors
are new: their addresses go into prepared calls, and autograd sees the tensors that a layer
keeps, whole, instead of the parts of them that the cell's equations name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from gatewright.backends.llvm.autograd import bare, by_operations, differentiable, in_rows
from gatewright.backends.llvm.backward import run_backward
from gatewright.backends.llvm.forward import run_forward
from gatewright.backends.llvm.library import Kernels, kernels
from gatewright.backends.llvm.order import ordered
from gatewright.backends.llvm.program import Lie, Piece, Shape
from gatewright.backends.llvm.threads import threads
from gatewright.backends.llvm.untraced import untraced
from gatewright.backends.reference import Run, Section
from gatewright.backends.weights import Share
from gatewright.graph import Term
from gatewright.language.node import closure

#: The shapes of the output and of the last states, without their last axis.
Forms = tuple[tuple[int, ...], tuple[int, ...]]


class Ready:
    """A run whose tensors alone are new: the event, the states, and the weights as they are kept.

    Attributes:
        pieces: Of each tensor that the kernels are given, the whole one that it is a piece of.
        sums: Pairs of wholes; their sums are wholes too, behind those that a call brings.
    """

    def __init__(
        self,
        task: Run,
        built: Kernels,
        shares: Mapping[str, Share],
        weights: Mapping[str, Tensor],
        forms: Forms,
        constants: Mapping[Term, Tensor],
    ) -> None:
        graph = task.graph
        event = next(iter(task.inputs.values())).contiguous()
        states = [one.contiguous() for one in task.states.values()]
        self.forms, self.dtype = forms, event.dtype
        self.built = built
        self.task, self.order = bare(task), ordered(task, len(states[0]))
        #: The states before the first step, for calls that bring none.
        self.starts = [one.detach() for one in states]
        self.constants = list(constants.values())
        terms = [*graph.inputs.values(), *graph.states.values()]
        places = {name: len(terms) + i for i, name in enumerate(weights)}
        wholes = [event, *states, *weights.values(), *self.constants]
        found = {
            term: (Piece(at, 0, tuple(wholes[at].shape)), 0, wholes[at].stride())
            for at, term in [
                *enumerate(terms),
                *enumerate(constants, len(terms) + len(weights)),
            ]
        }
        lengths = [one.numel() for one in wholes]
        self.sums: list[tuple[int, ...]] = []
        for term in graph.forward:
            if term.op != "weight":
                continue
            share = shares[term.attributes["weight"].path]
            added = tuple([places[name] for name in share.names])
            if len(added) > 1 and added not in self.sums:
                self.sums.append(added)
            at = added[0] if len(added) == 1 else len(wholes) + self.sums.index(added)
            own = weights[share.names[0]]
            rows, *rest = own.shape
            form = (rows // share.parts, *rest)
            first = share.position * form[0]
            piece = Piece(at, first * prod(rest), form)
            found[term] = piece, first * own.stride(0), own.stride()
        lengths += [lengths[added[0]] for added in self.sums]
        terms = [*self.built.given, *graph.states.values()]
        self.pieces = tuple([found[term][0] for term in terms])
        #: Where each piece lies: in which whole, how many numbers behind its first, and how.
        self.places = [
            (piece.whole, offset, Lie(piece.shape, strides))
            for piece, offset, strides in (found[term] for term in terms)
        ]
        size = event.element_size()
        self.offsets = [(whole, offset * size) for whole, offset, _ in self.places]
        lies = tuple([lie for _, _, lie in self.places])
        counts = len(self.order.rows), self.order.batch, self.order.total
        self.shape = Shape(tuple(task.sizes.items()), *counts, threads(), lies)
        self.wide = replace(self.shape, pieces=self.pieces, wholes=tuple(lengths))

    def __call__(self, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The output and the last states."""
        if torch.is_grad_enabled():
            found: tuple[Tensor, ...] = Again.apply(self, *tensors)
            return found
        return tuple(self.forward(self.wholes(tensors), training=False)[0])

    def wholes(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """What a call brings, the constants, and the sums."""
        return [*tensors, *self.constants, *[tensors[i] + tensors[j] for i, j in self.sums]]

    def addresses(self, wholes: Sequence[Tensor]) -> list[int]:
        """Where each piece begins."""
        begins = [one.data_ptr() for one in wholes]
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
            forms=self.forms,
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
        added = [any(asked[i] for i in pair) for pair in self.sums]
        every = [*asked, *[False] * len(self.constants), *added]
        upstream = in_rows(gradients)
        shape = self.wide.backward(upstream, [every[one.whole] for one in self.pieces])
        found = run_backward(
            self.built,
            shape,
            self.order,
            self.addresses(wholes),
            kept,
            upstream,
            [one.shape for one in wholes],
        )
        first = len(wholes) - len(self.sums)
        for pair, gradient in zip(self.sums, found[first:], strict=True):
            for i in pair:
                before = found[i]
                found[i] = gradient if before is None or gradient is None else before + gradient
        return [one if wanted else None for one, wanted in zip(found, asked, strict=False)]

    def differentiable(
        self, tensors: Sequence[Tensor], gradients: Sequence[Tensor | None]
    ) -> list[Tensor | None]:
        """The gradients by operations of torch."""
        given = []
        with torch.enable_grad():
            wholes = self.wholes(tensors)
            for position, offset, lie in self.places:
                whole = wholes[position]
                at = whole.storage_offset() + offset
                given.append(whole.as_strided(lie.shape, lie.strides, at))
        return differentiable(self.built, self.task, given, gradients, tensors)


class Again(torch.autograd.Function):
    """A run that is ready: whole tensors in, the output and the last states out."""

    @staticmethod
    def forward(ctx: Any, ready: Ready, *tensors: Tensor) -> Any:
        wholes = ready.wholes(tensors)
        outputs, kept = ready.forward(wholes, training=any(ctx.needs_input_grad))
        if kept is not None:
            ctx.save_for_backward(kept, *tensors)
            ctx.set_materialize_grads(False)
            ctx.ready, ctx.strides = ready, [one.stride() for one in tensors]
        return tuple(outputs)

    @staticmethod
    @untraced
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        kept, *saved = ctx.saved_tensors
        ready: Ready = ctx.ready
        # A hook on what is saved may give it back in another order in memory.
        pairs = zip(saved, ctx.strides, strict=True)
        tensors = [
            one if one.stride() == strides else ordered_as(one, strides) for one, strides in pairs
        ]
        if by_operations(tensors, gradients):
            return None, *ready.differentiable(tensors, gradients)
        return None, *ready.backward(kept, tensors, gradients, ctx.needs_input_grad[1:])


def ordered_as(tensor: Tensor, strides: Sequence[int]) -> Tensor:
    """A tensor's numbers in memory as the strides say."""
    like = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=tensor.device)
    return like.copy_(tensor)


def ready(
    task: Run, shares: Mapping[str, Share], weights: Mapping[str, Tensor], forms: Forms
) -> Ready | None:
    """Runs of a task's form, made ready, or None where more than tensors would be new.

    Args:
        shares: What each of the graph's weights is, by path.
        weights: The tensors that are named there.
    """
    graph = task.graph
    alone = len(task.inputs) == 1 and not graph.noises and not task.names and not task.hold
    if not alone or task.restart is not None or not sum(task.rows):
        return None
    for path in graph.weights:
        own = [weights[name] for name in shares[path].names]
        alike = all(one.stride() == own[0].stride() for one in own)
        if not alike or (len(own[0].shape) == 1 and not own[0].is_contiguous()):
            return None
    event = next(iter(task.inputs.values()))
    kinds = (), (), torch.is_grad_enabled() and event.requires_grad
    built = kernels(graph, kinds, 8 * event.element_size())
    known = {*graph.inputs.values(), *[one for one in graph.forward if one.op == "weight"]}
    more = [one for one in built.given if one not in known]
    needed = closure(more)
    if needed & known:
        return None  # torch computes some values from the weights, before the kernels
    found: dict[Term, Tensor] = {}
    terms = [one for one in graph.forward if one in needed]
    Section(terms, found, task).compute(found, event)
    constants = {one: found[one].contiguous() for one in more}
    return Ready(task, built, shares, weights, forms, constants)
