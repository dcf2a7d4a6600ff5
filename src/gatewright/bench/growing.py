"""The growth of a layer's cost with T, B, H and the number of gates."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatewright.bench.cases import Size, make_case
from gatewright.bench.contender import ours
from gatewright.bench.machine import (
    Report,
    answer,
    in_process,
    silent,
    stay_on,
    task_of_process,
)
from gatewright.bench.table import Measurement, figure, text
from gatewright.cells.lstm import LSTM
from gatewright.language.cell import Cell
from gatewright.language.functions import Update, linear, sigmoid, state, tanh
from gatewright.layers.explain import seconds

#: An exponent may be this much above the expected one.
SLACK = 0.1


class Gated(Cell):
    """A cell of `gates` gates, each with matrices of its own."""

    gates: int = 1

    def step(self, x: Any, h: Any) -> Update:
        total = tanh(linear(x, h, name="gate0"))
        for number in range(1, self.gates):
            total = total * sigmoid(linear(x, h, name=f"gate{number}"))
        h = total
        return state(h=h)


@dataclass(frozen=True)
class Sweep:
    """One quantity that grows while the others stay the same.

    Attributes:
        expected: The exponent of the largest part of the work: a product is quadratic in H.
        case: The cell and the size (B, T, I, H) for a value.
    """

    label: str
    values: Sequence[int]
    expected: float
    case: Callable[[int], tuple[Cell, Size]]


SWEEPS: Mapping[str, Sweep] = {
    "T": Sweep(
        "T: steps, at B = 1, I = H = 64",
        (100, 316, 1000, 3162, 10_000, 31_623, 100_000),
        1.0,
        lambda t: (LSTM(), (1, t, 64, 64)),
    ),
    "B": Sweep(
        "B: sequences, at T = 32, I = H = 128",
        (1, 4, 16, 64, 256, 1024),
        1.0,
        lambda b: (LSTM(), (b, 32, 128, 128)),
    ),
    "H": Sweep(
        "H: units, at B = 8, T = 32, I = 64",
        (64, 128, 256, 512, 1024, 2048),
        2.0,
        lambda h: (LSTM(), (8, 32, 64, h)),
    ),
    "gates": Sweep(
        "gates, at B = 32, T = 100, I = H = 64",
        (1, 2, 4, 8, 16),
        1.0,
        lambda gates: (Gated(gates=gates), (32, 100, 64, 64)),
    ),
}


def bench_growing(
    *,
    threads: int = 1,
    quick: bool = False,
    report: Report = silent,
) -> Measurement:
    """Time a training step and a forward run as each quantity grows, and fit the exponents.

    The exponent is that of the larger half of the values, where the fixed cost of a call no
    longer shows. "As it should be" is at most 0.1 above the expected one.

    Args:
        quick: Measure only the three smallest values of each.

    Raises:
        BackendError: if the process that measures fails.
    """
    measurement = Measurement(
        "curves",
        "How the cost grows",
        [
            text("with"),
            text("value"),
            text("run"),
            figure("ms", "seconds", 1e3, ".3f"),
            figure("us for each", "each", 1e6, ".3f"),
        ],
    )
    task = {"threads": threads, "values": 3 if quick else 100}
    total = 2 * sum(len(sweep.values[: task["values"]]) for sweep in SWEEPS.values())
    for line in in_process("gatewright.bench.growing", task):
        line["each"] = line["seconds"] / line["value"]
        measurement.rows.append(line)
        done = len(measurement.rows) / total
        report(f"{line['with']} = {line['value']}, {line['run']}", done)
    for name, sweep in SWEEPS.items():
        for run in ("training", "inference"):
            points = curve(measurement.rows, name, run)
            power = exponent(points[len(points) // 2 - 1 :])
            right = power <= sweep.expected + SLACK
            verdict = "as it should be" if right else "MORE THAN IT SHOULD BE"
            measurement.notes.append(
                f"{name}, {run}: exponent {power:.2f}, expected {sweep.expected:g}: {verdict}"
            )
    measurement.page = pictures(measurement)
    return measurement


def pictures(measurement: Measurement) -> str:
    """Draw the curves as a page: both scales logarithmic, so that a power is a straight line."""
    from gatewright.draw.page.elements import escape, tag
    from gatewright.draw.page.elements import figure as framed
    from gatewright.draw.page.page import Section, legend, page
    from gatewright.draw.plots.chart import Axis, Line, chart

    slots = {"training": "n1", "inference": "n2"}
    panels = []
    for name, sweep in SWEEPS.items():
        lines = [Line(run, slots[run], _ms(measurement, name, run), dots=True) for run in slots]
        sizes, times = zip(*(point for line in lines for point in line.points), strict=True)
        marks = [(size, f"{size:,}") for size in dict.fromkeys(sizes)]
        # The text of the last mark needs room on the right of the axis.
        x = Axis(min(sizes), max(sizes) ** 1.05, sweep.label, "log", marks)
        y = Axis(min(times) / 1.5, max(times) * 1.5, "ms", "log")
        notes = [note for note in measurement.notes if note.startswith(f"{name},")]
        drawn = chart(lines, x, y, f"Milliseconds against {sweep.label}")
        panels.append(
            framed(drawn, tag("b", f"ms against {name}") + escape(" · " + "; ".join(notes)))
        )
    names = legend((slot, run) for run, slot in slots.items())
    return page(
        "How the cost of a layer grows",
        "Gatewright · a benchmark",
        "Each point is a median; the quantities that a picture does not name stay the same.",
        f"{measurement.machine['cpu']}, {measurement.machine['date']}",
        [
            Section(
                "growth",
                "Milliseconds against size",
                names + tag("div", "".join(panels), class_="panels"),
            )
        ],
        "Made by gatewright bench --what curves",
    )


def _ms(measurement: Measurement, name: str, run: str) -> list[tuple[float, float]]:
    return [(value, 1e3 * seconds) for value, seconds in curve(measurement.rows, name, run)]


def curve(rows: Sequence[Mapping[str, Any]], name: str, run: str) -> list[tuple[float, float]]:
    """(value, seconds) of one sweep."""
    return [
        (row["value"], row["seconds"]) for row in rows if (row["with"], row["run"]) == (name, run)
    ]


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """The power by which the second numbers grow with the first: a line through the logarithms.

    >>> exponent([(1, 3), (2, 12), (4, 48)])
    2.0
    """
    across = [math.log(x) for x, _ in points]
    up = [math.log(y) for _, y in points]
    return round(statistics.linear_regression(across, up).slope, 6)


def main() -> None:
    """Measure the sweeps."""
    task = task_of_process()
    stay_on(task["threads"])
    for name, sweep in SWEEPS.items():
        for value in sweep.values[: task["values"]]:
            cell, size = sweep.case(value)
            key = "lstm" if isinstance(cell, LSTM) else name
            for training in (True, False):
                run = ours(make_case(key, cell, size, training=training)).run
                kind = "training" if training else "inference"
                answer(**{"with": name, "value": value, "run": kind, "seconds": seconds(run, 1.0)})


if __name__ == "__main__":
    main()
