"""Split the time of a layer's call into its parts: each kernel, and everything around them.

    python benchmarks/parts.py                                   # LSTM, three middle sizes
    python benchmarks/parts.py --sizes 32,128,128,128 --threads 2 --dtype bfloat16
    python benchmarks/parts.py --cells gru --inference --seconds 2

Run it on an idle machine. The calls of a run (see backends/llvm/README.md, "A run") are made one
by one and timed; "around" is the rest of the call: Python, autograd, and torch's own operations.
GFLOP/s are those of the products that a part has. The last line has the time of torch's own layer,
taken in turns with a call that is not split.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

import numpy as np
import torch

from gatewright.backends.llvm.backward_program import BackwardProgram
from gatewright.backends.llvm.call_list import Program
from gatewright.backends.llvm.chain import NUMBERS as CALL
from gatewright.bench.cases import DTYPES, Case, Size, make_case
from gatewright.bench.contender import ours
from gatewright.bench.machine import stay_on
from gatewright.bench.peers import PEERS
from gatewright.bench.timing import in_turns, ratio
from gatewright.bench.worker import phases
from gatewright.cells import CELLS

SIZES: tuple[Size, ...] = ((32, 100, 64, 64), (32, 128, 128, 128), (8, 512, 32, 64))
#: Kernels, in the order of the table, and the phases of `schedule/work.py` whose products they are.
PHASES = {
    "before_inference": "inputs",
    "before_training": "inputs",
    "loop_inference": "loop",
    "loop_training": "loop",
    "loop_backward": "loop back",
    "before_backward": "inputs back",
    "outer": "weights",
}
#: Seconds by part.
Times = dict[str, float]


def part_names(program: Program) -> list[str]:
    """Name the part of each call: its kernel, and in a backward pass "back" where it is shared."""
    back = " back" if isinstance(program, BackwardProgram) else ""
    return [name if name in PHASES else f"{name}{back}" for name, _, _ in program.tables]


@contextmanager
def split(times: Times) -> Iterator[None]:
    """Make the calls of programs one by one, and add their seconds to `times`."""

    def run(program: Program, bases: Sequence[int]) -> None:
        table = np.array([0, 0, *bases], np.int64)[program.bases_of] + program.constants
        first, clock = table.ctypes.data, time.perf_counter
        for position, name in enumerate(part_names(program)):
            begin = clock()
            program.chain(program.where + 8 * CALL * position, 1, first)
            times[name] += clock() - begin

    with mock.patch.object(Program, "__call__", run):
        yield


def measure(case: Case, threads: int, seconds: float) -> None:
    """Print the parts of one case."""
    layer, peer = ours(case), PEERS["torch"].make(case)
    layer.values()
    samples: list[Times] = []
    end = time.perf_counter() + seconds / 2
    while len(samples) < 5 or time.perf_counter() < end:
        times: Times = defaultdict(float)
        with split(times):
            begin = time.perf_counter()
            layer.run()
            total = time.perf_counter() - begin
        samples.append({**times, "around": total - sum(times.values())})
    peer.values()
    pairs = in_turns(layer.run, peer.run, seconds / 2)
    products = {phase.name: phase.products for phase in phases(case)}
    if not samples[-1].keys() & {"before_inference", "before_training"}:
        products["loop"] += products.pop("inputs", 0)  # the loop computes them (`fused.py`)
    run = "training" if case.training else "inference"
    print(f"\n{case.name} {case.size}, {case.gradient.dtype}, {run}, {threads} thread(s)")
    names = sorted(samples[-1], key=lambda name: list(PHASES).index(name) if name in PHASES else 9)
    for name in names:
        median = statistics.median(sample[name] for sample in samples)
        rate = products.get(PHASES.get(name, ""), 0) / median / 1e9
        print(f"  {name:18} {1e3 * median:8.3f} ms" + (f" {rate:6.0f} GFLOP/s" if rate else ""))
    whole = statistics.median(ours for ours, _ in pairs)
    theirs = statistics.median(theirs for _, theirs in pairs)
    print(f"  {'a whole call':18} {1e3 * whole:8.3f} ms", end="")
    print(f"; torch {1e3 * theirs:.3f} ms, {ratio(pairs)} x")


def main() -> None:
    """Measure the cases that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", default="lstm", help="comma-separated")
    parser.add_argument("--sizes", nargs="*", default=[], metavar="B,T,I,H")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=DTYPES, default="float32")
    parser.add_argument("--inference", action="store_true", help="instead of training")
    parser.add_argument("--seconds", type=float, default=3.0, help="for each size")
    options = parser.parse_args()
    stay_on(options.threads)
    torch.set_num_threads(options.threads)
    sizes = [tuple(map(int, size.split(","))) for size in options.sizes] or list(SIZES)
    for name in options.cells.split(","):
        for b, t, i, h in sizes:
            case = make_case(
                name,
                CELLS[name](),
                (b, t, i, h),
                training=not options.inference,
                dtype=options.dtype,
            )
            measure(case, options.threads, options.seconds)


if __name__ == "__main__":
    main()
