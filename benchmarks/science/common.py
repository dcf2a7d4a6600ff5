"""What the scientific benchmarks share: seeds, raw results that are kept, and one table.

Each training is written down as it ends, so a run that was stopped goes on where it was; one
that is there with the same name, task, seed and budget is not repeated.
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
#: 97.5 % points of Student's t, for a 95 % interval of a mean over n seeds.
T = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}


@dataclass(frozen=True)
class Entry:
    """One line of the table.

    Attributes:
        name: What is trained, and how it starts.
        task: What it learns.
        build: The model, from the task.
        budget: What each training may spend.
        published: What the literature reports, and where; "" where it is silent.
        measure: Numbers of the trained model, besides score and loss.
    """

    name: str
    task: MemoryTask
    build: Callable[[MemoryTask], nn.Module]
    budget: Budget
    published: str = ""
    measure: Callable[[LearningResult], Mapping[str, float]] = field(default=lambda learnt: {})


def options(about: str) -> argparse.ArgumentParser:
    """The options that all of them have."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each (3)")
    parser.add_argument("--only", default="", help="only entries whose name holds this")
    return parser


def perform(name: str, entries: Sequence[Entry], given: argparse.Namespace) -> None:
    """Train every entry from every seed, keep what came out, and print the table."""
    torch.set_num_threads(1)
    chosen = [entry for entry in entries if given.only in entry.name]
    path = RESULTS / f"{name}.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for seed in range(given.seeds):
        for entry in chosen:
            key = f"{entry.name} | {entry.task.name} | seed {seed}"
            about = asdict(entry.budget)
            if kept.get(key, {}).get("budget") == about:
                continue
            learnt = learn(entry.task, entry.build, entry.budget, seed=seed)
            kept[key] = {
                "entry": entry.name,
                "task": entry.task.name,
                "seed": seed,
                "score": learnt.score,
                "loss": learnt.loss,
                "measured": dict(entry.measure(learnt)),
                "steps": learnt.steps,
                "seconds": learnt.seconds,
                "parameters": sum(one.numel() for one in learnt.model.parameters()),
                "losses": [round(one, 6) for one in learnt.losses[:: max(1, learnt.steps // 200)]],
                "budget": about,
                "made_with": {
                    "gatewright": version("gatewright"),
                    "torch": torch.__version__,
                    "machine": f"{platform.machine()}, {os.cpu_count()} cores",
                },
            }
            path.parent.mkdir(parents=True, exist_ok=True)
            whole = path.with_suffix(".new")
            whole.write_text(json.dumps(kept, indent=1) + "\n")
            whole.replace(path)  # so that a run that is stopped leaves what it had
            print(f"{key}: score {learnt.score:.4f}, loss {learnt.loss:.3g}, "
                  f"{learnt.steps} steps, {learnt.seconds:.0f} s", flush=True)  # fmt: skip
    print(table(chosen, list(kept.values())))


def table(entries: Sequence[Entry], kept: Sequence[Mapping[str, Any]]) -> str:
    """Published against ours, as Markdown: means with 95 % intervals over seeds."""
    more = list(dict.fromkeys(name for one in kept for name in one["measured"]))
    headings = ["network", "task", "chance", "published", "score", "loss", *more]
    headings += ["steps", "seconds", "seeds"]
    lines = [f"| {' | '.join(headings)} |", f"|{' --- |' * len(headings)}"]
    for entry in entries:
        own = [one for one in kept if (one["entry"], one["task"]) == (entry.name, entry.task.name)]
        if not own:
            continue
        baseline = entry.task.baseline
        chance = f"{entry.task.chance:.3g}" if baseline is None else f"loss {baseline:.3g}"
        cells = [
            entry.name,
            entry.task.name,
            chance,
            entry.published or "–",
            interval([one["score"] for one in own]),
            interval([one["loss"] for one in own]),
            *(interval([one["measured"].get(name, math.nan) for one in own]) for name in more),
            f"{statistics.mean(one['steps'] for one in own):.0f}",
            f"{statistics.mean(one['seconds'] for one in own):.0f}",
            str(len(own)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def interval(values: Sequence[float]) -> str:
    """The mean, and half the width of its 95 % interval."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:.3g}"
    half = T.get(len(values), 1.96) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:.3g} ± {half:.1g}"
