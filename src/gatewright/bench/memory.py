"""Peak memory of a training step, ours beside `torch.nn`'s, each in a process of its own.

It is the most that the process had in memory during the step, less what it had before: what is
kept for the backward pass, buffers, gradients. Read from the system (Linux), so that memory
which no allocator of torch's knows of is counted too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gatewright.bench.cases import GRID, Size, make_case
from gatewright.bench.layers import check
from gatewright.bench.machine import answer, in_process, stay_on, task_of_process
from gatewright.bench.peers import BUILT_IN, PEERS
from gatewright.bench.table import Found, figure, text
from gatewright.cells import CELLS
from gatewright.errors import BackendError

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def bench_memory(
    cells: Sequence[str] = ("lstm", "gru"),
    sizes: Sequence[Size] = GRID,
    threads: int = 1,
    told: Callable[[str, float], None] = lambda text, share: None,
) -> Found:
    """Peak memory of one training step at each size.

    Raises:
        ArgumentError: for a cell that torch has not.
        BackendError: where the system does not say it.
    """
    check("cell", cells, BUILT_IN)
    if not RESET.exists():
        raise BackendError("peak memory is read from /proc, which this system does not have")
    found = Found(
        "memory",
        "Peak memory of a training step, above what was there before it",
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
            for who in ("ours", "torch"):
                task = {"cell": cell, "size": size, "who": who, "threads": threads}
                (line,) = in_process("gatewright.bench.memory", task)
                row[who] = line["bytes"]
            found.rows.append({**row, "share": row["ours"] / row["torch"]})
            told(f"{cell}, {size}", len(found.rows) / len(cells) / len(sizes))
    return found


def main() -> None:
    """Measure one training step."""
    from gatewright.bench.contender import ours

    task = task_of_process()
    stay_on(task["threads"])
    make = ours if task["who"] == "ours" else PEERS["torch"].make
    cell = CELLS[task["cell"]]()
    # Libraries, kernels and threads are there before.
    make(make_case(task["cell"], cell, (2, 3, 8, 8), training=True)).run()
    run = make(make_case(task["cell"], cell, task["size"], training=True)).run
    before = status("VmRSS")
    RESET.write_text("5")  # the peak begins here
    run()
    answer(bytes=status("VmHWM") - before)


def status(key: str) -> int:
    """Bytes that the system says of this process."""
    line = next(one for one in STATUS.read_text().splitlines() if one.startswith(f"{key}:"))
    return 1024 * int(line.split()[1])


if __name__ == "__main__":
    main()
