"""The lesson's comparison as `gatewright memory` makes it, kept, and the pictures of the docs.

python benchmarks/science/lesson.py            # about two minutes on two cores
python benchmarks/science/lesson.py --draw     # only the pictures, from what is kept
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

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

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"
KEPT = RESULTS / "lesson.json"


def main() -> None:
    """Compare, unless that is kept; then draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", action="store_true", help="only draw what is kept")
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    if not given.draw:
        found = compare_memory(processes=given.processes)
        KEPT.parent.mkdir(parents=True, exist_ok=True)
        KEPT.write_text(found.to_json() + "\n")
    found = kept()
    names = [(f"n{at}", row.title) for at, row in enumerate(found.rows)]
    for name, svg, legend in (
        ("recall-by-lag", recall_chart(found), names),
        ("left-by-lag", left_chart(found), names[1:]),
        ("forget-start", *starts()),
        ("paths", *paths()),
    ):
        (IMAGES / f"{name}.svg").write_text(standalone(svg, legend) + "\n")
    for row in found.rows:
        print(" | ".join(found.cells(row)))


def kept() -> MemoryComparison:
    """What was kept, as it was."""
    stored = json.loads(KEPT.read_text())
    rows = []
    for name, trials in stored["networks"].items():
        rows.append(NetworkRow(name, [trial(one) for one in trials]))
    return MemoryComparison(
        rows,
        stored["lags"],
        len(rows[0].trials),
        stored["units"],
        Budget(**stored["budget"]),
        stored["chance"],
        stored["made_with"],
    )


def trial(stored: dict) -> ClimbResult:
    """One trial of what was kept."""

    def flow(one: dict | None) -> Flow | None:
        if one is None:
            return None
        carried = tuple(float(share) for share in one["carried"])
        return Flow(tuple(one["left"]), carried, float(one["half_life"]))

    climb = {**stored["climb"], "budget": Budget(**stored["climb"]["budget"])}
    return ClimbResult(
        Climb(**climb),
        {int(lag): score for lag, score in stored["scores"].items()},
        stored["learnt"],
        flow(stored["before"]),
        flow(stored["after"]),
        stored["seconds"],
    )


def measured(start: Callable[[gw.Recurrent], object]) -> object:
    """The horizon of an LSTM of 32 units with a start, on random events."""
    torch.manual_seed(0)
    layer = gw.LSTM(10, 32)
    start(layer)
    events = TASKS["recall"](lag=239, distractors=True).examples(4, seed=0).inputs
    return gradient_horizon(layer, events, lags=200, ends=1)


def starts() -> tuple[str, list[tuple[str, str]]]:
    """What is left of the memory of LSTMs that differ by their start alone."""
    chosen = {
        "as torch starts it (f = 1/2)": lambda layer: None,
        "forget bias 1 (f = 0.73)": lambda layer: gw.init.forget_bias_(layer, 1.0),
        "forget bias 3 (f = 0.95)": lambda layer: gw.init.forget_bias_(layer, 3.0),
        "chrono start for 200": lambda layer: gw.init.chrono_(layer, 200),
    }
    lines, legend = [], []
    for at, (name, start) in enumerate(chosen.items()):
        left = measured(start).paths["c"].total.tolist()
        points = [(k, value) for k, value in enumerate(left) if value > 0]
        lines.append(Line(name, f"n{at + 1}", points))
        legend.append((f"n{at + 1}", name))
        print(name, {k: f"{left[k]:.3g}" for k in (1, 2, 5, 10, 20, 50, 100, 200)})
    y = Axis(1e-4, 2.0, "left", "log", PERCENTS)
    title = "What is left of the long-term memory after k steps, before learning"
    return chart(lines, Axis(0, 200, "k, steps back"), y, title), legend


def paths() -> tuple[str, list[tuple[str, str]]]:
    """By which path the memory of a chrono LSTM comes, before learning."""
    found = measured(lambda layer: gw.init.chrono_(layer, 200)).paths["c"]
    curves = {"all": found.total, "by addition": found.carried, "through the gates": found.gates}
    lines = [
        Line(name, f"n{at + 2}", [(k, v) for k, v in enumerate(one.tolist()) if v > 0])
        for at, (name, one) in enumerate(curves.items())
    ]
    y = Axis(1e-2, 2.0, "left", "log", PERCENTS[:3])
    title = "What is left of the long-term memory after k steps, by its path"
    assert math.isclose(found.total[0], 1.0, rel_tol=1e-5)
    legend = [(line.slot, line.name) for line in lines]
    return chart(lines, Axis(0, 200, "k, steps back"), y, title), legend


if __name__ == "__main__":
    main()
