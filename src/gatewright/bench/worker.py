"""The process that measures the grid with one number of threads, a line of JSON for each pair."""

from __future__ import annotations

import gc
from typing import Any

import torch

from gatewright.backends.llvm.roof import Roof, roof
from gatewright.bench.cases import Case, make_case
from gatewright.bench.contender import Contender, ours, verify
from gatewright.bench.machine import answer, can_stay, stay_on, task_of_process
from gatewright.bench.peers import PEERS, absent
from gatewright.bench.timing import in_turns
from gatewright.cells import CELLS
from gatewright.errors import BackendError
from gatewright.language.cell import StoredCell
from gatewright.schedule.work import Phase, count


def main() -> None:
    """Measure the task that comes by standard input."""
    task = task_of_process()
    threads = task["threads"]
    stay_on(threads)  # before JAX starts
    ceiling = roof(threads)
    answer(
        roof={
            "threads": threads,
            "operations": ceiling.operations,
            "read": ceiling.read,
            "copied": ceiling.copied,
        }
    )
    missing = {name: absent(PEERS[name]) for name in task["peers"]}
    if "jax" in missing and not can_stay():
        missing["jax"] = "this system cannot bind JAX to a number of threads"
    options = {"backend": task["backend"], "dtype": task["dtype"]}
    for name, stored in task["cells"].items():
        cell = CELLS[name]() if stored is None else StoredCell.from_json(stored)
        for training in task["trainings"]:
            for size in task["sizes"]:
                case = make_case(name, cell, size, training=training, **options)
                measure(case, threads, missing, task["seconds"], ceiling)
                gc.collect()


def measure(
    case: Case, threads: int, missing: dict[str, str | None], seconds: float, ceiling: Roof
) -> None:
    """Verify one case against each peer, then time it.

    Args:
        missing: The peers, each with the reason why it cannot run here, or None.
    """
    key = {
        "cell": case.name,
        "size": case.size,
        "threads": threads,
        "run": "training" if case.training else "inference",
    }
    layer: Contender | None = None  # made when the first peer needs it
    work = phases(case)
    for name, absence in missing.items():
        peer = PEERS[name]
        reason = absence or peer.why_not(case)
        if reason is not None:
            answer(left_out={**key, "peer": name, "reason": reason})
            continue
        layer = layer or ours(case)
        contender = peer.make(case)
        try:
            verify(case, layer, contender, name)
        except BackendError as error:
            answer(wrong={**key, "peer": name, "reason": str(error)})
            continue
        row: dict[str, Any] = {
            **key,
            "peer": name,
            "seconds": in_turns(layer.run, contender.run, seconds),
            "operations": sum(phase.operations for phase in work),
            "bytes": sum(phase.bytes for phase in work),
            # The roof is measured in float32.
            "least": ceiling.seconds(work) if case.gradient.dtype == torch.float32 else None,
        }
        answer(row=row)


def phases(case: Case) -> list[Phase]:
    """The work of a case: its operations and bytes, phase by phase."""
    b, t, _, _ = case.size
    width = case.gradient.element_size()
    sizes = case.layer.sizes(0)
    return count(case.layer.graph, sizes, steps=t, rows=b * t, width=width, training=case.training)


if __name__ == "__main__":
    main()
