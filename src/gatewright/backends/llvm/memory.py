"""Memory for the buffers of a run, kept from one run to the next.

The C library gives a large block back to the system as soon as it is free, and to have 33 MB
mapped anew costs more than a kernel that fills them. So large blocks wait here for the next
run; those that a run lets go of come back by themselves, when torch drops the last tensor.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from math import prod
from threading import RLock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatewright.backends.llvm.checked import checked
from gatewright.errors import KernelError

NUMPY = {torch.float32: np.float32, torch.float64: np.float64}
#: Smaller blocks, in bytes, are the C library's: it keeps them at hand itself.
LARGE = 1 << 18
#: Blocks that wait at most, and how much larger than asked for a block may be that is given.
WAITING, LARGER = 16, 2.0
#: Whether this process uses the checked build.
CHECKED = checked()
#: Blocks that come back while one waits, until it is let go.
LONG = 100


class Pool:
    """Large blocks that wait for their next use."""

    def __init__(self) -> None:
        self.waiting: dict[int, Tensor] = {}
        self.came: dict[int, int] = {}  # when each of them did, counted in blocks
        self.count = 0
        # A block may come back while another is looked for, in the same thread.
        self.lock = RLock()

    def take(self, dtype: torch.dtype, *shape: int) -> Tensor:
        """A tensor whose numbers may be anything."""
        size = prod(shape) * dtype.itemsize
        if CHECKED:
            return guarded(dtype, shape)
        if size < LARGE:
            return torch.empty(shape, dtype=dtype, device="cpu")
        with self.lock:
            # A list of its own, made at once: while it is walked through, blocks come and go.
            fitting = [
                one for one in list(self.waiting.values()) if size <= one.nbytes <= LARGER * size
            ]
            least = min(fitting, key=lambda one: one.nbytes, default=None)
            block = self.waiting.pop(id(least), None)
            self.came.pop(id(least), None)
        if block is None:
            block = torch.empty(size, dtype=torch.uint8, device="cpu")
        # Through numpy, since a part of a torch tensor could not be an output of a function
        # that its user changes in place.
        lent = block.numpy()[:size].view(NUMPY[dtype]).reshape(shape)
        weakref.finalize(lent, self.give, block).atexit = False
        return torch.from_numpy(lent)

    def give(self, block: Tensor) -> None:
        """Take a block back; those that nobody has wanted for long are let go."""
        with self.lock:
            self.count += 1
            self.waiting[id(block)], self.came[id(block)] = block, self.count
            while self.waiting:
                oldest = next(iter(self.waiting))
                new = self.came[oldest] > self.count - LONG
                if new and len(self.waiting) <= WAITING:
                    break
                del self.waiting[oldest], self.came[oldest]


#: Blocks of the checked build with their guard zones, as long as they are used.
GUARDED: dict[int, weakref.ref[Any]] = {}
#: Numbers of a guard zone, and what they are.
GUARD, PATTERN = 64, 1.2345678e30


def guarded(dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """A tensor full of NaN between two guard zones."""
    count = prod(shape)
    block = np.full(count + 2 * GUARD, PATTERN, NUMPY[dtype])
    inside = block[GUARD : GUARD + count]
    inside[:] = np.nan
    key = id(block)
    GUARDED[key] = weakref.ref(block, lambda _: GUARDED.pop(key, None))
    return torch.from_numpy(inside.reshape(shape))


def check_guards() -> None:
    """Look at all guard zones.

    Raises:
        KernelError: if somebody has written there.
    """
    for block in [reference() for reference in list(GUARDED.values())]:
        if block is None:
            continue
        zones = np.concatenate([block[:GUARD], block[-GUARD:]])
        if not (zones == block.dtype.type(PATTERN)).all():
            raise KernelError(f"the guard zones of a block of {len(block)} numbers are changed")


POOL = Pool()
if hasattr(os, "register_at_fork"):  # a lock that another thread held stays held in the child
    os.register_at_fork(after_in_child=lambda: setattr(POOL, "lock", RLock()))
