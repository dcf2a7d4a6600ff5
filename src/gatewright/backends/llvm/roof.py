"""The machine's roof: the speed of its cores and of its memory in loops that do nothing else.

Three small kernels measure multiply-adds in registers, reading, and copying. They come from the
same emitter as the real ones, and so have the same vectors. A run takes at least the time of its
operations at the first speed, and that of its bytes at the others (Williams, Waterman and
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
from gatewright.backends.llvm.index import INDEX, POINTER
from gatewright.backends.llvm.ir import Function, Numbers
from gatewright.schedule.work import Phase

#: Bytes that are read and copied: from what a core's first cache holds to the main memory.
SPANS = tuple(2**power for power in range(14, 29, 2))
#: Vectors in one iteration of a memory loop, each with a sum of its own: an addition takes about
#: four cycles, and two start in each, so eight hide the latency.
ABREAST = 8
#: The time of one measurement, and the number of them, of which the fastest counts.
SECONDS, TRIES = 0.01, 5


@dataclass(frozen=True)
class Roof:
    """The speed that all threads reach together.

    Attributes:
        threads: The number of threads.
        operations: Additions and multiplications a second.
        read, copied: (bytes, bytes a second) by the size of the memory that is read or copied;
            copying counts the bytes that are read and those that are written.
    """

    threads: int
    operations: float
    read: Sequence[tuple[int, float]]
    copied: Sequence[tuple[int, float]]

    def seconds(self, phases: Sequence[Phase]) -> float:
        """The least time in which the phases can run, one after the other."""
        return sum(self.of(phase) for phase in phases)

    def of(self, phase: Phase) -> float:
        """The least time of one phase, which computes, streams and reads matrices at once."""
        return max(
            phase.operations / self.operations,
            phase.streamed / speed(self.copied, phase.streamed),
            phase.steps * phase.walked / speed(self.read, phase.walked),
        )


def speed(measured: Sequence[tuple[int, float]], span: float) -> float:
    """Interpolate the speed at a size, on logarithmic scales."""
    if span <= measured[0][0]:
        return measured[0][1]
    for (small, fast), (large, slow) in pairwise(measured):
        if span <= large:
            part = math.log(span / small) / math.log(large / small)
            return math.exp((1 - part) * math.log(fast) + part * math.log(slow))
    return measured[-1][1]


@lru_cache(maxsize=8)
def roof(threads: int, bits: int = 32) -> Roof:
    """Measure the roof for a number of threads and 32-bit or 64-bit numbers, in about 3 seconds."""
    with torch.device("cpu"):
        return _roof(threads, replace(build.numbers(bits), checked=False))


def _roof(threads: int, numbers: Numbers) -> Roof:
    library = build.Library(build.object_code(_module(numbers)))

    def speeds(name: str) -> list[tuple[int, float]]:
        measured = []
        for span in SPANS:
            sweeps = [_Sweep(library, name, numbers, span // threads) for _ in range(threads)]
            size = sum(sweep.bytes for sweep in sweeps)
            measured.append((span, size * runs_a_second(sweeps)))
        return measured

    compute = build.KERNEL(library.function("compute"))
    operands = [torch.full((256,), 0.5, dtype=_dtype(numbers)) for _ in range(threads)]
    computing = [lambda runs, own=own: compute(own.data_ptr(), 0, runs) for own in operands]
    operations = threads * 2 * numbers.lanes * _accumulators()  # a multiply-add counts as two
    return Roof(threads, operations * runs_a_second(computing), speeds("read"), speeds("copy"))


class _Sweep:
    """One thread's memory, and the kernel that reads or copies it."""

    def __init__(self, library: build.Library, name: str, numbers: Numbers, span: int) -> None:
        self.kernel = build.KERNEL(library.function(name))
        step = ABREAST * numbers.lanes
        arrays = 2 if name == "copy" else 1
        count = max(span // numbers.bytes // arrays // step, 1) * step
        self.arrays = [torch.ones(count, dtype=_dtype(numbers)) for _ in range(arrays)]
        target = self.arrays[-1] if arrays == 2 else torch.ones(step, dtype=_dtype(numbers))
        self.arrays.append(target)
        self.table = torch.tensor([self.arrays[0].data_ptr(), target.data_ptr(), count])
        self.bytes = arrays * count * numbers.bytes

    def __call__(self, runs: int) -> None:
        self.kernel(self.table.data_ptr(), 0, runs)


def runs_a_second(loops: Sequence[Callable[[int], None]]) -> float:
    """The runs a second of each loop while all of them run; the best of some measurements.

    Args:
        loops: One for each thread, each called with the number of its runs.
    """
    runs, seconds = 1, 0.0
    # Only the first loop: threads may start at different times, by more than few runs take.
    while (seconds := min(_seconds(loops[:1], runs) for _ in range(3))) < SECONDS / 4:
        runs *= 2
    runs = math.ceil(runs * SECONDS / seconds)
    return max(runs / _seconds(loops, runs) for _ in range(TRIES))


def _seconds(loops: Sequence[Callable[[int], None]], runs: int) -> float:
    """The time from the start of the first thread to the end of the last."""
    gate = Barrier(len(loops))

    def timed(loop: Callable[[int], None]) -> tuple[float, float]:
        gate.wait()
        begin = time.perf_counter()
        loop(runs)  # ctypes releases the interpreter's lock during the call
        return begin, time.perf_counter()

    with ThreadPoolExecutor(len(loops)) as pool:
        times = list(pool.map(timed, loops))
    return max(end for _, end in times) - min(begin for begin, _ in times)


def _dtype(numbers: Numbers) -> torch.dtype:
    return torch.float32 if numbers.bits == 32 else torch.float64


def _accumulators() -> int:
    """The sums in registers: more than the eight that hide the latency of a multiply-add."""
    return build.registers() * 3 // 4


def _module(numbers: Numbers) -> ir.Module:
    """Emit `compute`, `read` and `copy`, each `(address, first run, end run)`."""
    module = ir.Module("roof")
    kinds = [POINTER, INDEX, INDEX]
    f = Function(module, "compute", kinds, numbers)
    address, begin, end = f.arguments
    half = f.load(address)  # from memory, since LLVM would compute with a constant itself
    # x / 2 + 1 / 2 tends to 1, and neither grows nor becomes denormal.
    with f.loop(begin, end, 1, [half] * _accumulators()) as run:
        run.update([f.fma(value, half, half) for value in run.values])
    f.store(_total(f, run.results), f.address(address, numbers.lanes))
    f.b.ret_void()
    for name in ("read", "copy"):
        f = Function(module, name, kinds, numbers)
        table, begin, end = f.arguments
        source, target = f.load_pointer(table, 0), f.load_pointer(table, 1)
        count = f.load_index(table, 2)
        with f.loop(begin, end, 1, [f.splat(0.0)] * ABREAST) as run:
            with f.loop(0, count, ABREAST * numbers.lanes, run.values) as position:
                places = [position + i * numbers.lanes for i in range(ABREAST)]
                vectors = [f.load(f.address(source, place)) for place in places]
                if name == "read":
                    sums = zip(position.values, vectors, strict=True)
                    position.update([f.b.fadd(total, vector) for total, vector in sums])
                else:
                    for vector, place in zip(vectors, places, strict=True):
                        f.store(vector, f.address(target, place))
            run.update(position.results)
        if name == "read":
            f.store(_total(f, run.results), target)
        f.b.ret_void()
    return module


def _total(f: Function, sums: Sequence[ir.Value]) -> ir.Value:
    total = sums[0]
    for vector in sums[1:]:
        total = f.b.fadd(total, vector)
    return total
