"""Measure what `layer(x, recompute=...)` saves and costs: memory, and time beside a plain step.

    python benchmarks/recompute.py                   # all parts
    python benchmarks/recompute.py --parts memory    # also right while the machine is busy
    python benchmarks/recompute.py --parts time      # on an idle machine

The figures are in benchmarks/results/recompute.json. A part replaces its own and leaves the
others as they are. `python docs/make_figures.py` writes them into docs/recompute.md.

Memory: one training step of an LSTM in a process of its own. The kept bytes are the storages that
autograd has saved when the forward pass is over, without the input and the weights. The peak is the
largest memory of the process during the step, less its memory before the step, as the system
reports it.
Time: steps with and without recomputation in turns, each also beside a forward pass.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

import gatewright as gw
from gatewright.bench.machine import machine, stay_on
from gatewright.bench.memory import RESET, status
from gatewright.bench.timing import in_turns, ratio
from gatewright.training.step_memory import saved_memory

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "recompute.json"
#: Batch, values of an event, and units of the measured memory; then the numbers of steps.
BATCH, INPUT, HIDDEN = 32, 64, 256
STEPS = (1_000, 10_000)
#: Cells and (batch, time, input, hidden) of the measured time.
TIMED = [
    ("LSTM", (32, 1_000, 64, 64)),
    ("LSTM", (32, 1_000, 64, 256)),
    ("LSTM", (32, 4_000, 64, 128)),
    ("LSTM", (1, 4_000, 64, 64)),
    ("GRU", (32, 1_000, 64, 256)),
]
Figures = dict[str, Any]


def memory_of(steps: int, recompute: bool, backend: str) -> Figures:
    """The kept bytes and the peak of a training step, in this process."""
    stay_on(1)
    layer = gw.LSTM(INPUT, HIDDEN, backend=backend)

    def step(steps: int) -> int:
        x = torch.randn(steps, BATCH, INPUT, requires_grad=True)
        own = {tensor.untyped_storage().data_ptr() for tensor in (x, *layer.parameters())}
        with saved_memory() as memory:
            output, _ = layer(x, recompute=recompute)
        output.sum().backward()
        return sum(size for place, size in memory.storages.items() if place not in own)

    step(9)  # so that libraries, kernels and threads are not counted
    layer.zero_grad()
    before = status("VmRSS")
    RESET.write_text("5")  # the peak begins here
    saved = step(steps)
    return {"kept": saved, "peak": status("VmHWM") - before}


def memory(backend: str) -> Iterator[Figures]:
    """The memory of training steps, each in a process of its own."""
    for steps in STEPS:
        for recompute in (False, True):
            task = {"steps": steps, "recompute": recompute, "backend": backend}
            done = subprocess.run(
                [sys.executable, __file__, "--task", json.dumps(task)],
                capture_output=True,
                text=True,
                check=True,
            )
            row = {**task, **json.loads(done.stdout)}
            print(row, flush=True)
            yield row


def timed(seconds: float) -> Iterator[Figures]:
    """The time of steps with and without recomputation, and of forward passes, on one thread."""
    stay_on(1)
    for name, size in TIMED:
        batch, steps, inputs, hidden = size
        layer = getattr(gw, name)(inputs, hidden)
        x = torch.randn(steps, batch, inputs, requires_grad=True)
        plain, again, forward = runs_of(layer, x)
        for run in (plain, again, forward):
            run()
        row = {
            "cell": name,
            "size": size,
            "recomputed": in_turns(plain, again, seconds),
            "forward": in_turns(plain, forward, seconds),
        }
        print(name, size, *expected_and_measured(row), flush=True)
        yield row


def runs_of(layer: gw.Recurrent, x: torch.Tensor) -> list[Callable[[], Any]]:
    """A training step without and with recomputation, and a forward pass."""
    ones = torch.ones(*x.shape[:2], layer.output_size)

    def step(recompute: bool) -> None:
        output, _ = layer(x, recompute=recompute)
        torch.autograd.grad(output, [x, *layer.parameters()], ones)

    def forward() -> None:
        with torch.no_grad():
            layer(x)

    return [lambda: step(False), lambda: step(True), forward]


def expected_and_measured(row: Figures) -> tuple[str, str]:
    """The time of a step with one more forward pass, and the measured one, beside a plain step."""
    return f"{1 + ratio(row['forward']).value:.2f}", str(ratio(row["recomputed"]))


def store(figures: Figures, part: str) -> None:
    """Write the figures, with the machine that a part was measured on."""
    figures.setdefault("machines", {})[part] = machine()
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", default=["memory", "time"])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each timed pair (5)")
    parser.add_argument("--task", type=json.loads, help=argparse.SUPPRESS)  # of a process
    options = parser.parse_args(arguments)
    if options.task:
        print(json.dumps(memory_of(**options.task)))
        return
    figures = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    if "memory" in options.parts:
        rows = [row for backend in ("llvm", "reference") for row in memory(backend)]
        figures["memory"] = rows
        store(figures, "memory")
    if "time" in options.parts:
        figures["time"] = list(timed(options.seconds))
        store(figures, "time")


if __name__ == "__main__":
    main()
