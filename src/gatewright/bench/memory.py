"""Peak memory of a training step, ours and `torch.nn`'s, each in a process of its own.

The figure is the largest memory of the process during the step, less its memory before: values
saved for the backward pass, buffers and gradients. It is read from the system (Linux), so that
memory that torch's allocators do not know of is counted too.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gatewright.bench.cases import GRID, Size, make_case
from gatewright.bench.checks import cell_names
from gatewright.bench.machine import (
    Report,
    answer,
    in_process,
    silent,
    stay_on,
    task_of_process,
)
from gatewright.bench.peers import BUILT_IN, PEERS
from gatewright.bench.table import Measurement, figure, text
from gatewright.cells import CELLS
from gatewright.errors import BackendError

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def bench_memory(
    cells: Sequence[str] = ("lstm", "gru"),
    sizes: Sequence[Size] = GRID,
    threads: int = 1,
    report: Report = silent,
) -> Measurement:
    """Measure the peak memory of one training step at each size.

    Raises:
        ArgumentError: for a cell that torch does not have.
        BackendError: where the system does not report the peak.
    """
    cells = cell_names(cells, BUILT_IN)
    if not RESET.exists():
        raise BackendError("peak memory is read from /proc, which this system does not have")
    measurement = Measurement(
        "memory",
        "Peak memory of a training step, beyond the memory before it",
        [
            text("cell"),
            ("(B, T, I, H)", lambda row: "{}, {}, {}, {}".format(*row["size"])),
            figure("ours, MB", "ours", 1e-6, ".1f"),
            figure("torch, MB", "torch", 1e-6, ".1f"),
            figure("ours / torch", "share", 1.0, ".2f"),
        ],
    )
    for cell in cells:
        for size in sizes:
            row: dict[str, Any] = {"cell": cell, "size": size}
            for layer in ("ours", "torch"):
                task = {"cell": cell, "size": size, "layer": layer, "threads": threads}
                (line,) = in_process("gatewright.bench.memory", task)
                row[layer] = line["bytes"]
            measurement.rows.append({**row, "share": row["ours"] / row["torch"]})
            report(f"{cell}, {size}", len(measurement.rows) / len(cells) / len(sizes))
    return measurement


def main() -> None:
    """Measure one training step."""
    from gatewright.bench.contender import ours

    task = task_of_process()
    stay_on(task["threads"])
    make = ours if task["layer"] == "ours" else PEERS["torch"].make
    cell = CELLS[task["cell"]]()
    # A small step first, so that libraries, kernels and threads are not counted.
    make(make_case(task["cell"], cell, (2, 3, 8, 8), training=True)).run()
    run = make(make_case(task["cell"], cell, task["size"], training=True)).run
    before = status("VmRSS")
    RESET.write_text("5")  # the peak begins here
    run()
    answer(bytes=status("VmHWM") - before)


def status(key: str) -> int:
    """An entry of the system's report on this process, in bytes."""
    lines = STATUS.read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"{key}:"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main()
