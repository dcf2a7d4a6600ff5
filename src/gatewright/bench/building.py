"""The time until a cell runs: imports, and its kernels built or read from the disk.

Each measurement has a process of its own. The time to build is that of the first call beyond
that of later ones. The first cell of a process also waits for llvmlite to load, so a cell that
is not reported goes first.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from gatewright.bench.checks import cell_names
from gatewright.bench.layers import CHOSEN
from gatewright.bench.machine import Report, answer, in_process, silent, task_of_process
from gatewright.bench.table import Measurement, figure, text
from gatewright.cells import CELLS

#: Run first in each process and not reported: it waits for llvmlite to load.
FIRST = "ind_rnn"
SIZE = (4, 4, 64, 64)  # T, B, I, H
#: Repetitions of each measurement, of which the median is reported.
TIMES = 3

#: Run by a bare interpreter: `python -m gatewright...` would have imported the package already.
IMPORTS = """
import json, time
start = time.perf_counter()
import torch
after_torch = time.perf_counter()
import gatewright
after_package = time.perf_counter()
gatewright.LSTM
after_layers = time.perf_counter()
print(json.dumps([after_torch - start, after_package - after_torch, after_layers - after_package]))
"""


def bench_building(
    cells: Sequence[str] = CHOSEN,
    *,
    report: Report = silent,
) -> Measurement:
    """Import time, and build time cold and from the cache.

    Raises:
        ArgumentError: for an unknown cell.
        BackendError: if a process that measures fails.
    """
    cells = cell_names(cells, CELLS)
    imports = [_imports() for _ in range(TIMES)]
    torch, package, layers = (statistics.median(times) for times in zip(*imports, strict=True))
    measurement = Measurement(
        "build",
        "Until a cell runs: time of its first call beyond that of later ones",
        [
            text("cell"),
            text("from"),
            figure("inference, ms", "inference", 1e3, ".1f"),
            figure("training, ms", "training", 1e3, ".1f"),
            figure("ms", "seconds", 1e3, ".1f"),
        ],
    )
    for position, origin in enumerate(("scratch", "cache")):
        lines_of: dict[str, list[dict[str, Any]]] = {}
        for turn in range(TIMES):
            report(f"from {origin}", (TIMES * position + turn) / (2 * TIMES))
            with tempfile.TemporaryDirectory() as directory:
                environment = {"GATEWRIGHT_CACHE": directory}
                task = {"cells": list(cells)}
                for _ in range(1 if origin == "scratch" else 2):  # the first run fills the cache
                    lines = list(in_process("gatewright.bench.building", task, environment))
                for line in lines:
                    lines_of.setdefault(line["cell"], []).append(line)
        for cell, lines in lines_of.items():
            medians = {
                key: statistics.median(line[key] for line in lines)
                for key in ("inference", "training")
            }
            measurement.rows.append({"cell": cell, "from": origin, **medians})
    for name, seconds in (("torch", torch), ("gatewright", package), ("layers", layers)):
        row = {"cell": f"import of {name}", "from": "", "seconds": seconds}
        measurement.rows.append(row)
    return measurement


def _imports() -> list[float]:
    command = [sys.executable, "-P", "-c", IMPORTS]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(seconds) for seconds in json.loads(process.stdout)]


def main() -> None:
    """Time the first calls of cells."""
    import torch

    from gatewright.bench.cases import make_layer

    for position, name in enumerate((FIRST, *task_of_process()["cells"])):
        layer, x = make_layer(name, CELLS[name](), *SIZE[2:]), torch.randn(*SIZE[:3])

        def infer(layer: Any = layer, x: Any = x) -> None:
            with torch.no_grad():
                layer(x)

        def train(layer: Any = layer, x: Any = x) -> None:
            layer(x)[0].sum().backward()

        # Inference first: it needs none of the kernels of training.
        seconds = {"inference": beyond(infer), "training": beyond(train)}
        if position:
            answer(cell=name, **seconds)


def beyond(run: Callable[[], None]) -> float:
    """The seconds of a first call beyond those of a typical later one."""
    times = []
    for _ in range(6):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return times[0] - statistics.median(times[1:])


if __name__ == "__main__":
    main()
