"""The result of every seed as a dot on a common scale, to show the spread around the mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gatewright.draw.page.elements import drawing, short, tag, ticks

WIDTH, HEIGHT, EDGE = 220.0, 26.0, 14.0


def strip_range(values: Sequence[float], percent: bool) -> tuple[float, float]:
    """The scale of all strips in a table: round numbers, with every dot inside."""
    low, high = min(values), max(values)
    step = (
        0.02 if percent else 10.0 ** math.floor(math.log10(max(high - low, abs(high) / 10, 1e-6)))
    )
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    if percent:
        high = min(1.0, high)
    return (low - step, high) if high - low < step / 2 else (low, high)


def strip(values: Sequence[float], scale: tuple[float, float], slot: str, percent: bool) -> str:
    """A row as an SVG: a dot for each seed, and a bar at their mean."""
    mean = sum(values) / len(values)
    middle = HEIGHT / 2
    parts = [tag("line", class_="grid", x1=EDGE, x2=WIDTH - EDGE, y1=middle, y2=middle)]
    parts += [
        tag("circle", class_=f"dot {slot}", cx=short(_x(value, scale)), cy=middle, r=4)
        for value in values
    ]
    x = short(_x(mean, scale))
    parts.append(tag("line", class_=f"line {slot}", x1=x, x2=x, y1=3, y2=HEIGHT - 3))
    numbers = ", ".join(f"{100 * v:.1f} %" if percent else f"{v:.3f}" for v in sorted(values))
    return drawing("".join(parts), width=WIDTH, height=HEIGHT, title=f"each seed: {numbers}")


def strip_axis(scale: tuple[float, float], percent: bool) -> str:
    """The numbers of the scale as an SVG, for the heading of the strips."""
    times = 100 if percent else 1
    marks = ticks(*scale, most=3)
    parts = [
        tag("text", f"{times * mark:g}", x=short(_x(mark, scale)), y=12, text_anchor="middle")
        for mark in marks
    ]
    low, high = (f"{times * end:g}" for end in scale)
    return drawing("".join(parts), width=WIDTH, height=16, title=f"scale from {low} to {high}")


def _x(value: float, scale: tuple[float, float]) -> float:
    low, high = scale
    return EDGE + (WIDTH - 2 * EDGE) * (value - low) / (high - low)
