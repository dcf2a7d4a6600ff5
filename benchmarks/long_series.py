"""Measure the memory of long data: a pass over a series in chunks, and `gatewright train`.

    python benchmarks/long_series.py                     # all parts, about ten minutes
    python benchmarks/long_series.py --parts series      # only the series of 10^5 to 10^7 steps

A part replaces its own figures in benchmarks/results/long-series.json. Each run is a process of its
own, whose peak is the largest resident memory that the system has seen of it (Linux, VmHWM). The
figures need no idle machine.

series: a memory-mapped file of numbers, on which a small GRU learns the next step in one pass of
`gw.chunks`. files: a pass of `gw.chunks` over texts and Parquet files, without a network. train:
one epoch of `gatewright train` on files of two sizes; what a byte of the file takes is the
difference of the peaks, of all processes together, by the difference of the sizes.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gatewright.bench.machine import machine
from gatewright.processes import module_environment

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "long-series.json"
LENGTHS = (10**5, 10**6, 10**7)
CHANNELS, UNITS, STEPS, BATCH = 8, 16, 200, 32
WORDS = ["the", "fox", "jumps", "over", "a", "lazy", "dog", "and", "bites", "it", "again,", "but"]
Figures = dict[str, Any]


def write_series(path: Path, steps: int) -> None:
    """Write oscillations of random periods with noise, (steps, CHANNELS), block by block."""
    array = np.lib.format.open_memmap(path, "w+", np.float32, (steps, CHANNELS))
    generator = np.random.default_rng(0)
    periods = generator.uniform(20.0, 200.0, CHANNELS)
    for first in range(0, steps, 10**5):
        stop = min(first + 10**5, steps)
        phases = 2.0 * np.pi * np.arange(first, stop)[:, None] / periods
        array[first:stop] = np.sin(phases) + 0.1 * generator.normal(size=phases.shape)
    array.flush()


def learn(path: Path) -> Figures:
    """Learn the next step of a series in one pass; runs in a process of its own."""
    import torch

    import gatewright as gw

    torch.manual_seed(0)
    torch.set_num_threads(1)
    array = np.load(path, mmap_mode="r")
    layer, readout = gw.GRU(CHANNELS, UNITS), torch.nn.Linear(UNITS, CHANNELS)
    optimizer = torch.optim.Adam([*layer.parameters(), *readout.parameters()], 3e-3)
    began, state, losses = time.perf_counter(), None, []
    for chunk in gw.chunks((array[:-1], array[1:]), steps=STEPS, batch=BATCH):
        y, state = layer(chunk.x, state, starts=chunk.starts, lengths=chunk.lengths)
        loss = (readout(y) - chunk.target)[chunk.mask].square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        state = gw.detach(state)
        losses.append(loss.item())
    return {
        "steps": len(array),
        "file_mb": path.stat().st_size / 1e6,
        "peak_mb": peak_of("self") / 1e6,
        "seconds": time.perf_counter() - began,
        "first_loss": float(np.mean(losses[:3])),
        "last_loss": float(np.mean(losses[-3:])),
    }


def read_chunks(path: Path) -> Figures:
    """Read a file once in chunks; runs in a process of its own."""
    import gatewright as gw

    options: dict[str, Any] = {"ignore": "label"} if path.suffix == ".parquet" else {}
    steps = 0
    for chunk in gw.chunks(path, steps=STEPS, batch=BATCH, **options):
        steps += int(chunk.lengths.sum())
    return {"steps": steps, "file_mb": path.stat().st_size / 1e6, "peak_mb": peak_of("self") / 1e6}


def peak_of(process: int | str) -> int:
    """The largest resident memory of a process so far, in bytes; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)


def children_of(process: int) -> list[int]:
    """All processes that a process has started, and those that they have."""
    try:
        tasks = Path(f"/proc/{process}/task").iterdir()
        own = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    except OSError:
        return []
    return own + [below for child in own for below in children_of(child)]


def peak_of_command(command: list[str]) -> int:
    """The sum of the peaks of a command's processes, in bytes."""
    running = subprocess.Popen(
        command, env=module_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    peaks: dict[int, int] = {}
    while running.poll() is None:
        for process in (running.pid, *children_of(running.pid)):
            peaks[process] = max(peaks.get(process, 0), peak_of(process))
        time.sleep(0.05)
    if running.returncode:
        assert running.stderr is not None
        raise SystemExit(running.stderr.read().decode())
    return sum(peaks.values())


def write_text(path: Path, megabytes: float) -> None:
    """Write random sentences."""
    words = np.random.default_rng(0).choice(WORDS, int(megabytes * 1e6 / 4.5))
    path.write_text(" ".join(words.tolist())[: int(megabytes * 1e6)])


def write_tags(path: Path, megabytes: float, group: int = 50_000) -> None:
    """Write a table of one long recording with a tag at each step, in groups of rows."""
    import pyarrow
    from pyarrow import parquet

    rows = int(megabytes * 1e6 / 17)
    values = np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float32)
    columns: Figures = {f"v{k}": values[:, k] for k in range(4)}
    columns["label"] = np.where(np.cumsum(values[:, 0]) > 0, "up", "down")
    parquet.write_table(pyarrow.table(columns), path, row_group_size=group, compression=None)


#: By name: how its file is written, the sizes in MB, and further options of `train`.
TRAININGS: dict[str, tuple[Callable[[Path, float], None], tuple[float, float], list[str]]] = {
    "text.txt": (write_text, (2.0, 6.0), []),
    "tags.parquet": (write_tags, (8.0, 24.0), ["--label", "label", "--chunk", "500"]),
}


def in_a_process(task: str, path: Path) -> Figures:
    """The figures of `learn` or `read_chunks` for a file."""
    command = [sys.executable, __file__, task, str(path)]
    done = subprocess.run(command, env=module_environment(), stdout=subprocess.PIPE, check=True)
    figures: Figures = json.loads(done.stdout)
    return figures


def measure_series() -> list[Figures]:
    """One pass over a series of each length."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for steps in LENGTHS:
            path = Path(folder) / "series.npy"
            write_series(path, steps)
            rows.append(in_a_process("--learn", path))
            print(
                "{steps:>10,} steps, a file of {file_mb:6.1f} MB: peak {peak_mb:6.1f} MB, "
                "{seconds:6.1f} s, loss {first_loss:.3f} -> {last_loss:.3f}".format(**rows[-1])
            )
    return rows


#: By name: how a file to be read in chunks is written.
FILES: dict[str, Callable[[Path, float], None]] = {
    "text.txt": write_text,
    "groups.parquet": write_tags,
    "one-group.parquet": lambda path, megabytes: write_tags(path, megabytes, 10**9),
}


def measure_files() -> list[Figures]:
    """One pass over each kind of file, in two sizes."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, write in FILES.items():
            for megabytes in (4.0, 60.0):
                path = Path(folder) / name
                write(path, megabytes)
                rows.append({"file": name, **in_a_process("--read", path)})
                print("{file}: {file_mb:.1f} MB, peak {peak_mb:.1f} MB".format(**rows[-1]))
    return rows


def measure_training() -> list[Figures]:
    """One epoch of `gatewright train` on each kind of file, in two sizes."""
    rows = []
    for name, (write, sizes, options) in TRAININGS.items():
        peaks = []
        with tempfile.TemporaryDirectory() as folder:
            for number, megabytes in enumerate(sizes):
                path = Path(folder) / f"{number}-{name}"
                write(path, megabytes)
                command = [sys.executable, "-P", "-m", "gatewright", "train", str(path)]
                command += ["--hidden", "16", "--epochs", "1", "--seeds", "1", "--budget", "quick"]
                command += ["--no-progress", "--out", f"{folder}/model-{number}", *options]
                peaks.append(peak_of_command(command) / 1e6)
        multiple = (peaks[1] - peaks[0]) / (sizes[1] - sizes[0])
        rows.append({"file": name, "file_mb": sizes, "peak_mb": peaks, "multiple": multiple})
        print(
            f"{name}: peaks of {peaks[0]:.0f} MB and {peaks[1]:.0f} MB with {sizes[0]:g} MB and "
            f"{sizes[1]:g} MB: {multiple:.1f} bytes for each byte of the file"
        )
    return rows


PARTS: dict[str, Callable[[], list[Figures]]] = {
    "series": measure_series,
    "files": measure_files,
    "train": measure_training,
}


def main() -> None:
    """Measure the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", default=",".join(PARTS), help="comma-separated")
    parser.add_argument("--learn", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.learn is not None:
        print(json.dumps(learn(arguments.learn)))
        return
    if arguments.read is not None:
        print(json.dumps(read_chunks(arguments.read)))
        return
    stored = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for part in arguments.parts.split(","):
        stored[part] = PARTS[part]()
        stored["machine"] = machine()
        RESULTS.write_text(json.dumps(stored, indent=1) + "\n")


if __name__ == "__main__":
    main()
