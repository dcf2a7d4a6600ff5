"""Memory for the buffers of a run, kept from one run to the next.

The C library gives a large block back to the system as soon as it is free, and to have 33 MB
mapped anew costs more than a kernel that fills them. So large blocks wait here for the next
run; those that a run lets go of come back by themselves, when torch drops the last tensor.
"""

from __future__ import annotations

import weakref
from math import prod
from threading import RLock

import numpy as np
import torch
from torch import Tensor

NUMPY = {torch.float32: np.float32, torch.float64: np.float64}
#: Smaller blocks, in bytes, are the C library's: it keeps them at hand itself.
LARGE = 1 << 18
#: Blocks that wait at most, and how much larger than asked for a block may be that is given.
WAITING, LARGER = 16, 2.0


class Pool:
    """Large blocks that wait for their next use."""

    def __init__(self) -> None:
        self.waiting: dict[int, Tensor] = {}
        # A block may come back while another is looked for, in the same thread.
        self.lock = RLock()

    def take(self, dtype: torch.dtype, *shape: int) -> Tensor:
        """A tensor whose numbers may be anything."""
        size = prod(shape) * dtype.itemsize
        if size < LARGE:
            return torch.empty(shape, dtype=dtype, device="cpu")
        with self.lock:
            # A list of its own, made at once: while it is walked through, blocks come and go.
            fitting = [
                one for one in list(self.waiting.values()) if size <= one.nbytes <= LARGER * size
            ]
            least = min(fitting, key=lambda one: one.nbytes, default=None)
            block = self.waiting.pop(id(least), None)
        if block is None:
            block = torch.empty(size, dtype=torch.uint8, device="cpu")
        # Through numpy, since a part of a torch tensor could not be an output of a function
        # that its user changes in place.
        lent = block.numpy()[:size].view(NUMPY[dtype]).reshape(shape)
        weakref.finalize(lent, self.give, block).atexit = False
        return torch.from_numpy(lent)

    def give(self, block: Tensor) -> None:
        """Take a block back; the one that has waited longest makes room."""
        with self.lock:
            self.waiting[id(block)] = block
            while len(self.waiting) > WAITING:
                del self.waiting[next(iter(self.waiting))]


POOL = Pool()
