"""Line charts with linear or logarithmic axes, bands and dashes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from gatewright.draw.page.elements import drawing, escape, short, tag, ticks

WIDTH, HEIGHT = 520.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 58.0, 14.0, 12.0, 42.0


@dataclass(frozen=True, slots=True)
class Line:
    """A line through points.

    Attributes:
        name: Its tooltip.
        slot: One of the page's line colours, such as "n2".
        points: Pairs (x, y) with rising x.
        dashed: Draw it dashed, as the reference of another line.
        dots: Draw the points too.
        band: Triples (x, low, high): the spread behind the line.
    """

    name: str
    slot: str
    points: Sequence[tuple[float, float]]
    dashed: bool = False
    dots: bool = False
    band: Sequence[tuple[float, float, float]] = ()


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis.

    Attributes:
        kind: "log" if equal lengths are equal factors.
        marks: Pairs (value, text); round numbers by default.
    """

    low: float
    high: float
    title: str
    kind: Literal["linear", "log"] = "linear"
    marks: Sequence[tuple[float, str]] = ()

    def place(self, value: float) -> float:
        """The position of a value, 0 to 1. Values beyond an end get one that a cover hides."""
        if self.kind == "log":
            value = max(value, self.low * 1e-3)
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return min(max(share, -0.15), 1.03)

    def labels(self) -> Sequence[tuple[float, str]]:
        """The marks with their labels."""
        if self.marks:
            return self.marks
        if self.kind == "linear":
            return [(value, f"{value:g}") for value in ticks(self.low, self.high)]
        first, last = math.log10(self.low), math.log10(self.high)
        powers = range(math.ceil(first - 1e-9), math.floor(last + 1e-9) + 1)
        step = max(1, math.ceil(len(powers) / 6))
        return [(10.0**p, f"{10.0**p:g}") for p in powers if (p - powers[-1]) % step == 0]


def chart(
    lines: Sequence[Line],
    x: Axis,
    y: Axis,
    title: str,
    *,
    levels: Sequence[tuple[float, str]] = (),
) -> str:
    """A chart as an SVG; `levels` are horizontal lines with a label."""
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at_x(value: float) -> float:
        return LEFT + width * x.place(value)

    def at_y(value: float) -> float:
        return TOP + height * (1.0 - y.place(value))

    parts = [_level(at_y(value), "grid") for value, _ in y.labels()]
    for value, label in levels:
        parts.append(_level(at_y(value), "level"))
        parts.append(
            tag("text", escape(label), x=WIDTH - RIGHT, y=short(at_y(value) - 5), text_anchor="end")
        )
    parts += [_drawn(line, at_x, at_y) for line in lines]
    # Covers hide what leaves the picture; a clip path would need an id that is unique on the page.
    parts.append(tag("rect", class_="cover", x=0, y=0, width=WIDTH, height=TOP - 4))
    bottom = TOP + height + 3
    parts.append(tag("rect", class_="cover", x=0, y=bottom, width=WIDTH, height=HEIGHT - bottom))
    parts += [
        tag("text", escape(label), x=LEFT - 8, y=short(at_y(value) + 4), text_anchor="end")
        for value, label in y.labels()
    ]
    parts += [
        tag("text", escape(label), x=short(at_x(value)), y=HEIGHT - 24, text_anchor="middle")
        for value, label in x.labels()
    ]
    parts.append(
        tag("text", escape(x.title), x=short(LEFT + width / 2), y=HEIGHT - 5, text_anchor="middle")
    )
    return drawing("".join(parts), width=WIDTH, height=HEIGHT, title=title)


def _level(y: float, kind: str) -> str:
    return tag("line", class_=kind, x1=LEFT, x2=WIDTH - RIGHT, y1=short(y), y2=short(y))


def _drawn(line: Line, at_x: Callable[[float], float], at_y: Callable[[float], float]) -> str:
    def along(points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{short(at_x(x))},{short(at_y(y))}" for x, y in points)

    parts = []
    if line.band:
        upper = [(x, high) for x, _, high in line.band]
        lower = [(x, low) for x, low, _ in line.band][::-1]
        parts.append(
            tag("polygon", class_=f"band {line.slot}", points=f"{along(upper)} {along(lower)}")
        )
    dashes = " dashed" if line.dashed else ""
    parts.append(
        tag(
            "polyline",
            tag("title", escape(line.name)),
            class_=f"line {line.slot}{dashes}",
            points=along(line.points),
        )
    )
    if line.dots:
        parts += [
            tag("circle", class_=f"dot {line.slot}", cx=short(at_x(x)), cy=short(at_y(y)), r=3.2)
            for x, y in line.points
        ]
    return "".join(parts)
