"""Heat maps: units from top to bottom, time from left to right, one colour a level.

Factors between 0 and 1 stand on a sequential scale whose domain is always [0, 1];
signed values on a diverging one around 0. The colours are the page's (`s0`..`s10` and
`d0`..`d20`), so that light and dark each have their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gatewright.draw.page.elements import escape, short, tag

SEQUENTIAL = 10  # the highest level; level 0 is 0 and this one is 1
DIVERGING = 10  # levels on either side of the middle one
MOST_NAMES = 12  # rows of a map that have room for a name


@dataclass(frozen=True, slots=True)
class HeatMap:
    """One named value of one recording, over all units and steps."""

    name: str
    meaning: str  # a few words, under the name
    kind: Literal["factor", "signed"]
    values: Sequence[Sequence[float]]  # [time][unit]
    rows: Sequence[str] = ()  # names of the rows, where they have any
    steps: Sequence[str] = ()  # names of the steps, such as times; their numbers unless given

    @property
    def limit(self) -> float:
        """The end of a signed scale: 1, or the next round number that holds all values."""
        most = max(abs(value) for step in self.values for value in step)
        if most <= 1.0:
            return 1.0
        return math.ceil(most * 2) / 2

    def levels(self) -> list[list[int]]:
        """[time][unit], which of the scale's colours."""
        if self.kind == "factor":
            return [
                [round(min(max(value, 0.0), 1.0) * SEQUENTIAL) for value in step]
                for step in self.values
            ]
        limit = self.limit  # passes over all values, so it is taken once
        return [
            [DIVERGING + round(value / limit * DIVERGING) for value in step] for step in self.values
        ]


def heat_map(given: HeatMap, *, rows: str = "units") -> str:
    """The map with its name and scale, as a figure of the page.

    Its means over the units stand in `data-means`, for the page's cursor.
    """
    steps, units = len(given.values), len(given.values[0])
    low, high = ("0", "1") if given.kind == "factor" else _ends(given.limit)
    means = " ".join(f"{round(sum(step) / len(step), 2) + 0.0:.2f}" for step in given.values)
    svg = tag(
        "svg",
        tag("title", escape(f"{given.name}: {units} {rows} over {steps} steps")) + _cells(given),
        viewBox=f"0 0 {steps} {units}",
        preserveAspectRatio="none",
        shape_rendering="crispEdges",
        role="img",
        xmlns="http://www.w3.org/2000/svg",
    )
    head = tag("b", escape(given.name)) + tag("span", escape(given.meaning))
    ramp = tag("i", "", class_="ramp-" + given.kind)
    scale = tag("div", low + ramp + high + tag("output", ""), class_="scale")
    cells = tag("div", svg + tag("div", "", class_="cursor"), class_="cells", data_steps=steps)
    if given.rows:
        cells = tag("div", _row_names(given.rows) + cells, class_="named")
    return tag(
        "figure",
        tag("figcaption", head) + cells + time_axis(steps, given.steps) + scale,
        class_="map",
        data_name=given.name,
        data_means=means,
    )


def time_axis(count: int, names: Sequence[str] = ()) -> str:
    """The first and the last step under a map, by name or by number."""
    first, last = (names[0], names[-1]) if names else ("step 1", f"step {count}")
    ends = tag("span", escape(first))
    if count > 1:
        ends += tag("span", escape(last))
    return tag("div", ends, class_="axis")


def _row_names(names: Sequence[str]) -> str:
    """A name beside each row, or beside every few where there are many."""
    every = -(-len(names) // MOST_NAMES)
    items = [
        tag("li", escape(name) if at % every == 0 else "", title=name)
        for at, name in enumerate(names)
    ]
    return tag("ol", "".join(items), class_="rows")


def unit_order(values: Sequence[Sequence[float]]) -> list[int]:
    """Units by their mean over time, highest first, for maps that share one order."""
    means = [sum(unit) / len(unit) for unit in zip(*values, strict=True)]
    return sorted(range(len(means)), key=lambda unit: -means[unit])


def _cells(given: HeatMap) -> str:
    """One path a level: runs of equal steps in a row become one rectangle."""
    letter = "s" if given.kind == "factor" else "d"
    levels = given.levels()
    paths: dict[int, list[str]] = {}
    for unit in range(len(levels[0])):
        start = 0
        for step in range(1, len(levels) + 1):
            if step == len(levels) or levels[step][unit] != levels[start][unit]:
                run = f"M{start} {unit}h{step - start}v1H{start}z"
                paths.setdefault(levels[start][unit], []).append(run)
                start = step
    return "".join(
        tag("path", class_=f"{letter}{level}", d="".join(paths[level])) for level in sorted(paths)
    )


def _ends(limit: float) -> tuple[str, str]:
    return f"−{short(limit)}", short(limit)
