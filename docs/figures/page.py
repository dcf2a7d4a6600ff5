"""The figures of `docs/serve.md` and `docs/look.md`: a server under load, the page's engine."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any

from figures.raw import day, newest, number, table

#: Runs of the page's engine that the table shows, with their names on the page.
WORK = {
    "run": "all steps",
    "run from the middle on": "the second half, after a change there",
    "gradient": "the gradient of an output",
    "time constants": "the time constants of all units",
    "order by similarity": "the order of the units by similarity",
    "python: trace": "for comparison: `layer.trace` in Python, one thread",
}


def load() -> str:
    """Return the events per second and latencies of a server, by the number of streams."""
    rows: dict[tuple[int, str], Any] = {
        (row["streams"], row["way"]): row for row in newest("serve-*.json")[1]["rows"]
    }
    return table(
        ["streams", "WebSockets, events/s", "latency, ms", "99 %, ms", "POST, events/s",
         "without HTTP, events/s"],
        [
            [
                f"{streams:,}",
                _rate(rows[streams, "socket"]),
                number(rows[streams, "socket"]["latency_ms_p50"]),
                number(rows[streams, "socket"]["latency_ms_p99"]),
                _rate(rows[streams, "post"]),
                _rate(rows[streams, "service"]),
            ]
            for streams in sorted({streams for streams, _ in rows})
        ],
    )  # fmt: skip


def _rate(row: dict[str, Any]) -> str:
    return f"{statistics.median(row['events_per_second']):,.0f}"


def page_speed() -> str:
    """Return the times of the page's engine."""
    figures = newest("page-speed-*.json")[1]
    rows = [[words, _times(figures["milliseconds"][name])] for name, words in WORK.items()]
    cell, units, steps = (figures[key] for key in ("cell", "units", "steps"))
    return table([f"{cell} of {units} units, {steps:,} steps", "ms (quartiles)"], rows)


def _times(values: list[float]) -> str:
    low, median, high = statistics.quantiles(values, n=4)
    return f"{number(median)} ({number(low)} to {number(high)})"


def _measured(pattern: str) -> str:
    """Return the machine and the day of the newest results."""
    path, figures = newest(pattern)
    machine = figures["machine"]
    return f"{machine['cores']}-core {machine['cpu']}, {day(path)}"


FIGURES = {
    "serve.load": load,
    "serve.on": partial(_measured, "serve-*.json"),
    "page.speed": page_speed,
    "page.on": partial(_measured, "page-speed-*.json"),
}
