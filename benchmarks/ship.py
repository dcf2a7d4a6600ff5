"""Ship a trained classifier by each road, and compare its answers on all test recordings.

    python benchmarks/ship.py
    python benchmarks/ship.py --model runs/vowels --rounds 20

The model is that of `gatewright train vowels` with its default settings. A road is a way out of
Python: it makes a program or a file from the model, and runs it on raw recordings. Roads are timed
in turns beside `model.predict`, on one thread; the table has medians and their spread.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
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


#: Reads recordings as JSON, one list a line, and answers with their probabilities.
NODE_PROGRAM = """
import { createInterface } from "node:readline";
const model = await import(process.argv[2]);
for await (const line of createInterface({ input: process.stdin })) {
  const answers = JSON.parse(line).map((recording) => Array.from(model.run(recording)));
  process.stdout.write(JSON.stringify(answers) + "\\n");
}
"""


def ship_c(model: Model, folder: Path) -> Shipped:
    """C, compiled with -O3 and called one recording after the other."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise ArgumentError("no C compiler is installed")
    files = gw.export(model, folder / "model.c")
    size = folder / "size.c"
    size.write_text('#include "model.h"\nint workspace(int n) { return MODEL_WORKSPACE(n); }\n')
    library = folder / "model.so"
    command = [compiler, "-std=c99", "-O3", "-march=native", "-shared", "-fPIC", "-o", str(library)]
    subprocess.run([*command, str(folder / "model.c"), str(size), "-lm"], check=True)
    program = ctypes.CDLL(str(library))
    classes = model.task.outputs

    def run(recordings: Recordings) -> NDArray[np.floating[Any]]:
        answers = np.empty((len(recordings), classes), np.float32)
        steps = max(map(len, recordings))
        workspace = np.empty(program.workspace(steps), np.float32)
        for recording, answer in zip(recordings, answers, strict=True):
            x = np.ascontiguousarray(recording, np.float32)
            program.model_run(
                x.ctypes.data_as(POINTER),
                len(x),
                workspace.ctypes.data_as(POINTER),
                answer.ctypes.data_as(POINTER),
            )
        return answers

    return Shipped(files, run)


def ship_javascript(model: Model, folder: Path) -> Shipped:
    """JavaScript, run by Node; the time includes sending the recordings to it as JSON."""
    node = shutil.which("node")
    if node is None:
        raise ArgumentError("node is not installed")
    files = gw.export(model, folder / "model.js")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "main.js").write_text(NODE_PROGRAM)
    process = subprocess.Popen(
        [node, str(folder / "main.js"), str(folder / "model.js")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None and process.stdout is not None
    sent, received = process.stdin, process.stdout

    def run(recordings: Recordings) -> NDArray[np.floating[Any]]:
        print(json.dumps([recording.tolist() for recording in recordings]), file=sent, flush=True)
        return np.array(json.loads(received.readline()))

    return Shipped(files, run)


def ship_numpy(model: Model, folder: Path) -> Shipped:
    """One file of Python that needs only NumPy."""
    files = gw.export(model, folder / "model.py")
    spec = spec_from_file_location("exported_model", files[0])
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return Shipped(files, lambda recordings: np.stack(module.run_all(list(recordings))))


#: A pointer to the first of some numbers, as C takes them.
POINTER = ctypes.POINTER(ctypes.c_float)

#: By name: the road of a model into a folder. A road that this model or machine has not raises
#: ArgumentError or ImportError, which the table reports.
ROADS: Mapping[str, Callable[[Model, Path], Shipped]] = {
    "ONNX": ship_onnx,
    "C": ship_c,
    "JavaScript": ship_javascript,
    "NumPy": ship_numpy,
}


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
        ratios = list(row.ratios)
        low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
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
    recordings = gw.read("vowels").test
    assert recordings is not None
    data = list(recordings.sequences)
    rows, missing = [], {}
    for road in options.roads.split(",") if options.roads else ROADS:
        try:
            rows.append(measure(road, ROADS[road], model, data, options.rounds))
        except (ArgumentError, ImportError) as reason:
            missing[road] = str(reason)
    Console(width=120).print(table(rows, missing, len(data)))


if __name__ == "__main__":
    main()
