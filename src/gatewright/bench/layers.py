"""The grid: each cell, size and number of threads against each peer, verified, then timed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gatewright.backends.choose import check_backend
from gatewright.bench.cases import DTYPES, GRID, Size
from gatewright.bench.checks import cell_names, check_names
from gatewright.bench.machine import Report, cores, in_process, silent
from gatewright.bench.peers import PEERS
from gatewright.bench.results import Results
from gatewright.cells import CELLS
from gatewright.errors import ArgumentError
from gatewright.language.cell import Cell, stored_form
from gatewright.training.cell_file import cell_from_file, names_a_file

#: The cells that are measured where none are named.
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
    dtype: str = "float32",
    report: Report = silent,
) -> Results:
    """Measure cells against their peers.

    Args:
        cells: Names from `gatewright.CELLS` or `file.py:MyCell`, or your cells by name.
        peers: Names from `gatewright.bench.peers.PEERS`.
        sizes: (batch, time, input, hidden) of each point.
        threads: Numbers of threads; each has a process of its own, bound to as many cores.
        trainings: True for training steps, False for forward runs; both by default.
        seconds: The time for each pair.
        dtype: "float32" or "bfloat16", of layers and tensors.
        report: Called after each pair with its cell and the share that is done.

    Raises:
        ArgumentError: for an unknown cell, peer, backend or dtype.
        BackendError: if a process of the benchmark fails.
    """
    own: dict[str, Cell] = dict(cells) if isinstance(cells, Mapping) else {}
    if own:
        names = list(own)
    else:
        own = {name: cell_from_file(name) for name in cells if names_a_file(name)}
        names = cell_names(list(cells), {**CELLS, **own})
    check_names("peer", peers, PEERS)
    check_backend(backend)
    check_names("dtype", [dtype], DTYPES)
    for count in threads:
        if count < 1:
            raise ArgumentError(f"threads={count}; expected a whole number from 1")
    widths = [{"input": inputs, "hidden": hidden} for _, _, inputs, hidden in sizes]
    task = {
        "cells": {name: stored_form(own[name], widths) if name in own else None for name in names},
        "peers": list(peers),
        "sizes": list(sizes),
        "trainings": list(trainings),
        "seconds": seconds,
        "backend": backend,
        "dtype": dtype,
    }
    results = Results(
        settings={**task, "cells": names, "threads": list(threads), "cores": len(cores())}
    )
    total = len(threads) * len(names) * len(peers) * len(sizes) * len(trainings)
    done = 0
    for count in threads:
        environment = {"OMP_NUM_THREADS": str(count), "JAX_PLATFORMS": "cpu"}
        worker = "gatewright.bench.worker"
        for line in in_process(worker, {**task, "threads": count}, environment):
            kind, row = next(iter(line.items()))
            results.add(kind, row)
            if kind != "roof":
                done += 1
                report(f"{row['cell']}, {count} thread(s), {row['run']}", done / total)
    return results
