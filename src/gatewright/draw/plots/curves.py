"""Learning curves: a line for each network, with a band from its worst to its best seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from gatewright.draw.page.elements import drawing, escape, short, tag, ticks

WIDTH, HEIGHT = 520.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 12.0, 40.0


@dataclass(frozen=True, slots=True)
class Curve:
    """A quantity over the epochs, once for each seed."""

    name: str
    slot: str  # one of the page's line colours
    values: Sequence[Sequence[float]]  # [seed][epoch]


def loss_curves(curves: Sequence[Curve], title: str) -> str:
    """Losses, on a logarithmic scale, as an SVG."""
    every = [max(value, 1e-6) for curve in curves for line in curve.values for value in line]
    low, high = math.log10(min(every) / 1.1), math.log10(max(every) * 1.1)

    def place(value: float) -> float:
        return (math.log10(max(value, 1e-6)) - low) / (high - low)

    powers = range(math.floor(low), math.ceil(high) + 1)
    marks = [
        times * 10.0**power
        for power in powers
        for times in (1, 2, 5)
        if low <= math.log10(times * 10.0**power) <= high
    ]
    if len(marks) < 3:  # a narrow range is nearly linear
        marks = ticks(10**low, 10**high)
    return _panel(curves, place, [(mark, f"{mark:g}") for mark in marks], title)


def share_curves(curves: Sequence[Curve], title: str) -> str:
    """Shares in percent as an SVG; the scale begins at the values late in the training."""
    late = [value for curve in curves for line in curve.values for value in line[len(line) // 3 :]]
    low = max(0.0, math.floor(min(late) * 10 - 0.5) / 10)  # a multiple of 10 %

    def place(value: float) -> float:
        return (value - low) / (1.0 - low)

    return _panel(
        curves, place, [(share, f"{100 * share:g} %") for share in ticks(low, 1.0)], title
    )


def plain_curves(curves: Sequence[Curve], title: str) -> str:
    """Values that should be low, as an SVG; the scale ends at the values late in the training."""
    every = [value for curve in curves for line in curve.values for value in line]
    late = [value for curve in curves for line in curve.values for value in line[len(line) // 5 :]]
    low, high = min(every), max(late)
    if high - low < 1e-9:
        low, high = low - 0.5, high + 0.5
    low, high = low - 0.05 * (high - low), high + 0.05 * (high - low)

    def place(value: float) -> float:
        return (value - low) / (high - low)

    return _panel(curves, place, [(value, f"{value:g}") for value in ticks(low, high)], title)


def _panel(
    curves: Sequence[Curve],
    place: Callable[[float], float],
    marks: Sequence[tuple[float, str]],
    title: str,
) -> str:
    epochs = max(len(line) for curve in curves for line in curve.values)
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(epoch: float) -> float:
        return LEFT + width * (epoch - 1) / max(epochs - 1, 1)

    def y(value: float) -> float:
        # A line beyond an edge runs just outside, where a cover hides it.
        return TOP + height * (1.0 - min(max(place(value), -0.2), 1.1))

    parts = [
        tag("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=short(y(mark)), y2=short(y(mark)))
        for mark, _ in marks
    ]
    parts += [_line(curve, x, y) for curve in curves]
    # A cover hides what leaves the picture; a clip path would need an id unique on the page.
    bottom = TOP + height + 1
    parts.append(tag("rect", class_="cover", x=0, y=bottom, width=WIDTH, height=HEIGHT - bottom))
    for value, text in marks:
        parts.append(
            tag("text", escape(text), x=LEFT - 8, y=short(y(value) + 4), text_anchor="end")
        )
    for mark in ticks(1, epochs) if epochs > 1 else [1]:
        epoch = max(round(mark), 1)
        parts.append(
            tag("text", str(epoch), x=short(x(epoch)), y=HEIGHT - BOTTOM + 18, text_anchor="middle")
        )
    parts.append(
        tag("text", "epoch", x=short(LEFT + width / 2), y=HEIGHT - 4, text_anchor="middle")
    )
    return drawing("".join(parts), width=WIDTH, height=HEIGHT, title=title)


def _line(curve: Curve, x: Callable[[float], float], y: Callable[[float], float]) -> str:
    # A seed that stopped early is in the mean up to its last epoch.
    by_epoch = [
        [value for value in values if value is not None] for values in zip_longest(*curve.values)
    ]
    means = [sum(values) / len(values) for values in by_epoch]
    path = _points(range(1, len(means) + 1), means, x, y)
    upper = _points(range(1, len(means) + 1), [max(values) for values in by_epoch], x, y)
    lower = _points(range(len(means), 0, -1), [min(values) for values in by_epoch][::-1], x, y)
    band = tag("polygon", class_=f"band {curve.slot}", points=f"{upper} {lower}")
    if len(means) == 1:  # a single epoch has no line
        cx, cy = path.split(",")
        return tag("circle", class_=f"dot {curve.slot}", cx=cx, cy=cy, r=3)
    line = tag(
        "polyline", tag("title", escape(curve.name)), class_=f"line {curve.slot}", points=path
    )
    return band + line


def _points(
    epochs: range,
    values: Sequence[float],
    x: Callable[[float], float],
    y: Callable[[float], float],
) -> str:
    return " ".join(
        f"{short(x(epoch))},{short(y(value))}" for epoch, value in zip(epochs, values, strict=True)
    )
