"""The accuracy of every seed as a dot on one scale, to see a mean's worth."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gatewright.draw.elements import drawing, short, tag, ticks

WIDTH, HEIGHT, EDGE = 220.0, 26.0, 14.0


def strip_range(accuracies: Sequence[float]) -> tuple[float, float]:
    """The scale that all strips of one table share: round, and with every dot inside."""
    low = math.floor(min(accuracies) * 50) / 50
    high = min(1.0, math.ceil(max(accuracies) * 50) / 50)
    return (low - 0.02, high) if high - low < 0.02 else (low, high)


def strip(accuracies: Sequence[float], scale: tuple[float, float], slot: int) -> str:
    """One network: a dot a seed and a bar at their mean, as an SVG."""
    mean = sum(accuracies) / len(accuracies)
    middle = HEIGHT / 2
    parts = [tag("line", class_="grid", x1=EDGE, x2=WIDTH - EDGE, y1=middle, y2=middle)]
    parts += [
        tag("circle", class_=f"dot n{slot}", cx=short(_x(one, scale)), cy=middle, r=4)
        for one in accuracies
    ]
    at = short(_x(mean, scale))
    parts.append(tag("line", class_=f"line n{slot}", x1=at, x2=at, y1=3, y2=HEIGHT - 3))
    said = ", ".join(f"{100 * one:.1f} %" for one in sorted(accuracies))
    return drawing("".join(parts), width=WIDTH, height=HEIGHT, title=f"each seed: {said}")


def strip_axis(scale: tuple[float, float]) -> str:
    """The scale in numbers, to stand at the head of the strips, as an SVG."""
    marks = ticks(*scale, most=3)
    parts = [
        tag(
            "text",
            f"{100 * mark:g}",
            x=short(_x(mark, scale)),
            y=12,
            text_anchor="middle",
        )
        for mark in marks
    ]
    low, high = (f"{100 * end:g} %" for end in scale)
    return drawing("".join(parts), width=WIDTH, height=16, title=f"scale from {low} to {high}")


def _x(accuracy: float, scale: tuple[float, float]) -> float:
    low, high = scale
    return EDGE + (WIDTH - 2 * EDGE) * (accuracy - low) / (high - low)
