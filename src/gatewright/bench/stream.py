"""One streamed step, batch 1: our stepper, a call of `torch.nn` and one of ONNX Runtime.

Each carries its states from step to step. ONNX Runtime is measured twice: as it is mostly called
(arrays in, arrays out), and with its buffers bound beforehand, two sets in alternation.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from gatewright.bench.cases import make_layer
from gatewright.bench.checks import cell_names
from gatewright.bench.contender import TOLERANCES
from gatewright.bench.machine import (
    Report,
    answer,
    in_process,
    silent,
    stay_on,
    task_of_process,
)
from gatewright.bench.peers import BUILT_IN, PEERS, absent, onnx_session
from gatewright.bench.table import Measurement, figure, text
from gatewright.bench.timing import in_turns, ratio
from gatewright.cells import CELLS
from gatewright.exports.onnx import layer_model
from gatewright.layers.stepper_precision import ROUNDED

UNITS = (64, 256, 512)
#: Steps in one timed run, so that the two readings of the clock do not count.
STEPS = 50

#: One step: an event `(H,)` to an output `(H,)`.
Step = Callable[[Any], Any]


def bench_stream(
    cells: Sequence[str] = ("lstm", "gru"),
    *,
    units: Sequence[int] = UNITS,
    seconds: float = 2.0,
    report: Report = silent,
) -> Measurement:
    """Time a step, I = H, on one thread.

    Raises:
        ArgumentError: for a cell that the peers do not have.
        BackendError: if the process that measures fails.
    """
    cells = cell_names(cells, BUILT_IN)
    measurement = Measurement(
        "stream",
        "One streamed step, batch 1, one thread",
        [
            text("cell"),
            text("units"),
            text("peer"),
            figure("ours, us", "ours", 1e6, ".2f"),
            figure("peer, us", "theirs", 1e6, ".2f"),
            ("ratio (95 %)", lambda row: str(ratio(row["seconds"]))),
        ],
    )
    task = {"cells": list(cells), "units": list(units), "seconds": seconds}
    environment = {"OMP_NUM_THREADS": "1"}
    for line in in_process("gatewright.bench.stream", task, environment):
        if "note" in line:
            measurement.notes.append(line["note"])
        elif "reason" in line:
            measurement.wrong.append(line)
        else:
            measurement.rows.append(line)
            # Torch, ONNX Runtime in two ways, and ours in two precisions.
            done = len(measurement.rows) / (5 * len(units) * len(cells))
            report(f"{line['cell']}, {line['units']}", done)
    return measurement


def main() -> None:
    """Verify and time steps."""
    task = task_of_process()
    stay_on(1)
    reason = absent(PEERS["onnxruntime"])
    if reason:
        answer(note=f"not against onnxruntime: {reason}")
    for name in task["cells"]:
        for units in task["units"]:
            torch.manual_seed(0)
            layer = make_layer(name, CELLS[name](), units, units)
            peers: dict[str, Callable[[], Step]] = {"torch": partial(torch_step, layer, name)}
            if reason is None:
                session = onnx_session(layer_model(layer))
                peers["onnxruntime"] = partial(onnx_step, session, layer)
                peers["onnxruntime, bound"] = partial(bound_onnx_step, session, layer)
            for precision in ROUNDED:
                peers[f"ours in {precision}"] = partial(_rounded, layer, precision)
            for peer, make in peers.items():
                row = {"cell": name, "units": units, "peer": peer}
                error = apart(layer.stepper().step, make(), units)
                dtype = torch.bfloat16 if peer.startswith("ours in ") else torch.float32
                if not error < TOLERANCES[dtype]:
                    answer(**row, reason=f"{peer} streams something else: {error:.2g} away")
                    continue
                x = np.random.default_rng(0).standard_normal(units).astype(np.float32)
                our_run, peer_run = repeated(layer.stepper().step, x), repeated(make(), x)
                pairs = in_turns(our_run, peer_run, task["seconds"])
                per_step = [(a / STEPS, b / STEPS) for a, b in pairs]
                ours, theirs = (statistics.median(s) for s in zip(*per_step, strict=True))
                answer(**row, seconds=per_step, ours=ours, theirs=theirs)


def apart(step: Step, peer: Step, units: int, steps: int = 20) -> float:
    """The largest difference of two over some steps, relative by norm, or NaN."""
    draw = np.random.default_rng(1)
    worst = 0.0
    for _ in range(steps):
        x = draw.standard_normal(units).astype(np.float32)
        ours, theirs = np.array(step(x)), np.array(peer(x)).reshape(-1)
        error = float(np.linalg.norm(ours - theirs) / np.linalg.norm(ours))
        worst = error if not error <= worst else worst  # a NaN replaces any number
    return worst


def repeated(step: Step, x: Any) -> Callable[[], None]:
    """A run of `STEPS` steps."""

    def run() -> None:
        for _ in range(STEPS):
            step(x)

    return run


def _rounded(layer: Any, precision: str) -> Step:
    step: Step = layer.stepper(precision=precision).step
    return step


def torch_step(layer: Any, name: str) -> Step:
    """The step of the layer of torch.nn with the same weights."""
    module = BUILT_IN[name](layer.input_size, layer.hidden_size)
    module.load_state_dict(layer.state_dict())
    state: Any = None

    def step(x: Any) -> Any:
        nonlocal state
        with torch.no_grad():
            output, state = module(torch.from_numpy(x).view(1, 1, -1), state)
        return output.numpy()

    return step


def onnx_step(session: Any, layer: Any) -> Step:
    """A call of ONNX Runtime for each step, as it is usually written."""
    names = [f"{name}_in" for name in layer.graph.states]
    states = [np.zeros((1, 1, layer.hidden_size), np.float32) for _ in names]

    def step(x: Any) -> Any:
        nonlocal states
        feeds = {"x": x.reshape(1, 1, -1), **dict(zip(names, states, strict=True))}
        output, *states = session.run(None, feeds)
        return output

    return step


def bound_onnx_step(session: Any, layer: Any) -> Step:
    """The same with all buffers bound beforehand."""
    import onnxruntime

    names = [f"{name}_in" for name in layer.graph.states]
    x_buffer = np.zeros((1, 1, layer.input_size), np.float32)

    def zeros() -> Any:
        return onnxruntime.OrtValue.ortvalue_from_numpy(
            np.zeros((1, 1, layer.hidden_size), np.float32)
        )

    event = onnxruntime.OrtValue.ortvalue_from_numpy(x_buffer)
    sets = [[zeros() for _ in names] for _ in range(2)]
    output = zeros()
    turns = []
    # Each step reads one set of states and writes the other.
    for old, new in (sets, sets[::-1]):
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", event)
        binding.bind_ortvalue_output("y", output)
        for name, state, new_state in zip(names, old, new, strict=True):
            binding.bind_ortvalue_input(name, state)
            binding.bind_ortvalue_output(f"{name.removesuffix('_in')}_out", new_state)
        turns.append(binding)
    number = 0

    def step(x: Any) -> Any:
        nonlocal number
        event.update_inplace(x.reshape(1, 1, -1))
        session.run_with_iobinding(turns[number % 2])
        number += 1
        return output.numpy()

    return step


if __name__ == "__main__":
    main()
