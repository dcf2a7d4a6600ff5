"""The process that measures the grid on one number of threads; it prints a JSON object a line."""

from __future__ import annotations

import gc
from typing import Any

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
    """Measure what standard input says."""
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
        missing["jax"] = "this system cannot hold JAX to a number of threads"
    for name, stored in task["cells"].items():
        cell = CELLS[name]() if stored is None else StoredCell.from_json(stored)
        for training in task["trainings"]:
            for size in task["sizes"]:
                case = make_case(name, cell, size, training=training, backend=task["backend"])
                measure(case, threads, missing, task["seconds"], ceiling)
                gc.collect()


def measure(
    case: Case, threads: int, missing: dict[str, str | None], seconds: float, ceiling: Roof
) -> None:
    """One case against each peer: verified, then timed."""
    about = {
        "cell": case.name,
        "size": case.size,
        "threads": threads,
        "run": "training" if case.training else "inference",
    }
    mine: Contender | None = None
    work = phases(case)
    for name, lack in missing.items():
        peer = PEERS[name]
        reason = lack or peer.why_not(case)
        if reason is not None:
            answer(left_out={**about, "peer": name, "reason": reason})
            continue
        mine = mine or ours(case)
        other = peer.make(case)
        try:
            verify(case, mine, other, name)
        except BackendError as error:
            answer(wrong={**about, "peer": name, "reason": str(error)})
            continue
        row: dict[str, Any] = {
            **about,
            "peer": name,
            "seconds": in_turns(mine.run, other.run, seconds),
            "operations": sum(one.operations for one in work),
            "bytes": sum(one.bytes for one in work),
            "least": ceiling.seconds(work),
        }
        answer(row=row)


def phases(case: Case) -> list[Phase]:
    """What a case has to do."""
    b, t, _, _ = case.size
    width = case.gradient.element_size()
    sizes = case.layer.sizes(0)
    return count(case.layer.graph, sizes, steps=t, rows=b * t, width=width, training=case.training)


if __name__ == "__main__":
    main()
