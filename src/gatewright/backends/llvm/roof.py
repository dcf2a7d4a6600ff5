"""The machine's roof: what its cores and its memory give to a loop that does nothing else.

Three small kernels from the emitter that also writes the real ones, so that both have the same
vectors: multiply-adds in registers, reading, copying. A run cannot be faster than the slower
of its operations at the first speed and its bytes at the others (Williams, Waterman and
Patterson 2009, "Roofline: an insightful visual performance model").
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from threading import Barrier

import torch
from llvmlite import ir

from gatewright.backends.llvm import build
from gatewright.backends.llvm.index import INDEX
from gatewright.backends.llvm.ir import POINTER, Function, Numbers
from gatewright.schedule.work import Phase

#: Bytes of the memory that is read and copied: from a core's own cache to the main memory.
SPANS = tuple(2**power for power in range(14, 29, 2))
#: Vectors in one turn of a memory loop: more than the additions that are under way at once.
ABREAST = 8
SECONDS, TRIES = 0.01, 5


@dataclass(frozen=True)
class Roof:
    """What all threads together reach.

    Attributes:
        threads: How many.
        operations: Additions and multiplications a second.
        read, copied: (bytes, bytes a second) by the size of the memory that is gone through;
            copying counts what is read and what is written.
    """

    threads: int
    operations: float
    read: Sequence[tuple[int, float]]
    copied: Sequence[tuple[int, float]]

    def seconds(self, phases: Sequence[Phase]) -> float:
        """The least time that the phases take, one after the other."""
        return sum(self.of(one) for one in phases)

    def of(self, phase: Phase) -> float:
        """The least time of one phase: it computes, streams and walks at once."""
        return max(
            phase.operations / self.operations,
            phase.streamed / speed(self.copied, phase.streamed),
            phase.steps * phase.walked / speed(self.read, phase.walked),
        )


def speed(measured: Sequence[tuple[int, float]], span: float) -> float:
    """The speed at a size, between those that were measured, on logarithmic scales."""
    if span <= measured[0][0]:
        return measured[0][1]
    for (small, fast), (large, slow) in pairwise(measured):
        if span <= large:
            part = math.log(span / small) / math.log(large / small)
            return math.exp((1 - part) * math.log(fast) + part * math.log(slow))
    return measured[-1][1]


@lru_cache(maxsize=8)
def roof(threads: int, bits: int = 32) -> Roof:
    """Measure the roof of a number of threads and a width of numbers; takes about 3 seconds."""
    with torch.device("cpu"):
        return _roof(threads, replace(build.numbers(bits), checked=False))


def _roof(threads: int, numbers: Numbers) -> Roof:
    library = build.Library(build.object_code(_module(numbers)))

    def speeds(name: str) -> list[tuple[int, float]]:
        found = []
        for span in SPANS:
            walks = [_Walk(library, name, numbers, span // threads) for _ in range(threads)]
            found.append((span, sum(one.bytes for one in walks) * turns_a_second(walks)))
        return found

    compute = build.KERNEL(library.function("compute"))
    operands = [torch.full((256,), 0.5, dtype=_dtype(numbers)) for _ in range(threads)]
    computing = [lambda turns, one=one: compute(one.data_ptr(), 0, turns) for one in operands]
    each = threads * 2 * numbers.lanes * _accumulators()
    return Roof(threads, each * turns_a_second(computing), speeds("read"), speeds("copy"))


class _Walk:
    """One thread's memory, and the kernel that goes through it."""

    def __init__(self, library: build.Library, name: str, numbers: Numbers, span: int) -> None:
        self.kernel = build.KERNEL(library.function(name))
        turn = ABREAST * numbers.lanes
        arrays = 2 if name == "copy" else 1
        count = max(span // numbers.bytes // arrays // turn, 1) * turn
        self.arrays = [torch.ones(count, dtype=_dtype(numbers)) for _ in range(arrays)]
        target = self.arrays[-1] if arrays == 2 else torch.ones(turn, dtype=_dtype(numbers))
        self.arrays.append(target)
        self.table = torch.tensor([self.arrays[0].data_ptr(), target.data_ptr(), count])
        self.bytes = arrays * count * numbers.bytes

    def __call__(self, turns: int) -> None:
        self.kernel(self.table.data_ptr(), 0, turns)


def turns_a_second(runs: Sequence[Callable[[int], None]]) -> float:
    """How often each of the runs turns in a second while all are at it; the best of some tries."""
    turns, taken = 1, 0.0
    # One alone: several may start apart, by more than the turns take.
    while (taken := min(_together(runs[:1], turns) for _ in range(3))) < SECONDS / 4:
        turns *= 2
    turns = math.ceil(turns * SECONDS / taken)
    return max(turns / _together(runs, turns) for _ in range(TRIES))


def _together(runs: Sequence[Callable[[int], None]], turns: int) -> float:
    """Seconds from the first one's start to the last one's end, each in a thread of its own."""
    gate = Barrier(len(runs))

    def timed(run: Callable[[int], None]) -> tuple[float, float]:
        gate.wait()
        begin = time.perf_counter()
        run(turns)  # ctypes lets the interpreter's lock go meanwhile
        return begin, time.perf_counter()

    with ThreadPoolExecutor(len(runs)) as pool:
        times = list(pool.map(timed, runs))
    return max(end for _, end in times) - min(begin for begin, _ in times)


def _dtype(numbers: Numbers) -> torch.dtype:
    return torch.float32 if numbers.bits == 32 else torch.float64


def _accumulators() -> int:
    """As many sums as fit into the registers: more than are under way at once."""
    return build.registers() * 3 // 4


def _module(numbers: Numbers) -> ir.Module:
    """Emit `compute`, `read` and `copy`, each `(address, first turn, last turn)`."""
    module = ir.Module("roof")
    kinds = [POINTER, INDEX, INDEX]
    f = Function(module, "compute", kinds, numbers)
    address, begin, end = f.arguments
    half = f.load(address)  # from memory, since LLVM would compute with a constant itself
    # x / 2 + 1 / 2 tends to 1, and neither grows nor becomes denormal.
    with f.loop(begin, end, 1, [half] * _accumulators()) as turn:
        turn.update([f.fma(value, half, half) for value in turn.values])
    f.store(_total(f, turn.results), f.address(address, numbers.lanes))
    f.b.ret_void()
    for name in ("read", "copy"):
        f = Function(module, name, kinds, numbers)
        table, begin, end = f.arguments
        source, target = f.load_pointer(table, 0), f.load_pointer(table, 1)
        count = f.load_index(table, 2)
        with f.loop(begin, end, 1, [f.splat(0.0)] * ABREAST) as turn:
            with f.loop(0, count, ABREAST * numbers.lanes, turn.values) as position:
                places = [position + i * numbers.lanes for i in range(ABREAST)]
                vectors = [f.load(f.address(source, place)) for place in places]
                if name == "read":
                    sums = zip(position.values, vectors, strict=True)
                    position.update([f.b.fadd(total, vector) for total, vector in sums])
                else:
                    for vector, place in zip(vectors, places, strict=True):
                        f.store(vector, f.address(target, place))
            turn.update(position.results)
        if name == "read":
            f.store(_total(f, turn.results), target)
        f.b.ret_void()
    return module


def _total(f: Function, sums: Sequence[ir.Value]) -> ir.Value:
    total = sums[0]
    for vector in sums[1:]:
        total = f.b.fadd(total, vector)
    return total
