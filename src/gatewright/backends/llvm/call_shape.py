"""The shape of a call: everything that a program depends on in addition to the graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from gatewright.backends.llvm.library import Kernels
from gatewright.backends.llvm.precision import LOW
from gatewright.backends.llvm.threads import threads
from gatewright.backends.storage import extent


class TensorForm(NamedTuple):
    """A tensor's shape and strides, and whether it is in bfloat16."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    low: bool = False

    @property
    def extent(self) -> int:
        """The count of numbers from the first one to the last one."""
        return extent(self.shape, self.strides)

    @classmethod
    def of(cls, tensor: Tensor) -> TensorForm:
        """Return the form of a tensor."""
        return cls(tuple(tensor.shape), tensor.stride(), tensor.dtype == LOW)


class Piece(NamedTuple):
    """Some rows of a tensor that belong to one term.

    Attributes:
        whole: The position of the whole tensor.
        offset: The numbers of the whole's gradient in front of the piece's. All gradients are
            contiguous, even if the tensors are not.
        shape: The shape of the piece.
    """

    whole: int
    offset: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class CallShape:
    """All sizes and memory layouts that a program depends on.

    Attributes:
        sizes: Numbers for "input" and "hidden".
        steps, batch, total: T, B and the number of packed rows N.
        threads: The number of threads.
        forms: The form of each tensor that comes in.
        present: For each upstream gradient, whether there is one.
        requested: For each tensor that comes in, whether its gradient is requested.
        fresh: Whether there are fresh states, for restarts.
        pieces: For each tensor that comes in, the piece that it is of a whole tensor, whose
            gradient is requested; empty where all are whole.
        wholes: The count of numbers of each of those whole tensors.
    """

    sizes: tuple[tuple[str, int], ...]
    steps: int
    batch: int
    total: int
    threads: int
    forms: tuple[TensorForm, ...]
    present: tuple[bool, ...] = ()
    requested: tuple[bool, ...] = ()
    fresh: bool = False
    pieces: tuple[Piece, ...] = ()
    wholes: tuple[int, ...] = ()

    @classmethod
    def of(
        cls,
        sizes: Mapping[str, int],
        steps: int,
        batch: int,
        total: int,
        tensors: Sequence[Tensor],
        *,
        fresh: bool,
    ) -> CallShape:
        """Return the shape of a forward pass on as many threads as torch has."""
        forms = tuple([TensorForm.of(tensor) for tensor in tensors])
        return cls(tuple(sizes.items()), steps, batch, total, threads(), forms, fresh=fresh)

    def backward(self, upstream: Sequence[Tensor | None], requested: Sequence[bool]) -> CallShape:
        """Return the shape of the backward pass."""
        present = tuple([gradient is not None for gradient in upstream])
        return replace(self, present=present, requested=tuple(requested))

    @property
    def low(self) -> bool:
        """Tell if states, results and upstream gradients are in bfloat16."""
        return self.forms[-1].low

    def forward(self) -> CallShape:
        """Return the shape of the forward pass."""
        return replace(self, present=(), requested=(), pieces=(), wholes=())


def prepared(built: Kernels, inputs: Sequence[Tensor], states: Sequence[Tensor]) -> list[Tensor]:
    """Lay out tensors as kernels read them: numbers in contiguous rows; matrices as they are."""
    like = states[0]
    tensors = []
    for term, tensor in zip(built.inputs, inputs, strict=True):
        numbers = tensor.to(like.dtype) if tensor.dtype == torch.bool else tensor
        numbers = numbers.resolve_neg()
        tensors.append(numbers if term in built.matrices else numbers.contiguous())
    return [*tensors, *[state.resolve_neg().contiguous() for state in states]]
