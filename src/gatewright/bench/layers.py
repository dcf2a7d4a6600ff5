"""The grid: every cell, size and thread count against every peer, verified and timed in turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gatewright.backends.choose import check_backend
from gatewright.bench.cases import GRID, Size
from gatewright.bench.machine import cores, in_process
from gatewright.bench.peers import PEERS
from gatewright.bench.results import Results
from gatewright.cells import CELLS
from gatewright.errors import ArgumentError
from gatewright.language.cell import Cell, stored_form
from gatewright.training.cell_file import cell_from_file, names_a_file

CHOSEN = ("lstm", "gru", "elman_rnn", "peephole_lstm")


def bench_layers(
    cells: Sequence[str] | Mapping[str, Cell] = CHOSEN,
    *,
    peers: Sequence[str] = tuple(PEERS),
    sizes: Sequence[Size] = GRID,
    threads: Sequence[int] = (1, 2),
    trainings: Sequence[bool] = (True, False),
    seconds: float = 2.0,
    backend: str = "auto",
    told: Callable[[str, float], None] = lambda text, share: None,
) -> Results:
    """Measure cells against their peers.

    Args:
        cells: Names from `gatewright.CELLS` or `file.py:MyCell`, or cells by names of your own.
        peers: Names from `gatewright.bench.peers.PEERS`.
        sizes: (batch, time, input, hidden) of each point.
        threads: Numbers of threads; each has a process of its own, held to as many cores.
        trainings: Whether training steps, forward runs or both are measured.
        seconds: How long each pair is measured.
        told: Called after each pair with what it was and the share that is done.

    Raises:
        ArgumentError: naming what is not known.
        BackendError: if a process of the benchmark fails.
    """
    own: dict[str, Cell] = dict(cells) if isinstance(cells, Mapping) else {}
    if not own:
        files = [one for one in cells if names_a_file(one)]
        check("cell", [one for one in cells if one not in files] or CHOSEN[: len(files)], CELLS)
        own = {one: cell_from_file(one) for one in files}
    names = list(cells)
    check("peer", peers, PEERS)
    check_backend(backend)
    most = len(cores())
    for one in threads:
        if one < 1:
            raise ArgumentError(f"threads={one}; expected a whole number from 1")
    widths = [{"input": events, "hidden": hidden} for _, _, events, hidden in sizes]
    task = {
        "cells": {n: stored_form(own[n], widths) if n in own else None for n in names},
        "peers": list(peers),
        "sizes": list(sizes),
        "trainings": list(trainings),
        "seconds": seconds,
        "backend": backend,
    }
    results = Results(settings={**task, "cells": names, "threads": list(threads), "cores": most})
    total = len(threads) * len(names) * len(peers) * len(sizes) * len(trainings)
    done = 0
    for count in threads:
        environment = {"OMP_NUM_THREADS": str(count), "JAX_PLATFORMS": "cpu"}
        worker = "gatewright.bench.worker"
        for line in in_process(worker, {**task, "threads": count}, environment):
            kind, found = next(iter(line.items()))
            results.add(kind, found)
            if kind != "roof":
                done += 1
                told(f"{found['cell']}, {count} thread(s), {found['run']}", done / total)
    return results


def check(kind: str, given: Sequence[str], known: Mapping[str, Any]) -> None:
    """Refuse names that are not known."""
    unknown = [name for name in given if name not in known]
    if unknown or not given:
        said = ", ".join(map(repr, unknown)) or "nothing"
        raise ArgumentError(f"{said} was given as {kind}; the {kind}s are {', '.join(known)}")
