"""One streamed step: our stepper beside a call of ONNX Runtime and of `torch.nn`, batch 1.

Each carries its states from step to step. ONNX Runtime is measured twice: as it is mostly called
(arrays in, arrays out), and with its buffers bound beforehand, two sets in turns.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from gatewright.bench.cases import make_layer
from gatewright.bench.contender import TOLERANCE
from gatewright.bench.layers import check
from gatewright.bench.machine import answer, in_process, stay_on, task_of_process
from gatewright.bench.peers import BUILT_IN, PEERS, absent, onnx_session
from gatewright.bench.table import Found, figure, text
from gatewright.bench.timing import in_turns, ratio
from gatewright.cells import CELLS
from gatewright.export import onnx as onnx_model

UNITS = (64, 256, 512)
#: Steps in one timed run: a clock is read twice in it.
STEPS = 50

#: One step: an event `(H,)` to an output `(H,)`.
Step = Callable[[Any], Any]


def bench_stream(
    cells: Sequence[str] = ("lstm", "gru"),
    *,
    units: Sequence[int] = UNITS,
    seconds: float = 2.0,
    told: Callable[[str, float], None] = lambda text, share: None,
) -> Found:
    """Microseconds of a step, I = H, on one thread.

    Raises:
        ArgumentError: for a cell that the peers have not.
        BackendError: if the process that measures fails.
    """
    check("cell", cells, BUILT_IN)
    found = Found(
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
            found.notes.append(line["note"])
        elif "reason" in line:
            found.wrong.append(line)
        else:
            found.rows.append(line)
            told(f"{line['cell']}, {line['units']}", len(found.rows) / (6 * len(cells)))
    return found


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
            peers: dict[str, Callable[[], Step]] = {"torch": partial(_torch, layer, name)}
            if reason is None:
                peers["onnxruntime"] = partial(_onnx, layer)
                peers["onnxruntime, bound"] = partial(_bound, layer)
            for peer, make in peers.items():
                about = {"cell": name, "units": units, "peer": peer}
                error = apart(layer.stepper().step, make(), units)
                if not error < TOLERANCE:
                    answer(**about, reason=f"{peer} streams something else: {error:.2g} away")
                    continue
                x = np.random.default_rng(0).standard_normal(units).astype(np.float32)
                mine, theirs = repeated(layer.stepper().step, x), repeated(make(), x)
                pairs = in_turns(mine, theirs, task["seconds"])
                each = [(a / STEPS, b / STEPS) for a, b in pairs]
                ours, other = (statistics.median(one) for one in zip(*each, strict=True))
                answer(**about, seconds=each, ours=ours, theirs=other)


def apart(one: Step, other: Step, units: int, steps: int = 20) -> float:
    """How far two are apart after some steps, relative by norm; NaN counts as far."""
    draw = np.random.default_rng(1)
    worst = 0.0
    for _ in range(steps):
        x = draw.standard_normal(units).astype(np.float32)
        mine, theirs = np.array(one(x)), np.array(other(x)).reshape(-1)
        error = float(np.linalg.norm(mine - theirs) / np.linalg.norm(mine))
        worst = error if not error <= worst else worst
    return worst


def repeated(step: Step, x: Any) -> Callable[[], None]:
    """A run of many steps."""

    def run() -> None:
        for _ in range(STEPS):
            step(x)

    return run


def _torch(layer: Any, name: str) -> Step:
    module = BUILT_IN[name](layer.input_size, layer.hidden_size)
    module.load_state_dict(layer.state_dict())
    state: Any = None

    def step(x: Any) -> Any:
        nonlocal state
        with torch.no_grad():
            output, state = module(torch.from_numpy(x).view(1, 1, -1), state)
        return output.numpy()

    return step


def _session(layer: Any) -> tuple[Any, list[str]]:
    from gatewright.backends.weights import collect

    weights = collect(layer.graph, layer.pairs(0, False))
    model = onnx_model.model(layer.cell, {path: one.detach() for path, one in weights.items()})
    return onnx_session(model), list(layer.graph.states)


def _onnx(layer: Any) -> Step:
    session, names = _session(layer)
    states = [np.zeros((1, 1, layer.hidden_size), np.float32) for _ in names]

    def step(x: Any) -> Any:
        nonlocal states
        feeds = {"x": x.reshape(1, 1, -1), **dict(zip(names, states, strict=True))}
        output, *states = session.run(None, feeds)
        return output

    return step


def _bound(layer: Any) -> Step:
    import onnxruntime

    session, names = _session(layer)
    x_buffer = np.zeros((1, 1, layer.input_size), np.float32)

    def zeros() -> Any:
        return onnxruntime.OrtValue.ortvalue_from_numpy(
            np.zeros((1, 1, layer.hidden_size), np.float32)
        )

    event = onnxruntime.OrtValue.ortvalue_from_numpy(x_buffer)
    sets = [[zeros() for _ in names] for _ in range(2)]
    output = zeros()
    turns = []
    for before, after in (sets, sets[::-1]):
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", event)
        binding.bind_ortvalue_output("output", output)
        for name, given, left in zip(names, before, after, strict=True):
            binding.bind_ortvalue_input(name, given)
            binding.bind_ortvalue_output(f"{name}_after", left)
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
