"""Ship a trained classifier by each road, and compare its answers on all test recordings.

    python benchmarks/ship.py
    python benchmarks/ship.py --model runs/vowels --rounds 20

The model is that of `gatewright train vowels` with its default settings. A road is a way out of
Python: it makes a program or a file from the model, and runs it on raw recordings. Roads are timed
in turns beside `model.predict`, on one thread; the table has medians and their spread.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

import gatewright as gw
from gatewright.errors import ArgumentError
from gatewright.training.model import Model

Recordings = Sequence[NDArray[np.float32]]
#: From recordings `(time, channels)` to probabilities `(recordings, classes)`.
Run = Callable[[Recordings], NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class Shipped:
    """A model that went out: the files that a user copies, and a function that runs them."""

    files: Sequence[Path]
    run: Run


def ship_onnx(model: Model, folder: Path) -> Shipped:
    """ONNX, run by ONNX Runtime on padded batches."""
    import onnxruntime

    files = gw.export(model, folder / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(files[0]), options)

    def run(recordings: Recordings) -> NDArray[np.floating[Any]]:
        answers: NDArray[np.floating[Any]] = session.run(
            ["y"], gw.input_arrays(model, list(recordings))
        )[0]
        return answers

    return Shipped(files, run)


#: By name: the road of a model into a folder. A road that this model or machine has not raises
#: ArgumentError or ImportError, which the table reports.
ROADS: Mapping[str, Callable[[Model, Path], Shipped]] = {"ONNX": ship_onnx}


@dataclass(frozen=True)
class Row:
    """The measured road."""

    road: str
    export_seconds: float
    size: int  # bytes of all files
    same_classes: int
    largest_difference: float  # of a probability
    milliseconds: float  # for all recordings, median
    ratios: Sequence[float]  # time of model.predict / time of the road, one a round


def measure(
    road: str, ship: Callable[[Model, Path], Shipped], model: Model, data: Recordings, rounds: int
) -> Row:
    """Ship the model, compare its answers, and time it in turns with `model.predict`."""
    with tempfile.TemporaryDirectory() as folder:
        start = perf_counter()
        shipped = ship(model, Path(folder))
        export_seconds = perf_counter() - start
        size = sum(file.stat().st_size for file in shipped.files)
        answers, expected = shipped.run(data), model.predict(data)
        times: dict[str, list[float]] = {"road": [], "python": []}
        for _ in range(rounds):
            for name, run in (("road", shipped.run), ("python", model.predict)):
                start = perf_counter()
                run(data)
                times[name].append(perf_counter() - start)
    pairs = zip(times["python"], times["road"], strict=True)
    return Row(
        road,
        export_seconds,
        size,
        int((answers.argmax(-1) == expected.argmax(-1)).sum()),
        float(np.abs(answers - expected).max()),
        1e3 * median(times["road"]),
        [python / own for python, own in pairs],
    )


def table(rows: Sequence[Row], missing: Mapping[str, str], recordings: int) -> Table:
    """The rows, and the roads that are missing with their reasons."""
    result = Table(title=f"{recordings} test recordings of the vowels, one thread")
    for name in ("road", "export", "size", "same class", "largest difference", "time", "speed"):
        result.add_column(name, justify="left" if name == "road" else "right")
    for row in rows:
        low, _, high = quantiles(row.ratios, n=4) if len(row.ratios) > 1 else row.ratios * 3
        result.add_row(
            row.road,
            f"{row.export_seconds:.1f} s",
            f"{row.size:,} B",
            f"{row.same_classes} of {recordings}",
            f"{row.largest_difference:.1e}",
            f"{row.milliseconds:.1f} ms",
            f"{median(row.ratios):.2f} × ({low:.2f}–{high:.2f})",
        )
    for road, reason in missing.items():
        result.add_row(road, reason)
    return result


def main() -> None:
    """Train or load the model, ship it by all roads, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, help="a model of the vowels (default: train one)")
    parser.add_argument("--rounds", type=int, default=20, help="timed runs of each road (20)")
    parser.add_argument("--roads", help=f"comma-separated (default: {','.join(ROADS)})")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = gw.load(options.model) if options.model else gw.train("vowels").model
    assert isinstance(model, Model)
    data = list(gw.read("vowels").test.sequences)
    rows, missing = [], {}
    for road in options.roads.split(",") if options.roads else ROADS:
        try:
            rows.append(measure(road, ROADS[road], model, data, options.rounds))
        except (ArgumentError, ImportError) as reason:
            missing[road] = str(reason)
    Console().print(table(rows, missing, len(data)))


if __name__ == "__main__":
    main()
