"""Time our layers next to a wide table of peers: one peer at a time, into one file.

    python benchmarks/peers.py --list
    python benchmarks/peers.py --peer openvino --threads 2
    python benchmarks/peers.py --peer step
    python benchmarks/peers.py --write      # the tables of docs/peers.md

Each peer is first checked to compute the same from the same weights, then timed in alternation
with ours; a ratio is the peer's time divided by ours, above 1 where Gatewright is faster. `step`
is one streamed step, batch 1, on one thread. A peer that is not installed, or cannot run here, is
stored with the reason. The command ends after --limit seconds and prints the number of pairs that
are left; when it is run again, it goes on with those. It needs the peers in its environment:

    pip install jax flax equinox keras openvino onnx onnxruntime torchrecurrent
    pip install pararnn-torch flashrnn
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from page_block import write_block

RESULTS = Path(__file__).parent / "results"
PAGE = "peers.md"
#: Pairs that are stored of each point, evenly spaced over those that were timed.
STORED_PAIRS = 25
#: Cores that other processes may keep busy while a pair is timed; above it the pair is timed again
#: by a later run. One such process made runs on two threads up to 30 times as long: of two
#: threads that wait for each other at every step, one then waits for its turn on a core.
MAX_FOREIGN = 0.1
#: The number of sizes of `gatewright bench`; a mean over fewer of them is marked.
SIZES = 7
#: The runs of a point.
RUNS = ("training", "inference")
STEP = "step"
STEP_UNITS = (64, 256, 512)


def main() -> None:
    """Measure one peer, write the tables, or list the peers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peer", help="the peer to measure, or step")
    parser.add_argument("--threads", type=int, default=1, help="number of threads (1)")
    parser.add_argument("--seconds", type=float, default=0.5, help="time for each pair (0.5)")
    parser.add_argument("--limit", type=float, default=80, help="seconds after which to end (80)")
    parser.add_argument("--file", type=Path, help="file of the figures (the newest, or a new one)")
    parser.add_argument("--list", action="store_true", help="list the peers")
    parser.add_argument("--write", action="store_true", help=f"write the tables into docs/{PAGE}")
    options = parser.parse_args()
    path = options.file or newest()
    if options.write:
        write_block(PAGE, "peers", table(json.loads(path.read_text(encoding="utf-8"))))
        return
    from peer_layers import PEER_LAYERS, prepare

    if options.list:
        for name, peer in PEER_LAYERS.items():
            print(f"{name}: {missing(peer.packages) or peer.about}")
        return
    if options.peer != STEP and options.peer not in PEER_LAYERS:
        parser.error(f"--peer is {options.peer}; expected step or one of {', '.join(PEER_LAYERS)}")
    figures = opened(path)
    if options.peer == STEP:
        points: Iterable[Point] = step_points(options.seconds)
    else:
        peer = PEER_LAYERS[options.peer]
        prepare(peer)
        points = layer_points(options.peer, peer, options.threads, options.seconds)
    from gatewright.bench.machine import stay_on

    stay_on(1 if options.peer == STEP else options.threads)
    left = measure(points, figures, path, time.monotonic() + options.limit)
    print(f"{left} pairs are left")


#: What identifies a pair, and the function that measures it.
Point = tuple[dict[str, Any], Callable[[], dict[str, Any]]]


def measure(points: Iterable[Point], figures: dict[str, Any], path: Path, end: float) -> int:
    """Measure the points that the file lacks, until `end`; return how many are left."""
    measured = {_key(row) for kind in ("rows", "left_out") for row in figures[kind]}
    left = 0
    for key, run in points:
        if _key(key) in measured:
            continue
        if time.monotonic() > end:
            left += 1
            continue
        try:
            figures["rows"].append({**key, **run()})
        except Disturbed:
            left += 1
        except Exception as error:  # of any kind, as it is another's package: it is stored
            reason = (str(error).strip() or "no message").splitlines()[0][:300]
            figures["left_out"].append({**key, "reason": f"{type(error).__name__}: {reason}"})
        gc.collect()
        new = path.with_suffix(".new")  # replaced at once, so that an end in between harms nothing
        new.write_text(json.dumps(figures, separators=(",", ":")) + "\n", encoding="utf-8")
        new.replace(path)
    return left


class Disturbed(Exception):
    """Other processes were busy while a pair was timed."""


def _foreign_seconds() -> float:
    """Seconds of processor that other processes have used so far; 0 where it is not known."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _waiting, *interrupts = map(int, fields[:8])
    busy = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
    return busy - time.process_time()


def _key(row: dict[str, Any]) -> str:
    names = ("peer", "cell", "size", "threads", "run")
    return json.dumps([row[name] for name in names])


def layer_points(name: str, peer: Any, threads: int, seconds: float) -> Iterator[Point]:
    """Every size, cell and run of a peer; a slow peer's first sizes are the small ones."""
    from gatewright.bench.cases import GRID

    absence = missing(peer.packages)
    for size in GRID:
        for cell in peer.cells:
            for run in RUNS:
                key = {"peer": name, "cell": cell, "size": size, "threads": threads, "run": run}
                if absence or (run == "training" and not peer.trains):
                    reason = absence or "it does not train"
                    yield key, partial(_refuse, reason)
                else:
                    yield key, partial(time_layer, name, peer, cell, size, run, seconds)


def _refuse(reason: str) -> dict[str, Any]:
    raise NotImplementedError(reason)


def time_layer(
    name: str, peer: Any, cell: str, size: Any, run: str, seconds: float
) -> dict[str, Any]:
    """Check one peer on one case, then time it."""
    from peer_layers import OWN_CELLS

    from gatewright.bench.cases import make_case
    from gatewright.bench.contender import ours, verify
    from gatewright.cells import CELLS

    layer = OWN_CELLS[cell] if cell in OWN_CELLS else CELLS[cell]()
    case = make_case(cell, layer, size, training=run == "training", dtype=peer.dtype)
    own, other = ours(case), peer.make(case)
    error = verify(case, own, other, name, peer.tolerance)
    return {"dtype": peer.dtype, "error": error, **timed(own.run, other.run, seconds)}


def timed(
    ours: Callable[[], Any], other: Callable[[], Any], seconds: float, calls: int = 1
) -> dict[str, Any]:
    """Time two runs of `calls` calls in alternation: medians, the ratio, some of the pairs.

    Raises:
        Disturbed: if other processes were busy at that time.
    """
    from gatewright.bench.timing import in_turns, ratio

    began, others = time.perf_counter(), _foreign_seconds()
    pairs = [(a / calls, b / calls) for a, b in in_turns(ours, other, seconds)]
    foreign = (_foreign_seconds() - others) / (time.perf_counter() - began)
    if foreign > MAX_FOREIGN:
        raise Disturbed
    estimate = ratio(pairs)
    stride = math.ceil(len(pairs) / STORED_PAIRS)
    return {
        "ours": statistics.median(pair[0] for pair in pairs),
        "theirs": statistics.median(pair[1] for pair in pairs),
        "ratio": estimate.value,
        "low": estimate.low,
        "high": estimate.high,
        "pairs": len(pairs),
        "foreign": round(max(foreign, 0.0), 3),
        "seconds": [[float(f"{t:.4g}") for t in pair] for pair in pairs[::stride]],
    }


# One streamed step.
def step_points(seconds: float) -> Iterator[Point]:
    """One step of an LSTM and a GRU in other libraries, against ours in the same precision."""
    for cell in ("lstm", "gru"):
        for units in STEP_UNITS:
            for name in STEP_PEERS:
                key = {
                    "peer": name,
                    "cell": cell,
                    "size": [1, 1, units, units],
                    "threads": 1,
                    "run": STEP,
                }
                yield key, partial(time_step, name, cell, units, seconds)


def time_step(name: str, cell: str, units: int, seconds: float) -> dict[str, Any]:
    """Check the steps of one peer, then time them."""
    import numpy as np
    import torch

    from gatewright.bench.cases import make_layer
    from gatewright.bench.stream import STEPS, apart, repeated
    from gatewright.cells import CELLS

    module, precision, make, tolerance = STEP_PEERS[name]
    absence = missing({module: module})
    if absence:
        _refuse(absence)
    torch.manual_seed(0)
    layer = make_layer(cell, CELLS[cell](), units, units)

    def own() -> Any:
        return layer.stepper(precision=precision).step

    error = apart(own(), make(layer, cell), units)
    if not error < tolerance:
        raise ArithmeticError(f"{name} streams something else: {error:.2g} away")
    x = np.random.default_rng(0).standard_normal(units).astype(np.float32)
    ours, other = repeated(own(), x), repeated(make(layer, cell), x)
    return {"dtype": precision, "error": error, **timed(ours, other, seconds, STEPS)}


def _torch_step(layer: Any, cell: str) -> Any:
    from gatewright.bench.stream import torch_step

    return torch_step(layer, cell)


def _onnx_step(layer: Any, cell: str) -> Any:
    from gatewright.bench.peers import onnx_session
    from gatewright.bench.stream import bound_onnx_step
    from gatewright.exports.onnx import layer_model

    return bound_onnx_step(onnx_session(layer_model(layer)), layer)


def _onnx_int8_step(layer: Any, cell: str) -> Any:
    from peer_layers import int8_session

    from gatewright.bench.stream import bound_onnx_step
    from gatewright.exports.onnx import layer_model

    return bound_onnx_step(int8_session(layer_model(layer)), layer)


def _openvino_step(precision: str, layer: Any, cell: str) -> Any:
    """OpenVINO with the states' tensors handed from each step to the next."""
    import numpy as np
    from peer_layers import openvino_request

    from gatewright.exports.onnx import layer_model

    names = [f"{name}_in" for name in layer.graph.states]
    shape = (1, 1, layer.hidden_size)
    shapes = {"x": (1, 1, layer.input_size), **dict.fromkeys(names, shape)}
    request = openvino_request(layer_model(layer), shapes, precision)
    states = [np.zeros(shape, np.float32) for _ in names]

    def step(x: Any) -> Any:
        nonlocal states
        feeds = {"x": x.reshape(1, 1, -1), **dict(zip(names, states, strict=True))}
        # Copies: the next step reads the states while it writes them.
        output, *states = request.infer(feeds, share_inputs=True).values()
        return output

    return step


#: The module that has to be installed, the precision of our step, the function that makes a step,
#: and the largest difference over 20 steps. As a peer rounds elsewhere, they differ more in int8.
STEP_PEERS: dict[str, tuple[str, str, Callable[[Any, str], Any], float]] = {
    "torch": ("torch", "float32", _torch_step, 1e-4),
    "onnxruntime": ("onnxruntime", "float32", _onnx_step, 1e-4),
    "openvino": ("openvino", "float32", partial(_openvino_step, "f32"), 1e-4),
    "openvino, bfloat16": ("openvino", "bfloat16", partial(_openvino_step, "bf16"), 0.1),
    "onnxruntime, int8": ("onnxruntime", "int8", _onnx_int8_step, 0.1),
}


# Files and packages.
def missing(packages: Mapping[str, str]) -> str | None:
    """Return the reason if a package is not installed, or None.

    Args:
        packages: By module, the name that pip knows.
    """
    absent = [name for module, name in packages.items() if find_spec(module) is None]
    return f"not installed: pip install {' '.join(absent)}" if absent else None


def newest() -> Path:
    """The newest file of figures, or a new one of today."""
    from datetime import date

    paths = sorted(RESULTS.glob("peers-*.json"))
    return paths[-1] if paths else RESULTS / f"peers-{date.today()}.json"


def opened(path: Path) -> dict[str, Any]:
    """The figures of a file, or empty ones of this machine."""
    if path.exists():
        figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return figures
    from peer_layers import PEER_LAYERS

    from gatewright.bench.machine import machine

    names = sorted({name for peer in PEER_LAYERS.values() for name in peer.packages.values()})
    facts = machine()
    facts["versions"].update({name: _version(name) for name in names})
    about = {name: peer.about for name, peer in PEER_LAYERS.items()}
    return {
        "format": 1,
        "what": "peers",
        "machine": facts,
        "about": about,
        "rows": [],
        "left_out": [],
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


# The table.
def table(figures: dict[str, Any]) -> str:
    """Return the figures in Markdown: first what is faster than ours, then all means."""
    parts = [faster(figures), means(figures), steps(figures), absent(figures)]
    return "\n".join(part for part in parts if part)


def faster(figures: dict[str, Any]) -> str:
    """Return the points where a peer is faster than ours beyond the interval, worst first."""
    points: dict[tuple[str, str, str, int], list[dict[str, Any]]] = {}
    for row in sorted(figures["rows"], key=lambda row: row["ratio"]):
        if row["high"] < 1:
            key = (row["peer"], row["cell"], row["run"], row["threads"])
            points.setdefault(key, []).append(row)
    if not points:
        return "No peer is faster at any point.\n"
    lines = [
        [
            f"{peer}, {cell}",
            f"{run}, {threads} thread{'s'[: threads - 1]}",
            "; ".join(f"{row['ratio']:.2f} at {_size(row)}" for row in rows),
        ]
        for (peer, cell, run, threads), rows in points.items()
    ]
    text = (
        "## Where a peer is faster\n\nOnly the sizes (batch, time, input, hidden) where it is, "
        "and the 95 % interval of the ratio is below 1.\n\n"
    )
    return text + _markdown(["peer, cell", "run", "peer / ours"], lines).replace("---:", "---")


def _size(row: dict[str, Any]) -> str:
    return f"({', '.join(map(str, row['size']))})"


def means(figures: dict[str, Any]) -> str:
    """Return the geometric means over the sizes, each with its smallest and largest ratio."""
    groups: dict[tuple[str, str], dict[tuple[str, int], list[float]]] = {}
    for row in figures["rows"]:
        if row["run"] in RUNS:
            columns = groups.setdefault((row["peer"], row["cell"]), {})
            columns.setdefault((row["run"], row["threads"]), []).append(row["ratio"])
    places = [(run, threads) for run in RUNS for threads in (1, 2)]
    head = ["peer, cell", *(f"{run}, {n} thread{'s'[: n - 1]}" for run, n in places)]
    lines = [
        [f"{peer}, {cell}", *(_mean(ratios.get(place)) for place in places)]
        for (peer, cell), ratios in sorted(
            groups.items(), key=lambda item: min(min(r) for r in item[1].values())
        )
    ]
    text = (
        "## All peers\n\nThe peer's time divided by ours, above 1 where Gatewright is faster: the "
        f"geometric mean over the {SIZES} sizes, and the smallest and the largest ratio. Where "
        "some of the sizes are not measured yet, it is over the rest.\n\n"
    )
    return text + _markdown(head, lines)


def _mean(ratios: Sequence[float] | None) -> str:
    if not ratios:
        return "–"
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    sizes = "" if len(ratios) == SIZES else f", {len(ratios)} of {SIZES}"
    return f"{mean:.2f} ({min(ratios):.2f} – {max(ratios):.2f}{sizes})"


def steps(figures: dict[str, Any]) -> str:
    """Return the times of one streamed step."""
    lines = [
        [
            f"{row['peer']}, {row['cell']}, {row['size'][3]} units",
            f"{1e6 * row['ours']:.1f}",
            f"{1e6 * row['theirs']:.1f}",
            f"{row['ratio']:.2f} ({row['low']:.2f} – {row['high']:.2f})",
        ]
        for row in sorted(figures["rows"], key=lambda row: row["ratio"])
        if row["run"] == STEP
    ]
    if not lines:
        return ""
    head = ["against", "ours, µs", "peer, µs", "peer / ours"]
    return "## One streamed step, one thread\n\n" + _markdown(head, lines)


def absent(figures: dict[str, Any]) -> str:
    """Return the pairs that were not timed, by peer, with the reasons."""
    reasons: dict[str, dict[str, set[str]]] = {}
    for row in figures["left_out"]:
        reason = row["reason"].removeprefix("NotImplementedError: ")
        reasons.setdefault(row["peer"], {}).setdefault(reason, set()).add(row["cell"])
    lines = [
        f"- {peer} ({', '.join(sorted(cells))}): {reason}"
        for peer, by_reason in sorted(reasons.items())
        for reason, cells in by_reason.items()
        if reason != "it does not train"
    ]
    timed_peers = {row["peer"] for row in figures["rows"]} | reasons.keys()
    lines += [f"- {peer}: not yet" for peer in figures["about"] if peer not in timed_peers]
    return "\n".join(["## Not measured\n", *lines, ""]) if lines else ""


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    marks = ["---", *["---:"] * (len(head) - 1)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (head, marks, *rows))


if __name__ == "__main__":
    main()
