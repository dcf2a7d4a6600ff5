"""The functions of Triton's language that printed kernels call, on torch.

A stand-in to run the printed text where Triton is not installed, which takes a gigabyte. It is
stricter than a GPU: an access outside of a buffer raises, and so does a read before the barrier
that follows the write, or a read of another program's number that does not go through the cache
that all programs share. The programs of a tile run as threads, of which all but one wait: each
goes on until it needs what another has not written.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from gatewright.backends.triton.tiles import Tiles

#: For each thread: the program's two numbers, the barriers it has passed, its launch, and the
#: counter that it has read last with its value.
HERE = threading.local()
#: Seconds that a program waits for others, at most. The longest test takes one.
PATIENCE = 60


class Buffer:
    """A tensor's memory; for each number, the barriers before its write and the writing program."""

    def __init__(self, tensor: Tensor) -> None:
        spans = zip(tensor.shape, tensor.stride(), strict=True)
        count = 1 + sum((n - 1) * step for n, step in spans) if tensor.numel() else 0
        self.flat = tensor.detach().as_strided((count,), (1,))
        self.written, self.by = torch.full((2, count), -1)


class Pointer:
    """Offsets into a buffer."""

    def __init__(self, buffer: Buffer, offset: Any = 0) -> None:
        self.buffer, self.offset = buffer, offset

    def __add__(self, more: Any) -> Pointer:
        return Pointer(self.buffer, self.offset + more)

    def places(self, mask: Any) -> tuple[Tensor, Tensor]:
        """Return the offsets, zero where they are masked, and the mask."""
        mask = torch.as_tensor(True if mask is None else mask)
        offset, mask = torch.broadcast_tensors(torch.as_tensor(self.offset), mask)
        inside = (offset >= 0) & (offset < len(self.buffer.flat))
        if not inside[mask].all():
            raise IndexError("a kernel reads or writes outside of a buffer")
        return torch.where(mask, offset, 0), mask


def load(pointer: Pointer, mask: Any = None, other: float = 0.0, cache_modifier: str = "") -> Any:
    offset, mask = pointer.places(mask)
    if not mask.any():
        return torch.full(offset.shape, other, dtype=pointer.buffer.flat.dtype)
    if (pointer.buffer.written[offset][mask] >= HERE.barriers).any():
        raise RuntimeError("a kernel reads a number that was written since the last barrier")
    others = pointer.buffer.by[offset][mask]
    if ((others >= 0) & (others != HERE.program[1])).any() and cache_modifier != ".cg":
        raise RuntimeError("a kernel reads another program's number from a cache of its own")
    return torch.where(mask, pointer.buffer.flat[offset], other)


def store(pointer: Pointer, value: Tensor, mask: Any = None) -> None:
    offset, mask = pointer.places(mask)
    pointer.buffer.flat[offset[mask]] = value.to(pointer.buffer.flat.dtype)[mask]
    pointer.buffer.written[offset[mask]] = HERE.barriers
    pointer.buffer.by[offset[mask]] = HERE.program[1]


def atomic_add(pointer: Pointer, more: int, sem: str, scope: str) -> int:
    assert (sem, scope) == ("release" if more else "acquire", "gpu")
    turn, counters, offset = HERE.launch.turn, pointer.buffer.flat, int(pointer.offset)
    if more:
        before = int(counters[offset])
        counters[offset] += more
        turn.notify_all()
        return before
    # Threads that read it again and again took a fifth more processor time in all.
    if HERE.last_read == (pointer.buffer, offset, int(counters[offset])) and not turn.wait(
        PATIENCE
    ):
        raise RuntimeError("a program waits for what no other does")
    if HERE.launch.failures:
        raise RuntimeError("another program failed")
    HERE.last_read = pointer.buffer, offset, int(counters[offset])
    return HERE.last_read[-1]


def debug_barrier() -> None:
    HERE.barriers += 1


def dot(a: Tensor, b: Tensor, total: Tensor, input_precision: str) -> Tensor:
    assert a.dtype == b.dtype and input_precision == "ieee"
    assert min(*a.shape, *b.shape) >= 16
    return total + a.to(total.dtype) @ b.to(total.dtype)


LANGUAGE = SimpleNamespace(
    float32=torch.float32,
    float64=torch.float64,
    bfloat16=torch.bfloat16,
    float16=torch.float16,
    int32=torch.int32,
    int64=torch.int64,
    load=load,
    store=store,
    atomic_add=atomic_add,
    debug_barrier=debug_barrier,
    dot=dot,
    program_id=lambda axis: HERE.program[axis],
    arange=lambda first, end: torch.arange(first, end),
    zeros=lambda shape, dtype: torch.zeros(shape, dtype=dtype),
    full=lambda shape, value, dtype: torch.full(shape, value, dtype=dtype),
    broadcast_to=lambda a, shape: a.expand(shape),
    where=torch.where,
    abs=torch.abs,
    sum=lambda a, axis: a.sum(axis),
    max=lambda a, axis: a.nan_to_num(nan=-torch.inf).amax(axis),  # leaves NaN out, as Triton's
)
IMPORTS = "import triton\nimport triton.language as tl\n"


def jit(function: Any = None, **_: Any) -> Any:
    """Return a function unchanged, or a decorator that does."""
    return function or (lambda decorated: decorated)


def built(name: str, text: str) -> Any:
    """Replace `gatewright.backends.triton.build.built`."""
    assert IMPORTS in text
    triton = SimpleNamespace(jit=jit)
    namespace = {"triton": triton, "tl": LANGUAGE, "libdevice": torch}
    exec(compile(text.replace(IMPORTS, ""), name, "exec"), namespace)
    kernel = namespace[name]

    def launch(grid: tuple[int, int], tiles: Tiles, arguments: Sequence[Any]) -> None:
        assert grid[1] == tiles.parts and grid[0] <= tiles.at_once
        values = [Pointer(Buffer(o)) if isinstance(o, Tensor) else o for o in arguments]
        for tile in range(grid[0]):
            run = SimpleNamespace(turn=threading.Condition(), failures=[])
            threads = [
                threading.Thread(target=program, args=(kernel, values, (tile, part), run))
                for part in range(grid[1])
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            if run.failures:
                raise run.failures[0]

    return launch


def program(kernel: Any, values: Sequence[Any], ids: tuple[int, int], run: Any) -> None:
    HERE.program, HERE.barriers, HERE.launch, HERE.last_read = ids, 0, run, None
    with run.turn:
        try:
            with torch.no_grad():
                kernel(*values)
        except Exception as failure:
            run.failures.append(failure)
            run.turn.notify_all()
