"""Memory for the buffers of a run, reused from one run to the next.

The C library returns a large block to the system as soon as it is free, and mapping 33 MB
again costs more than a kernel that fills them. So large blocks wait in a pool for the next
run; a block comes back by itself when torch drops the last tensor that uses it.
"""

from __future__ import annotations

import os
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from threading import RLock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatewright.backends.checked_build import checked
from gatewright.errors import KernelError

#: numpy has no bfloat16, and takes its bits as integers.
NUMPY: dict[torch.dtype, type[np.generic]] = {
    torch.float32: np.float32,
    torch.float64: np.float64,
    torch.bfloat16: np.uint16,
}
#: Smaller blocks, in bytes, come from the C library, which pools them itself.
LARGE = 1 << 18
#: Most blocks that wait, and the largest ratio of a block to the size that it is taken for.
WAITING, LARGER = 16, 2.0
#: A vector that crosses the end of a cache line, in bytes, takes two accesses.
CACHE_LINE = 64
#: Whether this process uses the checked build.
CHECKED = checked()
#: A waiting block is freed after this many others have come back.
LONG = 100


#: Bytes of a block that a pool lends.
Block = np.ndarray[Any, np.dtype[np.uint8]]


def new_block(size: int) -> Block:
    """Allocate bytes that begin with a cache line.

    By numpy, which asks Linux for pages of 2 MB where an array has 4 MB and more. torch leaves
    them at 4 KB, and a run of some 20 MB then waits for the addresses of its pages.
    """
    block = np.empty(size + CACHE_LINE, np.uint8)
    return block[-block.ctypes.data % CACHE_LINE :][:size]


class Pool:
    """Large blocks that wait for their next use."""

    def __init__(self) -> None:
        self.waiting: dict[int, Block] = {}
        #: The time at which each block came back, counted in blocks.
        self.came: dict[int, int] = {}
        self.count = 0
        # Python may collect garbage, and so give blocks back, between any two lines of the thread
        # that holds the lock: these blocks wait here, since the tables are half changed then.
        self.returned: deque[Block] = deque()
        self.lock = RLock()
        self.is_busy = False

    def take(self, dtype: torch.dtype, *shape: int) -> Tensor:
        """Take a tensor with arbitrary numbers."""
        size = prod(shape) * dtype.itemsize
        if CHECKED:
            return guarded(dtype, shape)
        if size < LARGE:
            return torch.empty(shape, dtype=dtype, device="cpu")
        block = self._waiting_block(size)
        if block is None:
            block = new_block(size)
        # Through numpy: torch does not let a user change an output of an autograd function in
        # place if it is a view of another tensor.
        lent = block[:size].view(NUMPY[dtype]).reshape(shape)
        weakref.finalize(lent, self.give, block).atexit = False
        return as_tensor(lent, dtype)

    def give(self, block: Block) -> None:
        """Take a block back, and free those that have waited too long."""
        self.returned.append(block)
        with self._tables() as are_free:
            if are_free:
                self._absorb()

    def _waiting_block(self, size: int) -> Block | None:
        """Take the smallest block that fits, or None."""
        with self._tables() as are_free:
            if not are_free:
                return None
            self._absorb()
            waiting = self.waiting.values()
            fitting = [block for block in waiting if size <= block.nbytes <= LARGER * size]
            least = min(fitting, key=lambda block: block.nbytes, default=None)
            self.came.pop(id(least), None)
            return self.waiting.pop(id(least), None)

    @contextmanager
    def _tables(self) -> Iterator[bool]:
        """Hold the lock; yields False where this thread is in the middle of changing the tables."""
        with self.lock:
            if self.is_busy:
                yield False
                return
            self.is_busy = True
            try:
                yield True
            finally:
                self.is_busy = False

    def _absorb(self) -> None:
        """Move the blocks that came back into the tables, and free old ones."""
        while self.returned:
            block = self.returned.popleft()
            self.count += 1
            self.waiting[id(block)], self.came[id(block)] = block, self.count
        while self.waiting:
            oldest = next(iter(self.waiting))
            new = self.came[oldest] > self.count - LONG
            if new and len(self.waiting) <= WAITING:
                break
            del self.waiting[oldest], self.came[oldest]


def as_tensor(array: np.ndarray[Any, Any], dtype: torch.dtype) -> Tensor:
    """Return an array's memory as a tensor that is no view of another one."""
    if dtype != torch.bfloat16:
        return torch.from_numpy(array)
    bits = torch.from_numpy(array)
    tensor = torch.empty(0, dtype=dtype)
    return tensor.set_(bits.untyped_storage(), 0, bits.shape, bits.stride())


#: The blocks of the checked build that are in use, with their guard zones.
GUARDED: dict[int, weakref.ref[Any]] = {}
#: The length of a guard zone, and the number that it is filled with; in bfloat16 its bits, and
#: those of NaN.
GUARD, PATTERN = 64, 1.2345678e30
LOW_PATTERN, LOW_NAN = 0x7179, 0x7FC0


def guarded(dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """Allocate a tensor full of NaN between two guard zones."""
    count = prod(shape)
    block = np.empty(count + 2 * GUARD, NUMPY[dtype])
    block[:] = pattern(block)
    inside = block[GUARD : GUARD + count]
    inside[:] = LOW_NAN if dtype == torch.bfloat16 else np.nan
    key = id(block)
    GUARDED[key] = weakref.ref(block, lambda _: GUARDED.pop(key, None))
    return as_tensor(inside.reshape(shape), dtype)


def pattern(block: np.ndarray[Any, Any]) -> Any:
    """The number that a block's guard zones are filled with."""
    return block.dtype.type(LOW_PATTERN if block.dtype == np.uint16 else PATTERN)


def check_guards() -> None:
    """Check all guard zones.

    Raises:
        KernelError: if one of them was written.
    """
    for block in [reference() for reference in list(GUARDED.values())]:
        if block is None:
            continue
        zones = np.concatenate([block[:GUARD], block[-GUARD:]])
        if not (zones == pattern(block)).all():
            raise KernelError(f"the guard zones of a block of {len(block)} numbers are changed")


POOL = Pool()
if hasattr(os, "register_at_fork"):  # a lock held by another thread would stay held in the child
    os.register_at_fork(after_in_child=lambda: setattr(POOL, "lock", RLock()))
