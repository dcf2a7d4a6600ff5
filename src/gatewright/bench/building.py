"""How long it takes until a cell runs: imports, building its kernels, taking them from the disk.

Each measurement has a process of its own. Building is what a first call takes more than the
next ones. The first cell of a process also waits for llvmlite to load, so a cell that is not
reported goes first.
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

from gatewright.bench.layers import CHOSEN, check
from gatewright.bench.machine import answer, in_process, task_of_process
from gatewright.bench.table import Found, figure, text
from gatewright.cells import CELLS

FIRST = "ind_rnn"
SIZE = (4, 4, 64, 64)  # T, B, I, H
TIMES = 3

#: Run by a bare interpreter: `python -m gatewright...` would have imported it already.
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
    told: Callable[[str, float], None] = lambda text, share: None,
) -> Found:
    """Import time, and build time cold and from the cache.

    Raises:
        ArgumentError: for a name that is not known.
        BackendError: if a process of it fails.
    """
    check("cell", cells, CELLS)
    imports = [_imports() for _ in range(TIMES)]
    torch, package, layers = (statistics.median(one) for one in zip(*imports, strict=True))
    found = Found(
        "build",
        "Until a cell runs: what its first call takes more",
        [
            text("cell"),
            text("from"),
            figure("inference, ms", "inference", 1e3, ".1f"),
            figure("training, ms", "training", 1e3, ".1f"),
            figure("ms", "seconds", 1e3, ".1f"),
        ],
    )
    for late, where in enumerate(("scratch", "cache")):
        times: dict[str, list[dict[str, Any]]] = {}
        for turn in range(TIMES):
            told(f"from {where}", (TIMES * late + turn) / (2 * TIMES))
            with tempfile.TemporaryDirectory() as directory:
                environment = {"GATEWRIGHT_CACHE": directory}
                task = {"cells": list(cells)}
                for _ in range(1 if where == "scratch" else 2):
                    lines = list(in_process("gatewright.bench.building", task, environment))
                for line in lines:
                    times.setdefault(line["cell"], []).append(line)
        for cell, some in times.items():
            medians = {
                key: statistics.median(one[key] for one in some)
                for key in ("inference", "training")
            }
            found.rows.append({"cell": cell, "from": where, **medians})
    for name, taken in (("torch", torch), ("gatewright", package), ("layers", layers)):
        found.rows.append({"cell": f"import of {name}", "from": "", "seconds": taken})
    return found


def _imports() -> list[float]:
    done = subprocess.run(
        [sys.executable, "-P", "-c", IMPORTS], capture_output=True, text=True, check=True
    )
    return [float(one) for one in json.loads(done.stdout)]


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
        taken = {"inference": beyond(infer), "training": beyond(train)}
        if position:
            answer(cell=name, **taken)


def beyond(run: Callable[[], None]) -> float:
    """What a first call takes more than the typical later one."""
    times = []
    for _ in range(6):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return times[0] - statistics.median(times[1:])


if __name__ == "__main__":
    main()
