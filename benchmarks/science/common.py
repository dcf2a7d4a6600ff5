"""Options, stored results and the table that all scientific benchmarks share.

Each training is stored as soon as it ends. A training that is already stored, with the same name,
task, seed and budget, is not repeated, so an interrupted run can be continued.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gatewright.memory import Budget, LearningResult, MemoryTask, learn

RESULTS = Path(__file__).resolve().parents[1] / "results" / "science"
#: 97.5 % quantiles of Student's t by the number of seeds, for the 95 % interval of a mean.
T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}


@dataclass(frozen=True)
class Entry:
    """One line of the table.

    Attributes:
        name: The network and its initialisation.
        task: The task that it learns.
        build: Builds the model for a task.
        budget: The limits of each training.
        published: The published figure and its source; "" if there is none.
        measure: Computes further figures of the trained model, by name.
    """

    name: str
    task: MemoryTask
    build: Callable[[MemoryTask], nn.Module]
    budget: Budget
    published: str = ""
    measure: Callable[[LearningResult], Mapping[str, float]] = field(default=lambda learnt: {})


def options(about: str) -> argparse.ArgumentParser:
    """Make a parser with the options of every scientific benchmark."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument(
        "--seeds", type=int, default=3, help="trainings of each network (default: 3)"
    )
    parser.add_argument(
        "--only", default="", help="train only the networks whose name contains this"
    )
    return parser


def perform(name: str, entries: Sequence[Entry], arguments: argparse.Namespace) -> None:
    """Train every entry from every seed, store the results, and print the table."""
    torch.set_num_threads(1)
    chosen = [entry for entry in entries if arguments.only in entry.name]
    path = RESULTS / f"{name}.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for seed in range(arguments.seeds):
        for entry in chosen:
            key = f"{entry.name} | {entry.task.name} | seed {seed}"
            budget = asdict(entry.budget)
            if results.get(key, {}).get("budget") == budget:
                continue
            learnt = learn(entry.task, entry.build, entry.budget, seed=seed)
            results[key] = {
                "entry": entry.name,
                "task": entry.task.name,
                "seed": seed,
                "score": learnt.score,
                "loss": learnt.loss,
                "measured": dict(entry.measure(learnt)),
                "steps": learnt.steps,
                "seconds": learnt.seconds,
                "parameters": sum(weight.numel() for weight in learnt.model.parameters()),
                "losses": [
                    round(loss, 6) for loss in learnt.losses[:: max(1, learnt.steps // 200)]
                ],
                "budget": budget,
                "made_with": {
                    "gatewright": version("gatewright"),
                    "torch": torch.__version__,
                    "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                },
            }
            path.parent.mkdir(parents=True, exist_ok=True)
            # Replaced as a whole, so that an interruption cannot leave half a file.
            new = path.with_suffix(".new")
            new.write_text(json.dumps(results, indent=1) + "\n")
            new.replace(path)
            print(f"{key}: score {learnt.score:.4f}, loss {learnt.loss:.3g}, "
                  f"{learnt.steps} steps, {learnt.seconds:.0f} s", flush=True)  # fmt: skip
    print(table(chosen, list(results.values())))


def table(entries: Sequence[Entry], results: Sequence[Mapping[str, Any]]) -> str:
    """Write published and measured figures as Markdown: means and 95 % intervals over seeds."""
    further = list(dict.fromkeys(name for result in results for name in result["measured"]))
    headings = ["network", "task", "chance", "published", "score", "loss", *further]
    headings += ["steps", "seconds", "seeds"]
    lines = [f"| {' | '.join(headings)} |", f"|{' --- |' * len(headings)}"]
    for entry in entries:
        key = (entry.name, entry.task.name)
        trials = [result for result in results if (result["entry"], result["task"]) == key]
        if not trials:
            continue
        baseline = entry.task.baseline
        chance = f"{entry.task.chance:.3g}" if baseline is None else f"loss {baseline:.3g}"
        cells = [
            entry.name,
            entry.task.name,
            chance,
            entry.published or "–",
            interval([trial["score"] for trial in trials]),
            interval([trial["loss"] for trial in trials]),
            *(
                interval([trial["measured"].get(name, math.nan) for trial in trials])
                for name in further
            ),
            f"{statistics.mean(trial['steps'] for trial in trials):.0f}",
            f"{statistics.mean(trial['seconds'] for trial in trials):.0f}",
            str(len(trials)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def interval(values: Sequence[float]) -> str:
    """Format the mean of some values and half the width of its 95 % interval."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.3g}"
    half = T.get(len(values), 1.96) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.3g} ± {half:.1g}"
