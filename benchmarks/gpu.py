"""Measure the GPU kernels: their accuracy, and their speed against cuDNN and a Python loop.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --cells lstm --sizes 32,100,64,64 --seconds 1

Each point is verified before it is timed: the error of every value and gradient that the kernels
compute in float32 may be at most four times the error of the reference in float32. Both errors are
measured against the reference in float64. Then the layer and its peer run in alternation, timed by
GPU events. TF32 is off for both. The figures, with the raw times, are stored in
`benchmarks/results/gpu-DATE.json`.

`--device cpu` with TRITON_INTERPRET=1 runs Triton's interpreter, to try this script at small sizes.
Its times mean nothing and are not stored.
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
#: The largest allowed error of the kernels, as a multiple of the reference's error in float32.
MAX_ERROR_RATIO = 4.0
#: An error (relative, by norm) that is always allowed, because it is rounding in float32.
ROUNDING = 1e-6


def main() -> None:
    """Verify and time each point, print a line for it, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cells", default=",".join(CELLS), help="comma-separated")
    parser.add_argument("--sizes", nargs="*", help="batch,time,input,hidden (default: the grid)")
    parser.add_argument("--seconds", type=float, default=1.0, help="seconds for each pair")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    options = parser.parse_args()
    sizes: list[Size] = [parsed(text) for text in options.sizes] if options.sizes else list(GRID)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    rows = []
    for name in options.cells.split(","):
        for size in sizes:
            for training in (True, False):
                case = make_case(name, gw.CELLS[name](), size, training=training, backend="triton")
                rows.append(measured(moved(case, options.device), options.device, options.seconds))
    if options.device == "cuda":
        path = RESULTS / f"gpu-{date.today()}.json"
        path.write_text(json.dumps({"machine": gpu(), "rows": rows}) + "\n", encoding="utf-8")
        print(path)


def parsed(text: str) -> Size:
    """Parse a size given as "batch,time,input,hidden"."""
    b, t, i, h = map(int, text.split(","))
    return b, t, i, h


def gpu() -> dict[str, Any]:
    """Describe the machine, its GPU, and the versions of the GPU software."""
    import triton

    properties = torch.cuda.get_device_properties(0)
    return {
        **machine(),
        "gpu": properties.name,
        "multiprocessors": properties.multi_processor_count,
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "triton": triton.__version__,
    }


def moved(case: Case, device: str) -> Case:
    """Copy a case to a device."""

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
    """Verify one point, time it against torch's layer or a Python loop, and print the figures."""
    layer = ours(case)
    error_ratio = largest_error_ratio(case, layer)
    if error_ratio > MAX_ERROR_RATIO:
        raise SystemExit(
            f"{case.name} at {case.size}: the error is {error_ratio:.1f} times the reference's in "
            f"float32; at most {MAX_ERROR_RATIO:g} is allowed"
        )
    peer = "loop" if PEERS["torch"].why_not(case) else "torch"
    with torch.device(device):
        contender = PEERS[peer].make(case)
    verify(case, layer, contender, peer)
    pairs = alternate(layer.run, contender.run, clock(device), seconds)
    estimate = ratio(pairs)
    run = "training" if case.training else "inference"
    times = " ".join(
        f"{1e3 * float(np.median(column)):8.3f}" for column in zip(*pairs, strict=True)
    )
    error = f"error x{error_ratio:4.1f}"
    print(f"{case.name:14} {case.size!s:20} {run:9} {error}  ms {times}  {estimate}")
    return {
        "cell": case.name,
        "size": case.size,
        "run": run,
        "peer": peer,
        "further_off": error_ratio,
        "seconds": pairs,
        "ratio": [estimate.value, estimate.low, estimate.high],
    }


def largest_error_ratio(case: Case, layer: Contender) -> float:
    """The largest ratio, over all tensors, of the kernels' error to the reference's."""
    _, _, i, h = case.size
    results = [layer.values()]
    for dtype in (torch.float32, torch.float64):
        reference_layer = make_layer(case.name, case.layer.cell, i, h, "reference")
        reference_layer.load_state_dict(case.layer.state_dict())
        device = case.gradient.device

        def converted(group: Mapping[str, Tensor], dtype: torch.dtype = dtype) -> dict[str, Tensor]:
            training = case.training
            return {k: v.detach().to(dtype).requires_grad_(training) for k, v in group.items()}

        same_case = replace(
            case,
            inputs=converted(case.inputs),
            states=converted(case.states),
            gradient=case.gradient.to(dtype),
        )
        results.append(of_layer(same_case, reference_layer.to(device, dtype)).values())
    kernels, reference, truth = results
    worst = 0.0
    for key, expected in truth.items():
        norm = float(np.linalg.norm(expected))
        error, allowed = (
            float(np.linalg.norm(np.asarray(values[key], np.float64) - expected)) / norm
            for values in (kernels, reference)
        )
        worst = max(worst, error / (allowed + ROUNDING / MAX_ERROR_RATIO))
    return worst


def clock(device: str) -> Callable[[Callable[[], Any]], float]:
    """Return a function that times one run, in seconds."""

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


def alternate(
    layer: Callable[[], Any],
    peer: Callable[[], Any],
    timed: Callable[[Callable[[], Any]], float],
    seconds: float,
) -> list[tuple[float, float]]:
    """Time the two in alternation, as pairs of seconds; verifying them has warmed both up."""
    pairs: list[tuple[float, float]] = []
    end = time.perf_counter() + seconds
    while len(pairs) < FEWEST or (time.perf_counter() < end and len(pairs) < MOST):
        pairs.append((timed(layer), timed(peer)))
    return pairs


if __name__ == "__main__":
    main()
