"""Measure what a command costs from a fresh process, by part, cold and warm.

    python benchmarks/cold_start.py
    python benchmarks/cold_start.py --only help,cells --times 9
    python benchmarks/cold_start.py --store after --source src
    python benchmarks/cold_start.py --table

Each command runs `--times` times in a new process; the medians of its wall and processor time
are printed, with the number of modules that it imports and the time of their imports by package
(`python -X importtime`). "First" is without the package's compiled Python and without built
kernels, as after an installation that does not compile; "later" has both. `--source` names the
sources to measure, so that two versions can be compared in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FILE = Path(__file__).parent / "results" / f"cold-start-{date.today()}.json"

FIRST_CALLS = """
import torch, gatewright as gw
x = torch.randn(4, 4, 64)
layer = gw.LSTM(64, 64)
{call}
"""
#: The commands by name: arguments of Python. `train` writes into the folder that it runs in.
COMMANDS: dict[str, list[str]] = {
    "python": ["-c", ""],
    "import torch": ["-c", "import torch"],
    "import gatewright": ["-c", "import gatewright"],
    "import gatewright; gatewright.LSTM": ["-c", "import gatewright; gatewright.LSTM"],
    "help": ["-m", "gatewright", "--help"],
    "cells": ["-m", "gatewright", "cells"],
    "doctor": ["-m", "gatewright", "doctor"],
    "infer": ["-c", FIRST_CALLS.format(call="with torch.no_grad(): layer(x)")],
    "train a step": ["-c", FIRST_CALLS.format(call="layer(x)[0].sum().backward()")],
    "train": [
        *("-m", "gatewright", "train", "weather", "--cell", "gru", "--budget", "quick"),
        *("--epochs", "1", "--seeds", "1", "--no-progress", "--out", "model"),
    ],
}
#: The packages whose imports are listed by name.
PARTS = ("torch", "numpy", "gatewright", "sklearn", "rich", "typer")


def main() -> None:
    """Measure the commands, print them, and store them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", help=f"comma-separated: {', '.join(COMMANDS)}")
    parser.add_argument("--times", type=int, default=5, help="processes of each command (5)")
    parser.add_argument("--source", type=Path, default=ROOT / "src", help="sources to measure")
    parser.add_argument("--store", help="store the figures under this name, such as before")
    parser.add_argument("--file", type=Path, default=FILE, help="the file to store them in")
    parser.add_argument("--table", action="store_true", help="print the table of the file")
    options = parser.parse_args()
    if options.table:
        print(table(json.loads(options.file.read_text(encoding="utf-8"))))
        return
    names = options.only.split(",") if options.only else list(COMMANDS)
    for name in names:
        if name not in COMMANDS:
            parser.error(f"--only has {name}; expected some of {', '.join(COMMANDS)}")
    figures = {name: measure(COMMANDS[name], options.times, options.source) for name in names}
    for name, row in figures.items():
        print(name, json.dumps(row))
    if options.store:
        store(figures, options.store, options.file)


def measure(command: Sequence[str], times: int, source: Path) -> dict[str, Any]:
    """One command: seconds of wall and processor, cold and warm, and its imports."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # A copy has no compiled Python next to it, and keeps that of the sources as it is.
        shutil.copytree(source, folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        environment = {
            **os.environ,
            "PYTHONPATH": str(folder / "src"),
            "GATEWRIGHT_CACHE": str(folder / "kernels"),
        }
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        first = _run(command, folder, environment)
        later = [_run(command, folder, environment) for _ in range(times)]
        imports = _imports(command, folder, environment)
    wall, processor = (statistics.median(seconds) for seconds in zip(*later, strict=True))
    return {"first": first[0], "wall": wall, "processor": processor, **imports}


def _run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> tuple[float, float]:
    """Seconds of wall and of processor; the second with the processes that it started."""
    shutil.rmtree(folder / "model", ignore_errors=True)
    used = _children_seconds()
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *command], cwd=folder, env=environment, check=True, capture_output=True
    )
    return time.perf_counter() - began, _children_seconds() - used


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _imports(
    command: Sequence[str], folder: Path, environment: Mapping[str, str]
) -> dict[str, Any]:
    """The number of modules that the command imports, and their seconds by package."""
    shutil.rmtree(folder / "model", ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    own = re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", done.stderr)
    seconds: Counter[str] = Counter()
    for microseconds, module in own:
        package = module.partition(".")[0]
        seconds[package if package in PARTS else "others"] += int(microseconds)
    return {
        "modules": len(own),
        "imports": {part: 1e-6 * time for part, time in seconds.most_common()},
    }


def store(figures: Mapping[str, Any], name: str, path: Path) -> None:
    """Add the figures of one version to the file."""
    from gatewright.bench.machine import machine

    stored: dict[str, Any] = {"what": "cold start", "machine": machine(), "versions": {}}
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
    stored["versions"].setdefault(name, {}).update(figures)
    path.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def table(stored: Mapping[str, Any]) -> str:
    """Return the figures in Markdown: every version next to the others."""
    versions = stored["versions"]
    head = ["fresh process", *(f"{name}: first / later / processor, s" for name in versions)]
    head += [f"modules, {name}" for name in versions]
    lines = []
    for command in COMMANDS:
        rows = [figures.get(command) for figures in versions.values()]
        if any(rows):
            times = ["–" if row is None else _times(row) for row in rows]
            counts = ["–" if row is None else str(row["modules"]) for row in rows]
            lines.append([command, *times, *counts])
    marks = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, marks, *lines))


def _times(row: Mapping[str, float]) -> str:
    return " / ".join(f"{row[key]:.2f}" for key in ("first", "wall", "processor"))


if __name__ == "__main__":
    main()
