"""The backward pass of a run: running its program, and collecting the gradients."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from gatewright.backends.llvm.backward_program import BackwardProgram
from gatewright.backends.llvm.call_shape import CallShape
from gatewright.backends.llvm.library import Kernels
from gatewright.backends.llvm.memory import POOL
from gatewright.backends.llvm.precision import LOW
from gatewright.backends.llvm.verify import Span
from gatewright.backends.order import Order
from gatewright.backends.storage import Memory
from gatewright.errors import KernelError


def run_backward(
    built: Kernels,
    shape: CallShape,
    order: Order,
    memory: Memory,
    saved: Tensor,
    upstream: Sequence[Tensor | None],
    shapes: Sequence[Sequence[int]],
) -> list[Tensor | None]:
    """Compute the gradients that are requested.

    Args:
        memory: The memory of the tensors that came in.
        saved: The memory that the forward pass left.
        upstream: The gradients of the tensors that it returned, in contiguous rows.
        shapes: The shapes of the gradients: of the tensors that came in, or of the whole
            tensors that they are pieces of.
    """
    program = built.program("backward", shape, BackwardProgram)
    _check_memory(program, saved, upstream)
    scratch = POOL.take(saved.dtype, program.lengths.get("scratch", 0))
    blocks = _take_blocks(program, saved.dtype, shapes)
    seeds = [0 if gradient is None else gradient.data_ptr() for gradient in upstream]
    own = [saved.data_ptr(), scratch.data_ptr()]
    results = [block.data_ptr() for block in blocks]
    program([*order.addresses, *own, *memory.addresses, *seeds, *results])
    return _collect(program, blocks, shapes)


def _check_memory(
    program: BackwardProgram, saved: Tensor, upstream: Sequence[Tensor | None]
) -> None:
    """Refuse memory that is smaller than the program expects: hooks may have replaced it.

    Raises:
        KernelError: with both sizes.
    """
    if saved.numel() < program.lengths["saved"] or not saved.is_contiguous():
        raise KernelError(
            f"the memory that the forward pass left has shape {tuple(saved.shape)}; expected "
            f"{program.lengths['saved']} numbers without gaps"
        )
    for i, gradient in enumerate(upstream):
        expected = program.lengths[f"upstream {i}"]
        if gradient is not None and gradient.numel() < expected:
            raise KernelError(
                f"an upstream gradient has shape {tuple(gradient.shape)}; expected "
                f"{expected} numbers"
            )


def _take_blocks(
    program: BackwardProgram, dtype: torch.dtype, shapes: Sequence[Sequence[int]]
) -> list[Tensor]:
    """Take the memory of the gradients, with zeros where pieces of a whole are missing."""
    blocks = []
    for i, name in enumerate(program.blocks):
        whole = program.whole_of.get(i)
        block_shape = (program.lengths[name],) if whole is None else shapes[whole]
        low = program.bases[name] in program.low
        blocks.append(POOL.take(LOW if low else dtype, *block_shape))
    for whole, count in program.missing.items():
        if count:
            blocks[program.homes[whole].base - program.bases["gradients"]].zero_()
    return blocks


def _collect(
    program: BackwardProgram, blocks: Sequence[Tensor], shapes: Sequence[Sequence[int]]
) -> list[Tensor | None]:
    """Add up the parts of each gradient."""
    first = program.bases["gradients"]
    gradients: list[Tensor | None] = [None] * len(shapes)
    for part in program.results:
        position, whole, piece = part.span.base - first, part.whole, part.piece
        tensor = blocks[position]
        if position not in program.whole_of:
            tensor = _within(tensor, part.span, shapes[whole] if piece is None else piece.shape)
        before = gradients[whole]
        if piece is not None:
            if before is None:
                before = gradients[whole] = tensor.new_zeros(*shapes[whole])
            row = piece.offset // prod(piece.shape[1:])
            before.narrow(0, row, piece.shape[0]).add_(tensor)
        else:
            gradients[whole] = tensor if before is None else before + tensor
    return gradients


def _within(block: Tensor, span: Span, shape: Sequence[int]) -> Tensor:
    """Copy a gradient out of a block that holds several."""
    rows, length = (shape[-2] if len(shape) > 1 else 1), span.length
    strides = (rows * length, length, 1)[-len(shape) :]
    # The copy has no gaps and memory of its own: optimizers access all of a gradient's memory,
    # and its user may free it or change it in place.
    rows_apart = block.as_strided(shape, strides, block.storage_offset() + span.offset)
    return rows_apart.clone(memory_format=torch.contiguous_format)
