"""Tensors that are saved for the backward pass, checked before kernels read their addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from gatewright.backends.storage import byte_extent, in_storage
from gatewright.errors import ArgumentError


class SavedForm(NamedTuple):
    """The form of a saved tensor; `size` counts the bytes from its first number to its last."""

    shape: torch.Size
    dtype: torch.dtype
    strides: tuple[int, ...]
    size: int


class SavedTensors:
    """The forms of tensors that are saved for the backward pass.

    A hook on saved tensors may return anything, and a user may free their memory meanwhile.
    """

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.forms = [
            SavedForm(
                tensor.shape,
                tensor.dtype,
                tensor.stride(),
                byte_extent(tensor),
            )
            for tensor in tensors
        ]

    def restored(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the tensors with their numbers laid out in memory as they were.

        Raises:
            ArgumentError: if a hook has returned another shape or dtype, or memory was freed.
        """
        pairs = zip(self.forms, tensors, strict=True)
        return [_restored(form, tensor) for form, tensor in pairs]


def _restored(form: SavedForm, tensor: Tensor) -> Tensor:
    shape, dtype, strides, size = form
    tensor = _plain(tensor)
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


def in_rows(upstream: Sequence[Tensor | None]) -> list[Tensor | None]:
    """Lay out upstream gradients as kernels read them: contiguous rows, no lazy negation.

    Raises:
        ArgumentError: if the memory of a gradient was freed or resized.
    """
    upstream = [gradient if gradient is None else _plain(gradient) for gradient in upstream]
    for gradient in upstream:
        if gradient is not None and not in_storage(gradient):
            raise ArgumentError(
                f"an upstream gradient of shape {tuple(gradient.shape)} has lost its memory: it "
                "was freed or resized before the backward pass"
            )
    return [g.resolve_neg().contiguous() if g is not None else None for g in upstream]


def _plain(tensor: Tensor) -> Tensor:
    """Return the tensor itself for a subclass of it, which may report another shape or address."""
    is_plain = type(tensor) is Tensor or type(tensor) is torch.nn.Parameter
    return tensor if is_plain else tensor.as_subclass(Tensor)
