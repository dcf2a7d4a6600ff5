"""The tables of `docs/recompute.md`, of what `benchmarks/recompute.py` measured."""

from __future__ import annotations

import statistics
from typing import Any

from figures.raw import RESULTS, content, plain_table
from gatewright.bench.timing import ratio


def tables() -> str:
    """Return the memory and the time of training steps."""
    figures = content(RESULTS / "recompute.json")
    memory = ["steps", "backend", "recompute", "kept, MB", "peak, MB"]
    time = ["layer", "(B, T, I, H)", "plain, ms", "expected ratio", "measured ratio"]
    return "\n".join(
        [
            plain_table(memory, map(_memory, figures["memory"])),
            plain_table(time, map(_time, figures["time"])),
            "The expected ratio is that of a plain training step and one more forward pass to a "
            f"plain step. Timed on one thread of {figures['machines']['time']['cpu']}.",
        ]
    )


def _memory(row: dict[str, Any]) -> list[str]:
    chosen = f"True (k = {round(row['steps'] ** 0.5)})" if row["recompute"] else "no"
    numbers = [f"{row[key] / 1e6:,.0f}" for key in ("kept", "peak")]
    return [f"{row['steps']:,}", row["backend"], chosen, *numbers]


def _time(row: dict[str, Any]) -> list[str]:
    plain = 1e3 * statistics.median(ours for ours, _ in row["recomputed"])
    expected = f"{1 + ratio(row['forward']).value:.2f}"
    size = ", ".join(map(str, row["size"]))
    return [row["cell"], size, f"{plain:.0f}", expected, str(ratio(row["recomputed"]))]


FIGURES = {"recompute": tables}
