"""The memory of tensors: a user may free or resize their storage, or replace it during a call.

Kernels read raw addresses, so this is tested before each of their calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, UntypedStorage


class Memory(NamedTuple):
    """The addresses that kernels read, and the storages that own this memory while they run.

    Another thread may replace the data of a weight meanwhile, as `layer.to` does. Without the
    storages, that would free what a kernel reads, which ends the process.
    """

    addresses: list[int]
    storages: list[UntypedStorage]

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> Memory:
        """The memory of tensors.

        The addresses are those of the storages that are held: `tensor.data_ptr()` is already that
        of another one where a thread has replaced the data in between.
        """
        storages = [tensor.untyped_storage() for tensor in tensors]
        addresses: list[Any] = [  # integers: no symbol comes here
            storage.data_ptr() + tensor.storage_offset() * tensor.element_size()
            for storage, tensor in zip(storages, tensors, strict=True)
        ]
        return cls(addresses, storages)


def extent(shape: Sequence[int], strides: Sequence[int]) -> int:
    """The count of numbers from a tensor's first one in memory to its last, both included."""
    if 0 in shape:
        return 0
    return 1 + sum([(n - 1) * stride for n, stride in zip(shape, strides, strict=True)])


def byte_extent(tensor: Tensor) -> int:
    """The bytes from a tensor's first number to the end of its last."""
    return extent(tensor.shape, tensor.stride()) * tensor.element_size()


def all_in_storage(tensors: Sequence[Tensor], extents: Sequence[int], itemsize: int) -> bool:
    """Check tensors of one dtype, whose `byte_extent` is known from an earlier call.

    One list for all tensors: this runs before each repeated call of a layer.
    """
    return all(
        [
            tensor.untyped_storage().nbytes() >= tensor.storage_offset() * itemsize + length
            and tensor.data_ptr()  # 0 for torch's tensors of lazy zeros
            for tensor, length in zip(tensors, extents, strict=True)
        ]
    )


def in_storage(tensor: Tensor) -> bool:
    """Check that all numbers of a tensor lie in its storage.

    Not by `all_in_storage`, whose list would cost 0.8 us for each of some ten tensors of a call.
    """
    if not tensor.numel():
        return True
    end = (tensor.storage_offset() + extent(tensor.shape, tensor.stride())) * tensor.element_size()
    return tensor.untyped_storage().nbytes() >= end and tensor.data_ptr() != 0
