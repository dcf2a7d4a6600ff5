"""Figures of speed: docs/speed.md, docs/bfloat16.md and the README, from `gatewright bench`."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from figures.raw import day, newest, number, plain_table, stored

LSTM, GRU, RNN = "lstm", "gru", "elman_rnn"
#: The pairs of the tables: title, cell, peer.
PAIRS = [
    ("`gw.LSTM` against `torch.nn.LSTM`", LSTM, "torch"),
    ("`gw.GRU` against `torch.nn.GRU`", GRU, "torch"),
    ("`gw.RNN` against `torch.nn.RNN`", RNN, "torch"),
    ("`gw.PeepholeLSTM` against a Python loop", "peephole_lstm", "loop"),
    ("`gw.LSTM` against ONNX Runtime", LSTM, "onnxruntime"),
    ("`gw.GRU` against ONNX Runtime", GRU, "onnxruntime"),
    ("`gw.RNN` against ONNX Runtime", RNN, "onnxruntime"),
    ("`gw.LSTM` against JAX's `scan`", LSTM, "jax"),
    ("`gw.GRU` against JAX's `scan`", GRU, "jax"),
    ("`gw.PeepholeLSTM` against torchrecurrent (two sizes)", "peephole_lstm", "torchrecurrent"),
    ("MGU against torchrecurrent (two sizes)", "mgu", "torchrecurrent"),
]
README_PAIRS = [PAIRS[0], PAIRS[1], PAIRS[3]]
BFLOAT16_PAIRS = [
    *((f"{title} in bfloat16", cell, peer) for title, cell, peer in PAIRS[:3]),
    ("`gw.LSTM` against itself in float32", LSTM, "float32"),
    ("`gw.GRU` against itself in float32", GRU, "float32"),
    ("`gw.RNN` against itself in float32", RNN, "float32"),
]


# Layers.
@dataclass(frozen=True)
class Mean:
    """A peer's times divided by ours, over the sizes.

    Attributes:
        value: The geometric mean.
        low: Its lower bound over the rounds.
        high: Its upper bound.
        path: The file of raw results.
    """

    value: float
    low: float
    high: float
    path: Path


@cache
def layer_means(dtype: str = "float32") -> dict[tuple[str, str, str, int], Mean]:
    """Return the newest mean of each cell, peer, run and number of threads, in one dtype."""
    return {
        (row["cell"], row["peer"], row["run"], row["threads"]): Mean(
            row["ratio"], row["low"], row["high"], path
        )
        for path, result in stored("layers-*.json")
        if result["settings"].get("dtype", "float32") == dtype
        for row in result["means"]
    }


def layer_table(pairs: Sequence[tuple[str, str, str]], dtype: str = "float32") -> str:
    """Return the means of pairs: training and inference, on one and on two threads."""
    means = layer_means(dtype)

    def both(cell: str, peer: str, run: str) -> str:
        values = [means.get((cell, peer, run, threads)) for threads in (1, 2)]
        if not any(values):
            return "–"
        return " / ".join(f"{mean.value:.2f}" if mean else "–" for mean in values)

    rows = [[t, both(c, p, "training"), both(c, p, "inference")] for t, c, p in pairs]
    return plain_table(["", "training, 1 / 2 threads", "inference, 1 / 2 threads"], rows)


def layers_on(dtype: str = "float32") -> str:
    """Return what was measured on, and when."""
    used = {mean.path for mean in layer_means(dtype).values()}
    machine = _machine(sorted(used)[-1])
    torch = machine["versions"]["torch"].partition("+")[0]
    days = sorted({(path.stem.split("-")[1], day(path)) for path in used})
    return (
        f"a {machine['cores']}-core {machine['cpu']}, torch {torch}, "
        f"{' and '.join(dict.fromkeys(text for _, text in days))}"
    )


def _machine(path: Path) -> Any:
    return dict(stored(path.name))[path]["machine"]


def peer_versions() -> str:
    """Return the versions of the peers, the newest that was measured of each."""
    versions: dict[str, str] = {}
    for _, result in stored("layers-*.json"):
        versions |= {k: v for k, v in result["machine"]["versions"].items() if v}
    titles = {"onnxruntime": "ONNX Runtime", "jax": "JAX", "torchrecurrent": "torchrecurrent"}
    return ", ".join(f"{title} {versions[name]}" for name, title in titles.items())


@dataclass(frozen=True)
class Point:
    """The measurement of one size.

    Attributes:
        ratio: The median of the peer's time divided by ours.
        roof: The share of the machine's roof that ours reaches.
        bound: The peer's time divided by the least that the roof allows: no ratio is above it.
    """

    ratio: float
    roof: float
    bound: float


@cache
def point(cell: str, peer: str, run: str, threads: int, size: tuple[int, ...]) -> Point:
    """Return the measurement of one size in float32, from the file that has the pair's mean."""
    path = layer_means()[cell, peer, run, threads].path
    description = {"cell": cell, "peer": peer, "run": run, "threads": threads, "size": [*size]}
    (row,) = [
        row
        for row in dict(stored(path.name))[path]["rows"]
        if all(row[key] == value for key, value in description.items())
    ]
    ours = statistics.median(own for own, _ in row["seconds"])
    theirs = statistics.median(peer for _, peer in row["seconds"])
    ratio = statistics.median(b / a for a, b in row["seconds"])
    return Point(ratio, row["least"] / ours, theirs / row["least"])


def bound_table() -> str:
    """Return the LSTM's ratio to torch at each size, and the largest that the roof allows."""

    def both(run: str, threads: int, size: tuple[int, ...]) -> str:
        measured = point(LSTM, "torch", run, threads, size)
        return f"{measured.ratio:.2f} of {measured.bound:.2f}"

    columns = [(run, threads) for run in ("training", "inference") for threads in (1, 2)]
    head = [f"{run}, {threads} thread{'s' * (threads > 1)}" for run, threads in columns]
    rows = [[str(size), *(both(*column, size) for column in columns)] for size in SIZES]
    return plain_table(["batch, time, input, hidden", *head], rows)


def loop_range(sizes: Sequence[tuple[int, ...]]) -> str:
    """Return the range of a Python loop's training times, divided by ours, over sizes."""
    ratios = [
        point("peephole_lstm", "loop", "training", threads, size).ratio
        for size in sizes
        for threads in (1, 2)
    ]
    return f"{min(ratios):.2g} to {max(ratios):.2g}"


def roof_range(sizes: Sequence[tuple[int, ...]]) -> str:
    """Return the range of the LSTM's share of one thread's roof in training, over sizes."""
    shares = [100 * point(LSTM, "torch", "training", 1, size).roof for size in sizes]
    return " to ".join(dict.fromkeys(f"{share:.0f}" for share in (min(shares), max(shares))))


MIDDLE, LARGE, ONE_ROW = (32, 128, 128, 128), (64, 128, 256, 256), (1, 256, 512, 512)
LARGEST, SMALL, NARROW = (64, 64, 512, 512), (1, 100, 64, 64), (8, 512, 32, 64)
SIZES = [SMALL, (32, 100, 64, 64), MIDDLE, LARGE, LARGEST, NARROW, ONE_ROW]


def retyped() -> str:
    """Return how many percent longer a renamed LSTM takes in training, on one thread."""
    return f"{100 * (layer_means()[LSTM, 'retyped', 'training', 1].value - 1):.0f}"


# Building, importing, memory and growth.
def built(cell: str, origin: str, run: str, unit: float, digits: int) -> str:
    """Return the time to build or to read the kernels of a cell, or to import a package."""
    rows = {(row["cell"], row["from"]): row for row in newest("build-*.json")[1]["rows"]}
    return f"{rows[cell, origin][run] * unit:.{digits}f}"


def memory_range(cell: str) -> str:
    """Return the range of the peak memory of a training step, divided by torch's."""
    shares = [row["share"] for row in newest("memory-*.json")[1]["rows"] if row["cell"] == cell]
    return f"{min(shares):.2f} to {max(shares):.2f}"


def growth(name: str, digits: int) -> str:
    """Return the exponent of the time of a training step, as T, B or H grows."""
    notes = "\n".join(newest("curves-*.json")[1]["notes"])
    (exponent,) = re.findall(rf"(?m)^{name}, training: exponent ([\d.]+)", notes)
    return f"{float(exponent):.{digits}f}"


# One streamed step.
@dataclass(frozen=True)
class Step:
    """The times of a streamed step in microseconds: ours, the peer's, and where they are from."""

    ours: float
    theirs: float
    path: Path


@cache
def steps() -> dict[tuple[str, int, str], Step]:
    """Return the newest times of each cell, number of units and peer."""
    return {
        (row["cell"], row["units"], row["peer"]): Step(1e6 * row["ours"], 1e6 * row["theirs"], path)
        for path, result in stored("stream-*.json")
        for row in result["rows"]
    }


def stream_table(cell: str = LSTM) -> str:
    """Return the times of a step for each number of units."""
    peers = ("onnxruntime", "onnxruntime, bound", "torch")
    head = ["units", "Gatewright", "ONNX Runtime", "with bound buffers", "`torch.nn`"]
    rows = []
    for units in sorted({units for name, units, _ in steps() if name == cell}):
        times = [steps()[cell, units, peer] for peer in peers]
        rows.append(
            [
                str(units),
                f"{number(times[0].ours)} µs",
                *(f"{number(s.theirs)} µs, {s.theirs / s.ours:.1f} ×" for s in times),
            ]
        )
    return plain_table(head, rows)


def readme_step() -> str:
    """Return a sentence on a step of an LSTM with 64 units."""
    ours, onnx, torch = (
        number(time)
        for time in (
            steps()[LSTM, 64, "onnxruntime"].ours,
            steps()[LSTM, 64, "onnxruntime"].theirs,
            steps()[LSTM, 64, "torch"].theirs,
        )
    )
    return (
        f"A step of an LSTM with 64 units takes {ours} µs; ONNX Runtime takes {onnx} µs and "
        f"`torch.nn`\n{torch} µs ([all figures](docs/speed.md#one-streamed-step), [how to use "
        "it](docs/layers.md#one-step-at-a-time))."
    )


def streamed_on() -> str:
    """Return the day of the streamed steps."""
    return day(max(step.path for (cell, *_), step in steps().items() if cell == LSTM))


def bfloat16_steps(cell: str) -> str:
    """Return the times of a step in bfloat16, and in float32 in brackets, by units."""
    own = {units: s for (name, units, peer), s in steps().items() if (name, peer) == (cell, BF16)}
    texts = [
        f"{s.theirs:.3g} µs with {units} units ({s.ours:.3g} in float32)"
        for units, s in sorted(own.items())
    ]
    return f"{', '.join(texts[:-1])} and {texts[-1]}"


BF16 = "ours in bfloat16"

FIGURES: dict[str, Callable[[], str]] = {
    "readme.layers": lambda: layer_table(README_PAIRS),
    "readme.step": readme_step,
    "layers": lambda: layer_table(PAIRS),
    "layers.on": layers_on,
    "layers.versions": peer_versions,
    "layers.retyped": retyped,
    "build.inference": lambda: built(LSTM, "scratch", "inference", 1, 1),
    "build.training": lambda: built(LSTM, "scratch", "training", 1, 1),
    "build.cached": lambda: built(LSTM, "cache", "inference", 1e3, 0),
    "build.import": lambda: built("import of gatewright", "", "seconds", 1, 2),
    "build.import.torch": lambda: built("import of torch", "", "seconds", 1, 2),
    "memory.lstm": lambda: memory_range(LSTM),
    "memory.gru": lambda: memory_range(GRU),
    "slow.one-row": lambda: f"{point(LSTM, 'torch', 'training', 2, ONE_ROW).ratio:.2f}",
    "slow.middle": lambda: f"{100 * point(LSTM, 'torch', 'training', 1, MIDDLE).ratio - 100:.0f}",
    "roof.large": lambda: roof_range([LARGE, LARGEST]),
    "roof.middle": lambda: roof_range([MIDDLE]),
    "roof.bounds": bound_table,
    "loop.small": lambda: loop_range([SMALL, NARROW]),
    "loop.large": lambda: loop_range([(32, 100, 64, 64), MIDDLE, LARGE, LARGEST]),
    "growth.steps": lambda: growth("T", 1),
    "growth.rows": lambda: growth("B", 1),
    "growth.units": lambda: growth("H", 1),
    "steps": stream_table,
    "steps.on": streamed_on,
    "bfloat16.layers": lambda: layer_table(BFLOAT16_PAIRS, "bfloat16"),
    "bfloat16.on": lambda: layers_on("bfloat16"),
    "bfloat16.steps.lstm": lambda: bfloat16_steps(LSTM),
    "bfloat16.steps.gru": lambda: bfloat16_steps(GRU),
}
