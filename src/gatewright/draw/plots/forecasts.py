"""Forecasts and the truth: the past, the true values, the median and intervals around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gatewright.draw.page.elements import drawing, escape, figure, scrolling, short, tag, ticks
from gatewright.draw.page.page import Section

WIDTH, HEIGHT = 520.0, 240.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 10.0, 26.0


@dataclass(frozen=True, slots=True)
class DrawnForecast:
    """A forecast of one target from one moment."""

    target: str
    times: Sequence[str]  # of the past, then of the forecast
    past: Sequence[float]
    truth: Sequence[float]  # the values that came
    quantiles: Sequence[Sequence[float]]  # [level][step], from the lowest to the highest
    series: str = ""  # its name, if there are several


def of(forecast: DrawnForecast) -> str:
    """` of oslo`, if there are several series."""
    return f" of {forecast.series}" if forecast.series else ""


def forecast_section(
    forecasts: Sequence[DrawnForecast], targets: Mapping[str, Mapping[str, float]], whose: str
) -> Section:
    """Pictures of forecasts, and the errors of each target in its own units.

    Args:
        targets: By the target's name its `mae`, `crps` and `coverage` of the 80 % interval.
        whose: A sentence about which model it is.
    """
    panels = "".join(
        figure(
            forecast_picture(forecast),
            tag("b", escape(forecast.target))
            + f"{escape(of(forecast))} · from {escape(forecast.times[len(forecast.past)])} on",
        )
        for forecast in forecasts
    )
    key = tag(
        "ul",
        "".join(
            tag("li", tag("i", "", class_=f"swatch {kind}") + text)
            for kind, text in (
                ("truth", "the past and the truth"),
                ("median", "the median of the forecast"),
                ("inside", "80 % interval and, darker, 40 %"),
            )
        ),
        class_="legend",
    )
    head = "".join(
        tag("th", text, scope="col", class_="number" if column else None)
        for column, text in enumerate(("target", "mean absolute error", "CRPS", "inside 80 %"))
    )
    rows = "".join(
        tag(
            "tr",
            tag("th", escape(name), scope="row")
            + tag("td", f"{errors['mae']:.3g}", class_="number")
            + tag("td", f"{errors['crps']:.3g}", class_="number")
            + tag("td", f"{100 * errors['coverage']:.1f} %", class_="number"),
        )
        for name, errors in targets.items()
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
        "Forecasts and the truth",
        key + tag("div", panels, class_="panels") + scrolling(table, "errors of each target"),
        lead="From moments spread evenly over the test part, not selected by how good they look. "
        + ("Only the first four targets are drawn." if len(targets) > 4 else ""),
    )


def forecast_picture(forecast: DrawnForecast) -> str:
    """A forecast as an SVG."""
    steps, history = len(forecast.times), len(forecast.past)
    quantiles = forecast.quantiles
    every = [*forecast.past, *forecast.truth, *quantiles[0], *quantiles[-1]]
    low, high = min(every), max(every)
    margin = 0.05 * (high - low) or 0.5
    low, high = low - margin, high + margin

    def x(step: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * step / max(steps - 1, 1)

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    def points(first: int, values: Sequence[float]) -> str:
        return " ".join(
            f"{short(x(step))},{short(y(value))}" for step, value in enumerate(values, first)
        )

    def band(lower: Sequence[float], upper: Sequence[float]) -> str:
        back = " ".join(reversed(points(history, upper).split(" ")))
        return tag("polygon", class_="band inside", points=points(history, lower) + " " + back)

    parts = []
    for mark in ticks(low, high, most=4):
        height = short(y(mark))
        parts.append(tag("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=height, y2=height))
        parts.append(tag("text", f"{mark:g}", x=LEFT - 8, y=short(y(mark) + 4), text_anchor="end"))
    median = len(quantiles) // 2
    parts.append(band(quantiles[0], quantiles[-1]))
    parts.append(band(quantiles[median - 2], quantiles[median + 2]))
    now = short(x(history - 0.5))
    parts.append(tag("line", class_="grid", x1=now, x2=now, y1=TOP, y2=HEIGHT - BOTTOM))
    parts.append(
        tag("polyline", class_="line truth", points=points(0, [*forecast.past, *forecast.truth]))
    )
    middle = quantiles[median]
    parts.append(tag("polyline", class_="line median", points=points(history, middle)))
    if len(middle) == 1:  # a single step has no line
        cx, cy = points(history, middle).split(",")
        parts.append(tag("circle", class_="dot median", cx=cx, cy=cy, r=3.5))
    for step, anchor in ((0, "start"), (history, "middle")):
        parts.append(
            tag(
                "text",
                escape(forecast.times[step]),
                x=short(x(step)),
                y=HEIGHT - 6,
                text_anchor=anchor,
            )
        )
    title = f"{forecast.target}{of(forecast)}: forecast from {forecast.times[history]} on"
    return drawing("".join(parts), width=WIDTH, height=HEIGHT, title=title)
