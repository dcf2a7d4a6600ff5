"""Check and measure everything that runs on a GPU, in under eight minutes.

    python benchmarks/gpu.py --all
    python benchmarks/gpu.py exact-torch times --minutes 3
    python benchmarks/gpu.py --all --rehearse

It needs a Python with torch from 2.6, Triton, numpy, llvmlite, narwhals, safetensors, typer and
rich; nothing has to be installed, since the sources are read from `src/`. The parts:

| part | what it does |
| --- | --- |
| machine | the GPU, its roofs (memory, products in float32, TF32 and bfloat16), a launch |
| exact-torch | the backend `torch` against the reference in float64, on every kind of call |
| exact-triton | every Triton kernel against the reference, as `gatewright doctor --gpu` does |
| compile | the Triton kernels that are timed, side by side |
| sanitizer | a training step of Triton kernels under compute-sanitizer, if it is there |
| times | cuDNN, the backends `torch` and `triton` and a Python loop, in turns |

Triton kernels are compared in their checked build: buffers are full of NaN between guard zones.
Each part runs in processes of its own with a time limit, so that one that crashes or hangs takes
nothing else with it. The results are one JSON and one table, in `benchmarks/results/gpu-DATE.*`.

`--rehearse` runs all of it on a CPU at small sizes, where Triton's text is run by its interpreter
or by the stand-in of the tests. Its times mean nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

import torch
from torch import Tensor, nn

import gatewright as gw
from gatewright.bench.cases import GRID, Size, make_case
from gatewright.bench.contender import Contender, verify
from gatewright.bench.machine import machine
from gatewright.bench.on_device import case_on, on_backend
from gatewright.bench.peers import PEERS
from gatewright.bench.timing import mean_ratio
from gatewright.proving.exactness import compare, largest_error
from odd_cells import CELLS as ODD
from odd_cells import random_states, sequences

RESULTS = Path(__file__).parent / "results"
F64, F32, BF16, F16 = torch.float64, torch.float32, torch.bfloat16, torch.float16
Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """The settings of a run of the script.

    Attributes:
        rehearse: Whether it runs on a CPU at small sizes.
        seconds: Time for each point of the timings.
    """

    rehearse: bool
    seconds: float

    @property
    def device(self) -> str:
        return "cpu" if self.rehearse else "cuda"


def use_stand_in() -> None:
    """Let Triton's text run on a CPU: by its interpreter if asked for, or by the stand-in."""
    if os.environ.get("TRITON_INTERPRET") == "1":
        return
    import triton_stand_in
    from gatewright.backends import triton
    from gatewright.backends.triton import loop

    setattr(loop, "built", triton_stand_in.built)  # noqa: B010
    setattr(triton, "why_no_device", lambda device: None)  # noqa: B010


# The roofs of the machine.
def machine_part(settings: Settings, shard: int) -> Iterator[Row]:
    """Describe the machine, and measure its roofs."""
    row: Row = machine()
    if not settings.rehearse:
        import triton

        properties = torch.cuda.get_device_properties(0)
        row |= {
            "gpu": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_gb": properties.total_memory / 1e9,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "triton": triton.__version__,
        }
    yield row
    size = 256 if settings.rehearse else 8192
    device = settings.device
    time_of = clock(device)

    def best(run: Callable[[], Any]) -> float:
        run()
        return min(time_of(run) for _ in range(3 if settings.rehearse else 20))

    source = torch.empty(size * size, device=device)
    target = torch.empty_like(source)
    seconds = best(lambda: target.copy_(source))
    yield {"roof": "memory", "GB/s": 2 * source.nbytes / seconds / 1e9}
    for name, dtype, tf32 in (
        ("float32", F32, False),
        ("tf32", F32, True),
        ("bfloat16", BF16, True),
    ):
        a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
        torch.backends.cuda.matmul.allow_tf32 = tf32
        seconds = best(partial(torch.matmul, a, b))
        yield {"roof": name, "TFLOP/s": 2 * size**3 / seconds / 1e12}
    torch.backends.cuda.matmul.allow_tf32 = False
    few = torch.zeros(1, device=device)
    yield {"roof": "launch", "us": 1e6 * best(lambda: few.add_(1.0))}


# Exactness.
def values_of(layer: nn.Module, inputs: Mapping[str, Tensor], hx: Any, call: Row) -> dict[str, Any]:
    """All results of a layer, and all gradients, in float64 on the CPU."""
    event, *further = inputs.values()
    names = list(inputs)[1:]
    output, states = layer(event, hx, **dict(zip(names, further, strict=True)), **call)
    states = [states] if isinstance(states, Tensor) else list(states)
    states = [part for s in states for part in ([s] if isinstance(s, Tensor) else s)]
    results = {"output": output, **{f"state {k}": state for k, state in enumerate(states)}}
    flat = flat_states(hx)
    leaves = {**inputs, **{f"first {k}": s for k, s in enumerate(flat)}}
    leaves |= dict(layer.named_parameters())
    draw = torch.Generator().manual_seed(9)
    losses = []
    for value in results.values():
        weights = torch.randn(value.shape, generator=draw, dtype=F64)
        losses.append((value.double() * weights.to(value.device)).sum())
    grads = torch.autograd.grad(torch.stack(losses).sum(), list(leaves.values()), allow_unused=True)
    for (name, leaf), grad in zip(leaves.items(), grads, strict=True):
        results[f"gradient of {name}"] = torch.zeros_like(leaf) if grad is None else grad
    return {name: value.detach().double().cpu() for name, value in results.items()}


def flat_states(hx: Any) -> list[Tensor]:
    """The tensors in nested states."""
    if isinstance(hx, Tensor):
        return [hx]
    return [tensor for part in hx for tensor in flat_states(part)]


def moved(parts: Any, device: str, dtype: torch.dtype) -> Any:
    """Copy nested tensors; the copies ask for gradients."""
    if isinstance(parts, Tensor):
        return parts.detach().to(device, dtype).requires_grad_()
    if isinstance(parts, dict):
        return {key: moved(part, device, dtype) for key, part in parts.items()}
    return type(parts)(moved(part, device, dtype) for part in parts)


def error_row(
    make: Callable[[str], gw.Recurrent], backend: str, device: str, dtype: torch.dtype, call: Row
) -> Row:
    """Compare a backend on a device with the reference on the CPU, on one call.

    Args:
        make: Makes the layer on the backend of a name, in float64 on the CPU.
        call: Further arguments of the call, on the CPU.
    """
    layer = make("reference")
    batch, steps = 5, 6
    time_major = sequences(layer, steps, batch)
    inputs = {name: x.transpose(0, 1) if layer.batch_first else x for name, x in time_major.items()}
    plain = copy.copy(layer)
    plain.batch_first = False
    hx = random_states(plain, batch)
    # All sides start from numbers that the type can hold.
    rounded = layer.to(dtype).to(F64).state_dict()
    inputs, hx = (moved(moved(part, "cpu", dtype), "cpu", F64) for part in (inputs, hx))
    results = []
    for name, place, own in ((backend, device, dtype), ("reference", "cpu", dtype)):
        ours = make(name)
        ours.load_state_dict(rounded)
        ours = ours.to(place, own)
        arguments = moved(inputs, place, own), moved(hx, place, own)
        results.append(values_of(ours, *arguments, call_on(call, place)))
    truth_layer = make("reference")
    truth_layer.load_state_dict(rounded)
    truth = values_of(truth_layer, moved(inputs, "cpu", F64), moved(hx, "cpu", F64), call)
    ours_values, theirs = results
    error, worst = largest_error(ours_values, theirs, truth, dtype)
    return {"error": error, "worst": worst, "ok": error <= 1.0}


def call_on(call: Row, device: str) -> Row:
    """A call's arguments on a device; lengths stay on the CPU."""
    return {name: v.to(device) if name == "starts" else v for name, v in call.items()}


def calls(batch_first: bool = False) -> dict[str, Row]:
    """Kinds of calls: dense, with lengths, and with starts."""
    starts = torch.rand(6, 5, generator=torch.Generator().manual_seed(3)) < 0.25
    lengths = torch.tensor([4, 6, 0, 1, 6])
    starts = starts.T if batch_first else starts
    return {"dense": {}, "lengths": {"lengths": lengths}, "starts": {"starts": starts}}


TORCH_LAYERS: dict[str, Callable[..., gw.Recurrent]] = {
    "RNN": gw.RNN,
    "relu": partial(gw.RNN, nonlinearity="relu"),
    "LSTM": gw.LSTM,
    "projected": partial(gw.LSTM, proj_size=3),
    "GRU": gw.GRU,
    # Weights that are not stacked as torch's are put together in each call.
    "named LSTM": lambda *sizes, **options: gw.Recurrent("lstm", *sizes, **options),
}
FORMS: dict[str, Row] = {
    "one": {},
    "two both ways": {"num_layers": 2, "bidirectional": True},
    "no bias": {"bias": False, "batch_first": True},
}


def exact_torch(settings: Settings, shard: int) -> Iterator[Row]:
    """Hold the backend `torch` to the reference."""
    layers = list(TORCH_LAYERS.items())[:: 3 if settings.rehearse else 1]
    for kind, make_layer_of in layers:
        # In low numbers some units of a ReLU are on the other side of 0, with other gradients.
        types = (F64,) if settings.rehearse else (F64, F32)
        types = types if settings.rehearse or kind == "relu" else (*types, BF16, F16)
        for form, options in FORMS.items():
            for how, call in calls(options.get("batch_first", False)).items():
                for dtype in types:

                    def make(backend: str, of: Any = make_layer_of, o: Row = options) -> Any:
                        torch.manual_seed(0)
                        return of(7, 9, **o, dtype=F64, backend=backend).eval()

                    name = {"cell": kind, "form": form, "call": how, "type": str(dtype)}
                    yield {**name, **error_row(make, "torch", settings.device, dtype, call)}


#: The cells that are compared in all types; the others in float32.
MAIN = ("lstm", "gru", "gru_before", "elman_rnn", "peephole_lstm", "peephole_full", "heads")


def triton_cells() -> dict[str, gw.Cell]:
    """All cells: those of the tests, and those that ship; the main ones first."""
    cells = {name: cell() for name, cell in gw.CELLS.items()}
    cells |= {name: cell for name, (cell, _, _) in ODD.items()}
    return {name: cells[name] for name in (*MAIN, *(n for n in cells if n not in MAIN))}


def exact_triton(settings: Settings, shard: int) -> Iterator[Row]:
    """Hold the Triton kernels of every cell to the reference."""
    if settings.rehearse:
        use_stand_in()
    every = triton_cells()
    names = ["lstm", "heads"] if settings.rehearse else list(every)[shard::SHARDS]
    for name in names:
        types = (F32, BF16, F16) if name in MAIN and not settings.rehearse else (F32,)
        for dtype in types:
            row: Row = {"cell": name, "type": str(dtype)}
            try:
                for each in compare(every[name].graph, dtype, torch.device(settings.device)):
                    result = {"call": each.run, "error": each.error, "worst": each.worst}
                    yield {**row, **result, "ok": each.is_right}
            except gw.BackendError as error:
                yield {**row, "ok": True, "refused": str(error)}
            except Exception as error:
                yield {**row, "ok": False, "failed": f"{type(error).__name__}: {error}"[:500]}


def sanitizer_part(settings: Settings, shard: int) -> Iterator[Row]:
    """Run a training step under compute-sanitizer."""
    yield sanitizer(settings)


def sanitizer(settings: Settings) -> Row:
    """Run one training step of an LSTM under compute-sanitizer."""
    program = shutil.which("compute-sanitizer") or "/usr/local/cuda/bin/compute-sanitizer"
    row: Row = {"cell": "lstm", "program": "compute-sanitizer"}
    if not Path(program).exists():
        return {**row, "ok": True, "refused": "compute-sanitizer is not on this machine"}
    step = "import torch, gatewright as gw\n"
    step += 'layer = gw.Recurrent("lstm", 5, 40, backend="triton").cuda()\n'
    step += 'x = torch.randn(4, 3, 5, device="cuda", requires_grad=True)\n'
    step += "layer(x, lengths=[2, 4, 0])[0].sum().backward()\ntorch.cuda.synchronize()\n"
    command = [program, "--tool", "memcheck", "--error-exitcode", "9", sys.executable, "-c", step]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=60
        )
    except subprocess.TimeoutExpired:
        return {**row, "ok": False, "failed": "it did not end within 60 seconds"}
    return {**row, "ok": done.returncode == 0, "text": done.stdout[-800:]}


# Times.
def compile_part(settings: Settings, shard: int) -> Iterator[Row]:
    """Compile the kernels of all timed points side by side; Triton keeps them on the disk."""
    if settings.rehearse:
        use_stand_in()
    for name, (b, _, i, h) in points(settings)[shard :: 1 if settings.rehearse else SHARDS]:
        began = time.perf_counter()
        row: Row = {"cell": name, "size": [b, i, h]}
        try:
            for training in (True, False):
                # The number of steps is no part of a kernel.
                size = (b, 3, i, h)
                case = make_case(name, gw.CELLS[name](), size, training=training)
                on_backend(case_on(case, settings.device), "triton").run()
        except Exception as error:
            yield {**row, "ok": False, "failed": f"{type(error).__name__}: {error}"[:500]}
        else:
            yield {**row, "ok": True, "seconds": time.perf_counter() - began}


TIMED_CELLS = ("lstm", "gru", "elman_rnn", "peephole_lstm")


def times(settings: Settings, shard: int) -> Iterator[Row]:
    """Time cuDNN, the backends `torch` and `triton`, and a Python loop, in turns."""
    if settings.rehearse:
        use_stand_in()
    torch.backends.cudnn.allow_tf32 = False
    for name, size in points(settings):
        for training in (True, False):
            try:
                yield timed_row(settings, name, size, training)
            except Exception as error:
                row = {"cell": name, "size": list(size), "ok": False}
                yield {**row, "failed": f"{type(error).__name__}: {error}"[:500]}


def points(settings: Settings) -> list[tuple[str, Size]]:
    """The cells and sizes that are timed."""
    if settings.rehearse:
        return [(name, (2, 3, 4, 5)) for name in TIMED_CELLS[::3]]
    return [(name, size) for size in GRID for name in TIMED_CELLS]


def timed_row(settings: Settings, name: str, size: Size, training: bool) -> Row:
    """Time one point; contenders that compute something else are left out and reported."""
    device = settings.device
    case = make_case(name, gw.CELLS[name](), size, training=training, backend="reference")
    case = case_on(case, device)
    contenders: dict[str, Contender] = {}
    notes: dict[str, str] = {}
    with torch.device(device):
        if PEERS["torch"].why_not(case) is None:
            contenders["cudnn"] = PEERS["torch"].make(case)
            contenders["torch"] = on_backend(case, "torch")
        contenders["triton"] = on_backend(case, "triton")
        contenders["loop"] = PEERS["loop"].make(case)
    truth = on_backend(case, "reference")
    for key in list(contenders):
        try:
            verify(case, truth, contenders[key], key)
        except Exception as error:
            notes[key] = f"{type(error).__name__}: {error}"[:300]
            del contenders[key]
    seconds = in_turns({key: c.run for key, c in contenders.items()}, device, settings.seconds)
    row: Row = {
        "cell": name,
        "size": list(size),
        "run": "training" if training else "inference",
        "ms": {key: 1e3 * statistics.median(column) for key, column in seconds.items()},
        "ratios": {},
        "notes": notes,
        "seconds": seconds,
        "ok": not notes,
    }
    for ours, peer in (("torch", "cudnn"), ("triton", "cudnn"), ("triton", "loop")):
        if ours in seconds and peer in seconds:
            pairs = list(zip(seconds[ours], seconds[peer], strict=True))
            estimate = mean_ratio([pairs])
            row["ratios"][f"{ours} over {peer}"] = [estimate.value, estimate.low, estimate.high]
    return row


def clock(device: str) -> Callable[[Callable[[], Any]], float]:
    """A function that times one run, in seconds, from its launch to the end of its work."""

    def timed(run: Callable[[], Any]) -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    return timed


def in_turns(
    runs: Mapping[str, Callable[[], Any]], device: str, seconds: float
) -> dict[str, list[float]]:
    """Time runs in turns for about `seconds`; verifying them has warmed all up."""
    time_of = clock(device)
    times_of: dict[str, list[float]] = {name: [] for name in runs}
    end = time.perf_counter() + seconds
    turns = 0
    while turns < 5 or (time.perf_counter() < end and turns < 200):
        for name, run in runs.items():
            times_of[name].append(time_of(run))
        turns += 1
    return times_of


# The parts as processes.
@dataclass(frozen=True)
class Part:
    """A part of the script.

    Attributes:
        rows: Yields its results, one at a time.
        limit: Seconds after which its process is ended.
        shards: Processes that share it at the same time.
        environment: Variables of its processes.
    """

    rows: Callable[[Settings, int], Iterator[Row]]
    limit: float
    shards: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)


#: Processes that compile and check Triton kernels side by side.
SHARDS = 8
PARTS: dict[str, Part] = {
    "machine": Part(machine_part, 40.0),
    "exact-torch": Part(exact_torch, 60.0),
    "compile": Part(compile_part, 80.0, SHARDS),
    "times": Part(times, 130.0),
    "sanitizer": Part(sanitizer_part, 70.0),
    "exact-triton": Part(exact_triton, 150.0, SHARDS, {"GATEWRIGHT_CHECKED": "1"}),
}


def run_part(name: str, options: argparse.Namespace, left: float) -> tuple[list[Row], list[str]]:
    """Run a part in processes of its own: its rows, and how processes ended that failed."""
    part = PARTS[name]
    shards = 1 if options.rehearse else part.shards
    rows: list[Row] = []
    ends: list[str] = []
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        started = []
        for shard in range(shards):
            file = Path(folder) / str(shard)
            errors = stack.enter_context((Path(folder) / f"{shard}.err").open("w+"))
            command = [sys.executable, __file__, "--part", name, "--shard", str(shard)]
            command += ["--file", str(file), "--seconds", str(options.seconds)]
            command += ["--rehearse"] if options.rehearse else []
            process = subprocess.Popen(
                command,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
                env={**os.environ, **part.environment},
            )
            started.append((process, file, errors))
        end = time.monotonic() + min(part.limit, left)
        for process, file, errors in started:
            try:
                code = process.wait(max(end - time.monotonic(), 0.1))
                ending = f"ended with code {code}" if code else ""
            except subprocess.TimeoutExpired:
                # The whole group: a sanitizer has processes of its own.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                ending = "its time was over"
            if file.exists():
                rows += [json.loads(line) for line in file.read_text().splitlines()]
            if ending:
                errors.seek(0)
                ends.append(f"{ending}: {errors.read()[-1500:]}")
    return rows, ends


def child(options: argparse.Namespace) -> None:
    """Write the rows of one part to a file, each as soon as it is there."""
    settings = Settings(options.rehearse, options.seconds)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    with Path(options.file).open("w") as file:
        for row in PARTS[options.part].rows(settings, options.shard):
            file.write(json.dumps(row) + "\n")
            file.flush()


# The table.
def table(results: Mapping[str, Any]) -> str:
    """All results as text."""
    lines: list[str] = []
    for name, part in results["parts"].items():
        rows = part["rows"]
        lines += ["", f"{name}: {len(rows)} results in {part['seconds']:.0f} s"]
        lines += [f"  FAILED {end}" for end in part["ends"]]
        lines += TABLES[name](rows)
    return "\n".join(lines[1:]) + "\n"


def machine_table(rows: Sequence[Row]) -> list[str]:
    """A line for each figure."""
    return [f"  {key}: {value}" for row in rows for key, value in row.items() if value is not None]


def exact_table(rows: Sequence[Row]) -> list[str]:
    """One line for each cell, and one for each result that is off."""
    lines = []
    for cell in dict.fromkeys(row["cell"] for row in rows):
        own = [row for row in rows if row["cell"] == cell]
        good = [row for row in own if row["ok"] and "refused" not in row]
        worst = max((row["error"] for row in good if "error" in row), default=0.0)
        refused = sum("refused" in row for row in own)
        line = f"  {cell:18} {len(good)} of {len(own)} right"
        line += f", worst at {100 * worst:.0f} % of what is allowed" if worst else ""
        lines.append(line + (f", {refused} refused" if refused else ""))
        lines += [f"    WRONG {row}" for row in own if not row["ok"]]
    return lines


def times_table(rows: Sequence[Row]) -> list[str]:
    """A line for each point: milliseconds of each contender, and the ratios."""
    names = ("cudnn", "torch", "triton", "loop")
    lines = ["  " + f"{'cell':14}{'B, T, I, H':22}{'run':10}" + "".join(f"{n:>10}" for n in names)]
    for row in rows:
        if "ms" not in row:
            lines.append(f"  WRONG {row}")
            continue
        size = ", ".join(map(str, row["size"]))
        ms = "".join(f"{row['ms'][n]:10.3f}" if n in row["ms"] else f"{'-':>10}" for n in names)
        ratios = "; ".join(f"{key} {value[0]:.2f}" for key, value in row["ratios"].items())
        lines.append(f"  {row['cell']:14}{size:22}{row['run']:10}{ms}  {ratios}")
        lines += [f"    WRONG {name}: {note}" for name, note in row["notes"].items()]
    return lines


TABLES: dict[str, Callable[[Sequence[Row]], list[str]]] = {
    "machine": machine_table,
    "exact-torch": exact_table,
    "compile": exact_table,
    "times": times_table,
    "sanitizer": exact_table,
    "exact-triton": exact_table,
}


def main() -> int:
    """Run the parts, print the table, and write it and the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("parts", nargs="*", help=f"parts to run: {', '.join(PARTS)}")
    parser.add_argument("--all", action="store_true", help="run all parts")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU, at small sizes")
    parser.add_argument("--minutes", type=float, default=7.5, help="time for everything")
    parser.add_argument("--seconds", type=float, default=0.6, help="time for each timed point")
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory of the results")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--shard", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--file", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        child(options)
        return 0
    names = list(PARTS) if options.all else options.parts
    if not names or not PARTS.keys() >= set(names):
        parser.error(f"give --all, or parts among {', '.join(PARTS)}")
    if not options.rehearse and not torch.cuda.is_available():
        parser.error("there is no GPU that torch can use; --rehearse runs all of it on the CPU")
    end = time.monotonic() + 60.0 * options.minutes
    results: dict[str, Any] = {"date": str(date.today()), "rehearsed": options.rehearse}
    results["parts"] = {}
    options.out.mkdir(parents=True, exist_ok=True)
    stem = f"gpu-rehearsed-{date.today()}" if options.rehearse else f"gpu-{date.today()}"
    for name in names:
        began = time.monotonic()
        rows, ends = run_part(name, options, end - began)
        seconds = time.monotonic() - began
        results["parts"][name] = {"rows": rows, "ends": ends, "seconds": seconds}
        # After each part, so that nothing is lost with the machine.
        (options.out / f"{stem}.json").write_text(json.dumps(results) + "\n", encoding="utf-8")
        (options.out / f"{stem}.txt").write_text(table(results), encoding="utf-8")
        print(f"{name}: {len(rows)} results in {seconds:.0f} s", file=sys.stderr, flush=True)
    print(table(results))
    parts = results["parts"].values()
    wrong = [row for part in parts for row in part["rows"] if row.get("ok") is False]
    return 1 if wrong or any(part["ends"] for part in parts) else 0


if __name__ == "__main__":
    sys.exit(main())
