"""The lesson's comparison: how far back each network remembers, and why."""

from __future__ import annotations

import json
import math
import os
import platform
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from multiprocessing import active_children, get_context
from statistics import median
from typing import TYPE_CHECKING, Literal

import torch

from gatewright.cells import known_name
from gatewright.errors import ArgumentError
from gatewright.escaping import terminal_text
from gatewright.files import check_vacant, write_directory
from gatewright.memory.behaviour import LAGS, LEARNT
from gatewright.memory.json_numbers import plain
from gatewright.memory.learning import Budget
from gatewright.memory.networks import NETWORKS
from gatewright.memory.progress import progress_bar
from gatewright.memory.tasks import TASKS
from gatewright.memory.trial import FOLLOWED, Climb, Flow, Trial, perform, taken_together
from gatewright.names import did_you_mean
from gatewright.probes.lags import said
from gatewright.processes import without_current_directory

if TYPE_CHECKING:
    from rich.table import Table

#: What each training may spend: enough to tell the networks apart, within two minutes.
BUDGET = Budget(steps=600, rate=5e-3)
UNITS = 32


@dataclass(frozen=True, slots=True)
class Row:
    """One network: its trials, one a seed."""

    network: str
    trials: Sequence[Trial]

    @property
    def title(self) -> str:
        """What it is called."""
        return NETWORKS[self.network].title

    @property
    def learnt(self) -> float:
        """The longest lag that it learnt, as the median over seeds."""
        return median(trial.learnt for trial in self.trials)

    def flows(self, when: Literal["before", "after"]) -> list[Flow]:
        """The flow of each trial that has one, before or after learning."""
        found = [trial.before if when == "before" else trial.after for trial in self.trials]
        return [flow for flow in found if flow is not None]

    def half_life(self) -> float | None:
        """Steps until half of the state is left at the start, the median over seeds."""
        found = [flow.half_life for flow in self.flows("before")]
        return median(found) if found else None

    def left(self, when: Literal["before", "after"]) -> list[float]:
        """How much of the state is left by lag: the median over seeds; empty without."""
        curves = [flow.left for flow in self.flows(when)]
        return [median(values) for values in zip(*curves, strict=True)]

    def carried(self, when: Literal["before", "after"]) -> list[float]:
        """How much of it came by the additive path, likewise."""
        curves = [flow.carried for flow in self.flows(when)]
        return [median(values) for values in zip(*curves, strict=True)]


@dataclass(frozen=True, slots=True)
class MemoryComparison:
    """What each network learnt at each lag, and how its gradients fade."""

    rows: Sequence[Row]
    lags: Sequence[int]
    seeds: int
    units: int
    budget: Budget
    chance: float
    made_with: Mapping[str, str]

    def scores(self, row: Row, lag: int) -> list[float]:
        """A network's score at a lag, one a seed; chance where it was not tried any more."""
        return taken_together(row.trials, lag, self.chance)

    def verdict(self) -> str:
        """What came out, in two sentences."""
        ranked = sorted(self.rows, key=lambda row: -row.learnt)
        far = "; ".join(f"{row.title}: {row.learnt:g}" for row in ranked)
        fading = "; ".join(
            f"{row.title}: {said(half, FOLLOWED)}"
            for row in ranked
            if (half := row.half_life()) is not None
        )
        return (
            f"Longest lag learnt, in steps, of up to {self.lags[-1]}: {far}. "
            f"Steps until half of the state is left, before learning: {fading or 'none has one'}."
        )

    def headings(self) -> list[str]:
        """The columns of the table."""
        return [
            "network",
            "lag learnt",
            "each seed",
            "steps to half",
            "left at that lag",
            "by addition",
        ]

    def cells(self, row: Row) -> list[str]:
        """A row of the table, in words."""
        each = " ".join(str(trial.learnt) for trial in row.trials)
        half, at = row.half_life(), min(round(row.learnt), FOLLOWED)

        def percents(before: Sequence[float], after: Sequence[float]) -> str:
            if not (at and before and after):
                return "–"
            return f"{_percent(before[at])} → {_percent(after[at])} %"

        return [
            row.title,
            f"{row.learnt:g}",
            each,
            "–" if half is None else said(half, FOLLOWED),
            percents(row.left("before"), row.left("after")),
            percents(row.carried("before"), row.carried("after")),
        ]

    def caption(self) -> str:
        """What the table shows."""
        return (
            f"Delayed recall of one of 8 symbols, lags {', '.join(map(str, self.lags))}; learnt "
            f"is at least {LEARNT:.0%} right, chance is {self.chance:.1%}. {self.units} units, "
            f"{self.seeds} {'seeds (medians)' if self.seeds > 1 else 'seed'}, at most "
            f"{self.budget.steps} steps of {self.budget.batch} sequences for each lag. "
            "Steps to half: until half of the state's gradient with respect to the state before "
            "is left, as the network starts. Left at that lag: how much of it is left at the "
            "longest lag learnt, at the start → after learning it; by addition: the share of that "
            "which came by the additive path."
        )

    def table(self) -> Table:
        """The table for a terminal."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table

        made = Table(
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),  # so that it fits 80 columns
            caption=self.caption(),
            caption_justify="left",
        )
        for at, heading in enumerate(self.headings()):
            lines = heading.replace(" ", "\n", 1)
            made.add_column(lines, justify="right" if at else "left", no_wrap=True)
        for row in self.rows:
            made.add_row(*map(terminal_text, self.cells(row)))
        return made

    def to_json(self) -> str:
        """Every number, with the settings."""
        return json.dumps(
            {
                "networks": {
                    row.network: [plain(asdict(trial)) for trial in row.trials] for row in self.rows
                },
                "lags": list(self.lags),
                "units": self.units,
                "budget": asdict(self.budget),
                "chance": self.chance,
                "made_with": dict(self.made_with),
            },
            indent=1,
        )


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
    """How far back the lesson's networks remember: what they learn, and how gradients fade.

    >>> found = compare_memory(networks=["rnn"], lags=[2], seeds=1, progress=False)
    >>> found.rows[0].learnt
    2

    Args:
        out: New directory for memory.html and memory.json; none is written unless given.
        networks: Names from `gatewright.memory.NETWORKS`; all of them unless given.
        lags: Rising.
        seeds: How often each network climbs the lags; the seeds are 0, 1, ...
        units: Of each network.
        processes: How many climb at once, each on one thread. With more than one, a script
            needs `if __name__ == "__main__"`, as for any process pool.
        progress: Whether a progress bar is shown on the error stream.

    Raises:
        ArgumentError: before anything is computed.
    """
    from gatewright.memory.pictures import comparison_page

    chosen = (
        list(NETWORKS)
        if networks is None
        else list(dict.fromkeys(known_name(name, NETWORKS) for name in networks))
    )
    unknown = [name for name in chosen if name not in NETWORKS]
    if unknown or not chosen:
        nearest = did_you_mean(unknown[0], NETWORKS) if unknown else ""
        raise ArgumentError(
            f"no networks are called {unknown}; {nearest}there are: {', '.join(NETWORKS)}"
        )
    if seeds < 1 or units < 1 or processes < 1:
        raise ArgumentError(f"seeds={seeds}, units={units}, processes={processes}; give 1 or more")
    if not lags or list(lags) != sorted(set(lags)) or min(lags) < 1:
        raise ArgumentError(f"lags={list(lags)}; give rising numbers of steps from 1")
    target = check_vacant(out) if out is not None else None
    climbs = [
        Climb(name, seed, units, tuple(lags), budget) for seed in range(seeds) for name in chosen
    ]
    trials: dict[Climb, Trial] = {}
    with progress_bar(len(climbs), shown=progress) as told, _pool(processes) as pool:
        for trial in _performed(climbs, pool):
            trials[trial.climb] = trial
            told(f"{NETWORKS[trial.climb.network].title}: lag {trial.learnt}")
    rows = [
        Row(name, [trials[climb] for climb in climbs if climb.network == name]) for name in chosen
    ]
    made_with = {
        "gatewright": version("gatewright"),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    chance = TASKS["recall"](lag=lags[0]).chance
    found = MemoryComparison(rows, tuple(lags), seeds, units, budget, chance, made_with)
    if target is not None:
        write_directory(
            target,
            {
                "memory.html": comparison_page(found).encode(),
                "memory.json": (found.to_json() + "\n").encode(),
            },
        )
    return found


@contextmanager
def _pool(processes: int) -> Iterator[Executor | None]:
    """Processes to climb in; None to climb in this one. None of them stays behind."""
    if processes == 1:
        yield None
        return
    # Not fork: torch's threads would not survive it.
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
    """Ctrl-C is for the one who started us, and the other processes want the cores too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)


def _performed(climbs: Sequence[Climb], pool: Executor | None) -> Iterator[Trial]:
    """The trials as they end."""
    if pool is None:
        yield from map(perform, climbs)
        return
    for done in as_completed([pool.submit(perform, climb) for climb in climbs]):
        yield done.result()


def _percent(share: float) -> str:
    """Two digits, however small."""
    if math.isnan(share):
        return "–"
    return f"{100 * share:.0f}" if share >= 0.095 else f"{100 * share:.2g}"
