"""The tables of `docs/int8.md`, of what `benchmarks/int8.py` measured."""

from __future__ import annotations

import statistics
from typing import Any

from figures.raw import RESULTS, content, microseconds, plain_table
from gatewright.bench.timing import ratio


def tables() -> str:
    """Return the scores, the drift, the bytes and the times."""
    figures = content(RESULTS / "int8.json")
    networks = figures["networks"]
    steps = [f"{steps:,} steps" for steps in networks[0]["drift"]["steps"]]
    scores = [
        "data, cell, units", "metric", "float32", "int8", "lost", "spread over seeds",
        "lost / spread",
    ]  # fmt: skip
    return "\n".join(
        [
            plain_table(scores, [_score(row, own) for row in networks for own in row["scores"]]),
            plain_table(["data, cell", *steps], map(_drift, networks)),
            plain_table(
                ["data, cell", "float32, bytes", "int8, bytes", "share"], map(_size, networks)
            ),
            plain_table(
                ["cell", "units", "float32, us", "int8, us", "times faster"],
                map(_speed, figures["speed"]),
            ),
            f"Timed on one thread of {figures['machines']['speed']['cpu']}.",
        ]
    )


def _name(row: dict[str, Any]) -> str:
    return f"{row['data']}, {row['cell']}"


def _score(row: dict[str, Any], own: dict[str, Any]) -> list[str]:
    exact, rounded = own["float32"], own["int8"]
    sign = 1.0 if own["higher"] else -1.0
    lost = sign * (statistics.mean(exact) - statistics.mean(rounded))
    deviation = statistics.stdev(exact)
    return [
        f"{_name(row)}, {row['units']}",
        own["metric"],
        f"{statistics.mean(exact):.4f}",
        f"{statistics.mean(rounded):.4f}",
        f"{lost:+.5f}",
        f"{deviation:.5f}",
        f"{lost / deviation:+.2f}",
    ]


def _drift(row: dict[str, Any]) -> list[str]:
    return [_name(row), *(f"{100 * error:.2f} %" for error in row["drift"]["errors"])]


def _size(row: dict[str, Any]) -> list[str]:
    exact, rounded = row["size"]["float32"], row["size"]["int8"]
    return [_name(row), f"{exact:,}", f"{rounded:,}", f"{rounded / exact:.2f}"]


def _speed(row: dict[str, Any]) -> list[str]:
    rounded, exact = (microseconds(times) for times in zip(*row["seconds"], strict=True))
    return [row["cell"], str(row["units"]), exact, rounded, str(ratio(row["seconds"]))]


FIGURES = {"int8": tables}
