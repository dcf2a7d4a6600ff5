"""Forecasts beside what came: the past, the truth, the median and the interval around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gatewright.draw.page.elements import drawing, escape, figure, scrolling, short, tag, ticks
from gatewright.draw.page.page import Section

WIDTH, HEIGHT = 520.0, 240.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 10.0, 26.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """One forecast of one target from one moment."""

    target: str
    times: Sequence[str]  # of the past and then of what came
    past: Sequence[float]
    truth: Sequence[float]  # what came
    quantiles: Sequence[Sequence[float]]  # [level][step], from the lowest to the highest
    series: str = ""  # which one it is of, where there are several


def of(one: Drawn) -> str:
    """` of oslo`, where there are several series."""
    return f" of {one.series}" if one.series else ""


def forecast_section(
    drawn: Sequence[Drawn], targets: Mapping[str, Mapping[str, float]], whose: str
) -> Section:
    """Forecasts of a report, and the errors of each target in its own units."""
    panels = "".join(
        figure(
            forecast_picture(one),
            tag("b", escape(one.target))
            + f"{escape(of(one))} · from {escape(one.times[len(one.past)])} on",
        )
        for one in drawn
    )
    key = tag(
        "ul",
        "".join(
            tag("li", tag("i", "", class_=f"swatch {kind}") + text)
            for kind, text in (
                ("truth", "what was and what came"),
                ("median", "the forecast, its median"),
                ("inside", "80 % interval and, darker, 40 %"),
            )
        ),
        class_="legend",
    )
    head = "".join(
        tag("th", text, scope="col", class_="number" if at else None)
        for at, text in enumerate(("target", "mean absolute error", "CRPS", "inside 80 %"))
    )
    rows = "".join(
        tag(
            "tr",
            tag("th", escape(name), scope="row")
            + tag("td", f"{one['mae']:.3g}", class_="number")
            + tag("td", f"{one['crps']:.3g}", class_="number")
            + tag("td", f"{100 * one['coverage']:.1f} %", class_="number"),
        )
        for name, one in targets.items()
    )
    table = tag(
        "table",
        tag("caption", "Errors in each target's own units. " + escape(whose))
        + tag("thead", tag("tr", head))
        + tag("tbody", rows),
        class_="result",
    )
    return Section(
        "forecasts",
        "Forecasts beside what came",
        key + tag("div", panels, class_="panels") + scrolling(table, "errors of each target"),
        said="From moments spread evenly over the test part, not picked by how well they look. "
        + ("Of the targets the first four are drawn." if len(targets) > 4 else ""),
    )


def forecast_picture(one: Drawn) -> str:
    """One forecast, as an SVG."""
    steps, history = len(one.times), len(one.past)
    every = [*one.past, *one.truth, *one.quantiles[0], *one.quantiles[-1]]
    low, high = min(every), max(every)
    margin = 0.05 * (high - low) or 0.5
    low, high = low - margin, high + margin

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / max(steps - 1, 1)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    def points(first: int, values: Sequence[float]) -> str:
        return " ".join(
            f"{short(x(first + at))},{short(y(value))}" for at, value in enumerate(values)
        )

    def band(lower: Sequence[float], upper: Sequence[float]) -> str:
        back = " ".join(reversed(points(history, upper).split(" ")))
        return tag("polygon", class_="band inside", points=points(history, lower) + " " + back)

    parts = []
    for mark in ticks(low, high, most=4):
        at = short(y(mark))
        parts.append(tag("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at))
        parts.append(tag("text", f"{mark:g}", x=LEFT - 8, y=short(y(mark) + 4), text_anchor="end"))
    count = len(one.quantiles)
    parts.append(band(one.quantiles[0], one.quantiles[-1]))
    parts.append(band(one.quantiles[count // 2 - 2], one.quantiles[count // 2 + 2]))
    now = short(x(history - 0.5))
    parts.append(tag("line", class_="grid", x1=now, x2=now, y1=TOP, y2=HEIGHT - BOTTOM))
    parts.append(tag("polyline", class_="line truth", points=points(0, [*one.past, *one.truth])))
    middle = one.quantiles[count // 2]
    parts.append(tag("polyline", class_="line median", points=points(history, middle)))
    if len(middle) == 1:  # a single step has no line
        at_x, at_y = points(history, middle).split(",")
        parts.append(tag("circle", class_="dot median", cx=at_x, cy=at_y, r=3.5))
    for step, anchor in ((0, "start"), (history, "middle")):
        parts.append(
            tag("text", escape(one.times[step]), x=short(x(step)), y=HEIGHT - 6, text_anchor=anchor)
        )
    title = f"{one.target}{of(one)}: forecast from {one.times[history]} on"
    return drawing("".join(parts), width=WIDTH, height=HEIGHT, title=title)
