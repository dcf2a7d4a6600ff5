"""Measure what a command costs from a fresh process, by part, cold and warm.

    python benchmarks/cold_start.py
    python benchmarks/cold_start.py --only help,cells --times 9
    python benchmarks/cold_start.py --store --source before=../old/src --source after=src
    python benchmarks/cold_start.py --write      # the table of docs/cold-start.md

Each command runs `--times` times in a new process. Printed are the median of its processor time,
with that of the processes that it starts, its shortest wall time, the number of modules that it
imports, and the time of their imports by package (`python -X importtime`). "First" is the processor
time without the package's compiled Python and without built kernels, as after an installation that
does not compile; the others have both. Several versions of the
sources run in turns.
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

from page_block import write_block

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).parent / "results"
PAGE = "cold-start.md"

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
    parser.add_argument("--source", action="append", help="NAME=PATH of sources (now=src)")
    parser.add_argument("--store", action="store_true", help="add the figures to the file")
    parser.add_argument("--file", type=Path, help="the file to store them in (a new one of today)")
    parser.add_argument("--write", action="store_true", help=f"write the table into docs/{PAGE}")
    options = parser.parse_args()
    if options.write:
        stored = json.loads((options.file or newest()).read_text(encoding="utf-8"))
        write_block(PAGE, "cold_start", table(stored))
        return
    names = options.only.split(",") if options.only else list(COMMANDS)
    for name in names:
        if name not in COMMANDS:
            parser.error(f"--only has {name}; expected some of {', '.join(COMMANDS)}")
    sources = {
        name: Path(path)
        for name, _, path in (each.partition("=") for each in options.source or [f"now={ROOT}/src"])
    }
    for name in names:
        figures = measure(COMMANDS[name], options.times, sources)
        for version, row in figures.items():
            print(name, version, json.dumps(row), flush=True)
        if options.store:
            store(name, figures, options.file or RESULTS / f"cold-start-{date.today()}.json")


def newest() -> Path:
    """The newest file of figures; the names hold their dates."""
    return max(RESULTS.glob("cold-start-*.json"))


def measure(
    command: Sequence[str], times: int, sources: Mapping[str, Path]
) -> dict[str, dict[str, Any]]:
    """One command with each version: seconds of processor and wall, and its imports."""
    with tempfile.TemporaryDirectory() as name:
        folders = {version: Path(name, version) for version in sources}
        first: dict[str, float] = {}
        later: dict[str, list[tuple[float, float]]] = {version: [] for version in sources}
        for version, folder in folders.items():
            # A copy has no compiled Python next to it, and keeps that of the sources as it is.
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(sources[version], folder / "src", ignore=ignored)
            _, first[version] = _run(command, folder)
        for _ in range(times):
            for version, folder in folders.items():
                later[version].append(_run(command, folder))
        rows = {}
        for version, folder in folders.items():
            walls, processors = zip(*later[version], strict=True)
            rows[version] = {
                "first": first[version],
                "processor": statistics.median(processors),
                # Another process that wants the cores only adds to it.
                "wall": min(walls),
                **_imports(command, folder),
            }
    return rows


def _environment(folder: Path) -> dict[str, str]:
    """The variables of a process, with sources and kernels of its own."""
    own = {"PYTHONPATH": str(folder / "src"), "GATEWRIGHT_CACHE": str(folder / "kernels")}
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return inherited | own


def _run(command: Sequence[str], folder: Path) -> tuple[float, float]:
    """Seconds of wall and of processor; the second with the processes that it started."""
    shutil.rmtree(folder / "model", ignore_errors=True)
    used = _children_seconds()
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=_environment(folder),
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - began, _children_seconds() - used


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _imports(command: Sequence[str], folder: Path) -> dict[str, Any]:
    """The number of modules that the command imports, and their seconds by package."""
    shutil.rmtree(folder / "model", ignore_errors=True)
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *command],
        cwd=folder,
        env=_environment(folder),
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


def store(command: str, figures: Mapping[str, Any], path: Path) -> None:
    """Add the figures of one command to the file."""
    from gatewright.bench.machine import machine

    stored: dict[str, Any] = {"what": "cold start", "machine": machine(), "versions": {}}
    if path.exists():
        stored = json.loads(path.read_text(encoding="utf-8"))
    for version, row in figures.items():
        stored["versions"].setdefault(version, {})[command] = row
    path.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")


def table(stored: Mapping[str, Any]) -> str:
    """Return the figures in Markdown: every version next to the others."""
    versions = stored["versions"]
    head = ["fresh process", *(f"{name}: first / later / wall, s" for name in versions)]
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
    return " / ".join(f"{row[key]:.2f}" for key in ("first", "processor", "wall"))


if __name__ == "__main__":
    main()
