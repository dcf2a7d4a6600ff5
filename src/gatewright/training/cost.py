"""How much memory a step of training takes: what its forward pass keeps for its backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(slots=True)
class Held:
    """Bytes of every piece of memory that was saved, each counted once."""

    pieces: dict[int, int] = field(default_factory=dict)  # address to bytes

    @property
    def count(self) -> int:
        """All bytes."""
        return sum(self.pieces.values())


@contextmanager
def saved_bytes() -> Iterator[Held]:
    """Counts what autograd saves inside the block.

    >>> x = torch.ones(100, requires_grad=True)
    >>> with saved_bytes() as held:
    ...     y = x.exp()
    >>> held.count
    400
    """
    held = Held()

    def seen(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        held.pieces[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(seen, lambda tensor: tensor):
        yield held
