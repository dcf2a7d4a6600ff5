"""The kernels for GPUs: how exact they are, and how fast beside cuDNN and a Python loop.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --cells lstm --sizes 32,100,64,64 --seconds 1

Each point is verified before it is timed: every value and gradient of the kernels, in float32,
is at most four times as far from the reference in float64 as the reference in float32 is. Then
the two run in turns, between events on the GPU. TF32 is off on both sides. What was measured
goes to `benchmarks/results/gpu-DATE.json`, the raw times included.

`--device cpu` with TRITON_INTERPRET=1 goes the same way in Triton's interpreter, to try this
script at small sizes; its times mean nothing, and it keeps none.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import gatewright as gw
from gatewright.bench.cases import GRID, Case, Size, make_case, make_layer
from gatewright.bench.contender import Contender, of_layer, ours, verify
from gatewright.bench.machine import machine
from gatewright.bench.peers import PEERS
from gatewright.bench.timing import FEWEST, MOST, ratio

RESULTS = Path(__file__).parent / "results"
CELLS = ("lstm", "gru", "peephole_lstm")
#: How much further from the truth the kernels may be than the reference, and what is the
#: rounding of float32 in any case.
TIMES, FLOOR = 4.0, 1e-6


def main() -> None:
    """Verify, time, print a line a point, and keep what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", default=",".join(CELLS), help="parted by commas")
    parser.add_argument("--sizes", nargs="*", help="batch,time,input,hidden; the grid else")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each pair")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    given = parser.parse_args()
    sizes: list[Size] = [parsed(one) for one in given.sizes] if given.sizes else list(GRID)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    rows = []
    for name in given.cells.split(","):
        for size in sizes:
            for training in (True, False):
                case = make_case(name, gw.CELLS[name](), size, training=training, backend="triton")
                rows.append(measured(moved(case, given.device), given.device, given.seconds))
    if given.device == "cuda":
        path = RESULTS / f"gpu-{date.today()}.json"
        path.write_text(json.dumps({"machine": gpu(), "rows": rows}) + "\n", encoding="utf-8")
        print(path)


def parsed(text: str) -> Size:
    """(batch, time, input, hidden)."""
    b, t, i, h = map(int, text.split(","))
    return b, t, i, h


def gpu() -> dict[str, Any]:
    """The machine, its GPU, and the versions that count there."""
    import triton

    kind = torch.cuda.get_device_properties(0)
    return {
        **machine(),
        "gpu": kind.name,
        "multiprocessors": kind.multi_processor_count,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "triton": triton.__version__,
    }


def moved(case: Case, device: str) -> Case:
    """A case on a device."""

    def all_of(group: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {k: v.detach().to(device).requires_grad_(v.requires_grad) for k, v in group.items()}

    return replace(
        case,
        layer=case.layer.to(device),
        inputs=all_of(case.inputs),
        states=all_of(case.states),
        gradient=case.gradient.to(device),
        weights=all_of(case.weights),
    )


def measured(case: Case, device: str, seconds: float) -> dict[str, Any]:
    """One point: verified, timed beside the fastest that torch has for it, and printed."""
    mine = ours(case)
    further = further_off(case, mine)
    if further > TIMES:
        raise SystemExit(f"{case.name} at {case.size} is {further:.1f} times as far off")
    peer = "loop" if PEERS["torch"].why_not(case) else "torch"
    with torch.device(device):
        other = PEERS[peer].make(case)
    verify(case, mine, other, peer)
    pairs = in_turns(mine.run, other.run, clock(device), seconds)
    found = ratio(pairs)
    run = "training" if case.training else "inference"
    times = " ".join(f"{1e3 * float(np.median(one)):8.3f}" for one in zip(*pairs, strict=True))
    print(f"{case.name:14} {case.size!s:20} {run:9} error x{further:4.1f}  ms {times}  {found}")
    return {
        "cell": case.name,
        "size": case.size,
        "run": run,
        "peer": peer,
        "further_off": further,
        "seconds": pairs,
        "ratio": [found.value, found.low, found.high],
    }


def further_off(case: Case, mine: Contender) -> float:
    """How many times as far from the truth the kernels are as the reference, at most."""
    _, _, i, h = case.size
    found = [mine.values()]
    for dtype in (torch.float32, torch.float64):
        layer = make_layer(case.name, case.layer.cell, i, h, "reference")
        layer.load_state_dict(case.layer.state_dict())
        device = case.gradient.device

        def converted(group: Mapping[str, Tensor], dtype: torch.dtype = dtype) -> dict[str, Tensor]:
            asks = case.training
            return {k: v.detach().to(dtype).requires_grad_(asks) for k, v in group.items()}

        other = replace(
            case,
            inputs=converted(case.inputs),
            states=converted(case.states),
            gradient=case.gradient.to(dtype),
        )
        found.append(of_layer(other, layer.to(device, dtype)).values())
    kernels, reference, truth = found
    worst = 0.0
    for key, expected in truth.items():
        norm = float(np.linalg.norm(expected))
        off, allowed = (
            float(np.linalg.norm(np.asarray(one[key], np.float64) - expected)) / norm
            for one in (kernels, reference)
        )
        worst = max(worst, off / (allowed + FLOOR / TIMES))
    return worst


def clock(device: str) -> Callable[[Callable[[], Any]], float]:
    """What times a run, in seconds."""

    def on_gpu(run: Callable[[], Any]) -> float:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3

    def on_cpu(run: Callable[[], Any]) -> float:
        begin = time.perf_counter()
        run()
        return time.perf_counter() - begin

    return on_gpu if device == "cuda" else on_cpu


def in_turns(
    mine: Callable[[], Any],
    other: Callable[[], Any],
    timed: Callable[[Callable[[], Any]], float],
    seconds: float,
) -> list[tuple[float, float]]:
    """Pairs of seconds, the two run one after the other; both are warm, since verified."""
    pairs: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while len(pairs) < FEWEST or (time.perf_counter() < end and len(pairs) < MOST):
        pairs.append((timed(mine), timed(other)))
    return pairs


if __name__ == "__main__":
    main()
