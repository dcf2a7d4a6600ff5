"""What every seed reached, as dots on one scale, to see a mean's worth."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gatewright.draw.page.elements import drawing, short, tag, ticks

WIDTH, HEIGHT, EDGE = 220.0, 26.0, 14.0


def strip_range(values: Sequence[float], percent: bool) -> tuple[float, float]:
    """The scale that all strips of one table share: round, and with every dot inside."""
    low, high = min(values), max(values)
    step = (
        0.02 if percent else 10.0 ** math.floor(math.log10(max(high - low, abs(high) / 10, 1e-6)))
    )
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    if percent:
        high = min(1.0, high)
    return (low - step, high) if high - low < step / 2 else (low, high)


def strip(values: Sequence[float], scale: tuple[float, float], slot: str, percent: bool) -> str:
    """One row: a dot a seed and a bar at their mean, as an SVG."""
    mean = sum(values) / len(values)
    middle = HEIGHT / 2
    parts = [tag("line", class_="grid", x1=EDGE, x2=WIDTH - EDGE, y1=middle, y2=middle)]
    parts += [
        tag("circle", class_=f"dot {slot}", cx=short(_x(one, scale)), cy=middle, r=4)
        for one in values
    ]
    at = short(_x(mean, scale))
    parts.append(tag("line", class_=f"line {slot}", x1=at, x2=at, y1=3, y2=HEIGHT - 3))
    said = ", ".join(f"{100 * one:.1f} %" if percent else f"{one:.3f}" for one in sorted(values))
    return drawing("".join(parts), width=WIDTH, height=HEIGHT, title=f"each seed: {said}")


def strip_axis(scale: tuple[float, float], percent: bool) -> str:
    """The scale in numbers, to stand at the head of the strips, as an SVG."""
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
