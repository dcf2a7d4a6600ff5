"""Compare how far back the lesson's networks remember: `compare_memory`."""

from __future__ import annotations

import os
import platform
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from importlib.metadata import version
from multiprocessing import active_children, get_context

import torch

from gatewright.cells import known_name
from gatewright.errors import ArgumentError
from gatewright.files import check_vacant, write_directory
from gatewright.memory.behaviour import LAGS
from gatewright.memory.climb import Climb, ClimbResult, perform
from gatewright.memory.comparison import MemoryComparison, NetworkRow
from gatewright.memory.learning import Budget
from gatewright.memory.networks import NETWORKS
from gatewright.memory.pictures import comparison_page
from gatewright.memory.progress import progress_bar
from gatewright.memory.tasks import TASKS
from gatewright.names import did_you_mean
from gatewright.processes import without_current_directory

#: The budget of each training: large enough to separate the networks, within two minutes.
BUDGET = Budget(steps=600, rate=5e-3)
UNITS = 32


def compare_memory(
    *,
    out: str | os.PathLike[str] | None = None,
    networks: Sequence[str] | None = None,
    lags: Sequence[int] = LAGS,
    seeds: int = 3,
    units: int = UNITS,
    budget: Budget = BUDGET,
    processes: int = 1,
    progress: bool = True,
) -> MemoryComparison:
    """Measure how far back the lesson's networks remember, and how their gradients fade.

    >>> comparison = compare_memory(networks=["rnn"], lags=[2], seeds=1, progress=False)
    >>> comparison.rows[0].learnt
    2

    Args:
        out: New directory for memory.html and memory.json; by default none is written.
        networks: Names from `gatewright.memory.NETWORKS`; all of them by default.
        lags: Rising.
        seeds: Times that each network climbs the lags; the seeds are 0, 1, ...
        units: The size of each network.
        processes: Networks that climb at the same time, each on one thread. With more than
            one, a script needs `if __name__ == "__main__"`, as for any process pool.
        progress: Show a progress bar on the error stream.

    Raises:
        ArgumentError: before anything is computed.
    """
    chosen = (
        list(NETWORKS)
        if networks is None
        else list(dict.fromkeys(known_name(name, NETWORKS) for name in networks))
    )
    unknown = [name for name in chosen if name not in NETWORKS]
    if unknown:
        raise ArgumentError(
            f"there is no network {unknown[0]!r}; {did_you_mean(unknown[0], NETWORKS)}"
            f"give one or more of {', '.join(NETWORKS)}"
        )
    if not chosen:
        raise ArgumentError(f"networks is empty; give one or more of {', '.join(NETWORKS)}")
    if seeds < 1 or units < 1 or processes < 1:
        raise ArgumentError(f"seeds={seeds}, units={units}, processes={processes}; give 1 or more")
    if not lags or list(lags) != sorted(set(lags)) or min(lags) < 1:
        raise ArgumentError(f"lags={list(lags)}; give rising numbers of steps from 1")
    target = check_vacant(out) if out is not None else None
    climbs = [
        Climb(name, seed, units, tuple(lags), budget) for seed in range(seeds) for name in chosen
    ]
    trials: dict[Climb, ClimbResult] = {}
    with progress_bar(len(climbs), shown=progress) as advance, _pool(processes) as pool:
        for trial in _performed(climbs, pool):
            trials[trial.climb] = trial
            advance(f"{NETWORKS[trial.climb.network].title}: lag {trial.learnt}")
    rows = [
        NetworkRow(name, [trials[climb] for climb in climbs if climb.network == name])
        for name in chosen
    ]
    made_with = {
        "gatewright": version("gatewright"),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    chance = TASKS["recall"](lag=lags[0]).chance
    comparison = MemoryComparison(rows, tuple(lags), seeds, units, budget, chance, made_with)
    if target is not None:
        write_directory(
            target,
            {
                "memory.html": comparison_page(comparison).encode(),
                "memory.json": (comparison.to_json() + "\n").encode(),
            },
        )
    return comparison


@contextmanager
def _pool(processes: int) -> Iterator[Executor | None]:
    """A pool of processes, all of which end with it; None to climb in this process."""
    if processes == 1:
        yield None
        return
    # Not fork, which does not copy torch's threads.
    with (
        without_current_directory(),
        ProcessPoolExecutor(processes, get_context("spawn"), _quiet) as pool,
    ):
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for child in active_children():
                child.terminate()
            raise


def _quiet() -> None:
    """Prepare a worker: the parent handles Ctrl-C, and each worker uses a single core."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _performed(climbs: Sequence[Climb], pool: Executor | None) -> Iterator[ClimbResult]:
    """Yield the results as the climbs end."""
    if pool is None:
        yield from map(perform, climbs)
        return
    for future in as_completed([pool.submit(perform, climb) for climb in climbs]):
        yield future.result()
