"""Memory of a training step: the bytes that its forward pass saves for its backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(slots=True)
class SavedMemory:
    """Storages that autograd saved, each counted once however many tensors share it."""

    storages: dict[int, int] = field(default_factory=dict)  # address to bytes

    @property
    def total(self) -> int:
        """Bytes of all storages."""
        return sum(self.storages.values())


@contextmanager
def saved_memory() -> Iterator[SavedMemory]:
    """Count what autograd saves inside the block.

    >>> x = torch.ones(100, requires_grad=True)
    >>> with saved_memory() as memory:
    ...     y = x.exp()
    >>> memory.total
    400
    """
    memory = SavedMemory()

    def count(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        memory.storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        yield memory
