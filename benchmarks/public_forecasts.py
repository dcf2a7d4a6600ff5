"""Compare the default network of `gatewright train` with simple methods, on public time series.

    pip install 'gatewright[public]'
    python benchmarks/public_forecasts.py                  # all series, into benchmarks/results/
    python benchmarks/public_forecasts.py Nile CO2 --seeds 5
    python benchmarks/public_forecasts.py --peers          # also the models of statsforecast
    python benchmarks/public_forecasts.py --unseen         # series that nothing was developed on

The test part of a series is its last fifth, and every origin in it is forecast. Every choice of a
network or a method is made inside the training part; the test part is used once.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from public_series import SERIES as PUBLIC
from unseen_series import UNSEEN

from gatewright.tasks.forecast.baselines.statistical import MODELS
from gatewright.training.experiment import run_experiment
from gatewright.training.plan import make_plan
from gatewright.training.session import Session

SERIES = {**PUBLIC, **UNSEEN}
RESULTS = Path(__file__).parent / "results"
#: The methods that the network is compared with, by the names of their baselines.
OPPONENTS = {
    "seasonal_naive": "seasonal naive",
    "ridge": "ridge",
    "smoothing": "ETS",
    "autoregression": "AR",
    "boosting": "boosting",
}
#: Where there is no season, persistence is the seasonal naive forecast.
STAND_IN = {"seasonal_naive": "persistence"}
#: Share of the best opponent's error that a network may lose.
CLOSE = 0.05


@dataclass(frozen=True)
class Row:
    """The results on one series: MASE and coverage on the test part."""

    network: list[float]  # of each seed
    final: float  # MASE of the model that `train` keeps, the mean of the seeds
    coverage: float  # of that model
    windows: int
    others: dict[str, float]  # MASE by name
    base: float  # MASE of what the network starts from
    seconds: float  # of one training

    @property
    def mean(self) -> float:
        """The mean of the network's errors over the seeds."""
        return statistics.mean(self.network)

    @property
    def best(self) -> str:
        """The best opponent."""
        return min(OPPONENTS.values(), key=lambda name: self.others[name])

    @property
    def excess(self) -> float:
        """The share by which the error of the model is above the best opponent's."""
        return self.final / self.others[self.best] - 1.0


def main(arguments: Sequence[str] | None = None) -> None:
    """Run each series, print the table, and store the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help=f"{', '.join(SERIES)} (default: all public)")
    parser.add_argument("--unseen", action="store_true", help="those of unseen_series.py")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of the network (3)")
    parser.add_argument("--cell", default="gru", help="the network (gru, as `train` has it)")
    parser.add_argument("--peers", action="store_true", help="also the models of statsforecast")
    parser.add_argument("--out", type=Path, help="a file whose rows are kept, and added to")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(SERIES)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(SERIES)}")
    kind = "unseen" if options.unseen else "public"
    path = options.out or RESULTS / f"{kind}-forecasts-{date.today()}.json"
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    rows = {name: Row(**row) for name, row in stored.items()}
    for name in options.names or (UNSEEN if options.unseen else PUBLIC):
        rows[name] = run(name, options.cell, options.seeds, options.peers)
        print(f"{name}: {rows[name]}", file=sys.stderr, flush=True)
        figures = {key: vars(row) for key, row in rows.items()}
        path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(table(rows))
    print(summary(rows))


def run(name: str, cell: str, seeds: int, peers: bool) -> Row:
    """Train the network from each seed and fit the baselines on one series."""
    horizon = SERIES[name].horizon
    sizes = {} if horizon is None else {"horizon": horizon}
    plan = make_plan(SERIES[name].read(), [cell], seeds=seeds, say=lambda line: None, reading=sizes)
    chosen = {*OPPONENTS, *STAND_IN.values(), "base", *(MODELS if peers else ())}
    baselines = [baseline for baseline in plan.baselines if baseline.name in chosen]
    began = time.monotonic()
    comparison = run_experiment(replace(plan, baselines=baselines), Session(progress=False))
    (network,) = comparison.networks
    model = comparison.ensemble or comparison.chosen
    tests = {entry.name: entry.trials[0].test["mase"] for entry in comparison.entries[1:]}
    others = {
        title: tests.get(key, tests[STAND_IN.get(key, "persistence")])
        for key, title in OPPONENTS.items()
    }
    others |= {MODELS[key][0]: tests[key] for key in MODELS if key in tests}
    print(f"{name}: {time.monotonic() - began:.0f} s in all", file=sys.stderr)
    return Row(
        network=[trial.test["mase"] for trial in network.trials],
        final=model.test["mase"],
        coverage=model.test["coverage"],
        windows=len(plan.task.batches(plan.test)),
        others=others,
        base=tests["base"],
        seconds=network.seconds,
    )


def table(rows: Mapping[str, Row]) -> str:
    """Format the errors of all methods, and the network's excess over the best opponent."""
    names = list(next(iter(rows.values())).others)
    head = ["series", "model", "each seed", *names, "base only", "excess", "holds", "s"]
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    for name, row in rows.items():
        deviation = f" ± {statistics.stdev(row.network):.3f}" if len(row.network) > 1 else ""
        cells = [
            name,
            f"{row.final:.3f}",
            f"{row.mean:.3f}{deviation}",
            *(f"{row.others[other]:.3f}" for other in names),
            f"{row.base:.3f}",
            f"{100 * row.excess:+.0f} %",
            f"{100 * row.coverage:.0f} %",
            f"{row.seconds:.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(rows: Mapping[str, Row]) -> str:
    """Describe ranks, wins, losses and coverage in words."""
    names = ["model", *next(iter(rows.values())).others]
    ranks = {
        name: statistics.mean(of_row[name] for of_row in map(_ranks, rows.values()))
        for name in names
    }
    ahead = [name for name, row in rows.items() if row.excess < 0.0]
    behind = {name: row for name, row in rows.items() if row.excess > CLOSE}
    behind_ridge = [
        name
        for name, row in rows.items()
        if row.final - row.others["ridge"]
        > (statistics.stdev(row.network) if len(row.network) > 1 else 0.0)
    ]
    coverage = statistics.mean(row.coverage for row in rows.values())
    ordered = sorted(ranks.items(), key=lambda pair: pair[1])
    return "\n".join(
        [
            "mean ranks: " + ", ".join(f"{name} {rank:.2f}" for name, rank in ordered),
            f"ahead of the best of {', '.join(OPPONENTS.values())}: {len(ahead)} of {len(rows)}",
            f"more than {CLOSE:.0%} behind it: {_losses(behind)}",
            f"behind ridge beyond the spread: {', '.join(behind_ridge) or 'none'}",
            f"80 % interval: holds {coverage:.1%}, the mean over the series",
        ]
    )


def _ranks(row: Row) -> dict[str, float]:
    """Rank the methods on one series; equal errors share their ranks."""
    errors = {"model": row.final, **row.others}
    return {
        name: 0.5 + sum((other < error) + 0.5 * (other == error) for other in errors.values())
        for name, error in errors.items()
    }


def _losses(behind: Mapping[str, Row]) -> str:
    named: Sequence[str] = [
        f"{name} ({row.best}, {row.excess:+.0%})" for name, row in behind.items()
    ]
    return ", ".join(named) or "none"


if __name__ == "__main__":
    main()
