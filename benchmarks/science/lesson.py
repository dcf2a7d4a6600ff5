"""Run and store the lesson's comparison, as `gatewright memory` does, and draw it for the docs.

python benchmarks/science/lesson.py            # about two minutes on two cores
python benchmarks/science/lesson.py --draw     # only the pictures, from the stored results
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from common import RESULTS

import gatewright as gw
from gatewright.draw.page.standalone import standalone
from gatewright.draw.plots.chart import Axis, Line, chart
from gatewright.memory import TASKS, Budget
from gatewright.memory.climb import Climb, ClimbResult, Flow
from gatewright.memory.compare import compare_memory
from gatewright.memory.comparison import MemoryComparison, NetworkRow
from gatewright.memory.pictures import PERCENTS, left_chart, recall_chart
from gatewright.probes import gradient_horizon
from gatewright.probes.horizon import GradientHorizon

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
STORED = RESULTS / "lesson.json"


def main() -> None:
    """Run and store the comparison unless `--draw` is set; draw the stored one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", action="store_true", help="draw the stored results; run nothing")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if not options.draw:
        comparison = compare_memory(processes=options.processes)
        STORED.parent.mkdir(parents=True, exist_ok=True)
        STORED.write_text(comparison.to_json() + "\n")
    comparison = stored_comparison()
    # Pairs of a colour slot and a title, for the legends.
    names = [(f"n{index}", row.title) for index, row in enumerate(comparison.rows)]
    for name, svg, legend in (
        ("recall-by-lag", recall_chart(comparison), names),
        ("left-by-lag", left_chart(comparison), names[1:]),
        ("forget-start", *starts()),
        ("paths", *paths()),
    ):
        (IMAGES / f"{name}.svg").write_text(standalone(svg, legend) + "\n")
    for row in comparison.rows:
        print(" | ".join(comparison.cells(row)))


def stored_comparison() -> MemoryComparison:
    """Read the comparison that was stored last."""
    stored = json.loads(STORED.read_text())
    rows = []
    for name, trials in stored["networks"].items():
        rows.append(NetworkRow(name, [trial_result(trial) for trial in trials]))
    return MemoryComparison(
        rows,
        stored["lags"],
        len(rows[0].trials),
        stored["units"],
        Budget(**stored["budget"]),
        stored["chance"],
        stored["made_with"],
    )


def trial_result(stored: dict[str, Any]) -> ClimbResult:
    """Rebuild one trial from its JSON form."""

    def flow(numbers: dict[str, Any] | None) -> Flow | None:
        if numbers is None:
            return None
        carried = tuple(float(share) for share in numbers["carried"])
        return Flow(tuple(numbers["left"]), carried, float(numbers["half_life"]))

    climb = {**stored["climb"], "budget": Budget(**stored["climb"]["budget"])}
    return ClimbResult(
        Climb(**climb),
        {int(lag): score for lag, score in stored["scores"].items()},
        stored["learnt"],
        flow(stored["before"]),
        flow(stored["after"]),
        stored["seconds"],
    )


def horizon(start: Callable[[gw.Recurrent], object]) -> GradientHorizon:
    """The gradient horizon of an LSTM of 32 units after an initialisation, on random events."""
    torch.manual_seed(0)
    layer = gw.LSTM(10, 32)
    start(layer)
    events = TASKS["recall"](lag=239, distractors=True).examples(4, seed=0).inputs
    return gradient_horizon(layer, events, lags=200, ends=1)


def starts() -> tuple[str, list[tuple[str, str]]]:
    """Draw how the memory fades in LSTMs that differ only in their initialisation."""
    chosen = {
        "as torch starts it (f = 1/2)": lambda layer: None,
        "forget bias 1 (f = 0.73)": lambda layer: gw.init.forget_bias_(layer, 1.0),
        "forget bias 3 (f = 0.95)": lambda layer: gw.init.forget_bias_(layer, 3.0),
        "chrono start for 200": lambda layer: gw.init.chrono_(layer, 200),
    }
    lines, legend = [], []
    for slot, (name, start) in enumerate(chosen.items(), start=1):
        left = horizon(start).paths["c"].total.tolist()
        points = [(k, value) for k, value in enumerate(left) if value > 0]
        lines.append(Line(name, f"n{slot}", points))
        legend.append((f"n{slot}", name))
        print(name, {k: f"{left[k]:.3g}" for k in (1, 2, 5, 10, 20, 50, 100, 200)})
    y = Axis(1e-4, 2.0, "left", "log", PERCENTS)
    title = "What is left of the long-term memory after k steps, before learning"
    return chart(lines, Axis(0, 200, "k, steps back"), y, title), legend


def paths() -> tuple[str, list[tuple[str, str]]]:
    """Draw the paths by which a chrono LSTM carries its memory, before learning."""
    memory = horizon(lambda layer: gw.init.chrono_(layer, 200)).paths["c"]
    curves = {"all": memory.total, "by addition": memory.carried, "through the gates": memory.gates}
    lines = [
        # Zeros have no place on a logarithmic axis.
        Line(name, f"n{slot}", [(k, v) for k, v in enumerate(curve.tolist()) if v > 0])
        for slot, (name, curve) in enumerate(curves.items(), start=2)
    ]
    y = Axis(1e-2, 2.0, "left", "log", PERCENTS[:3])
    title = "What is left of the long-term memory after k steps, by its path"
    assert math.isclose(memory.total[0], 1.0, rel_tol=1e-5)
    legend = [(line.slot, line.name) for line in lines]
    return chart(lines, Axis(0, 200, "k, steps back"), y, title), legend


if __name__ == "__main__":
    main()
