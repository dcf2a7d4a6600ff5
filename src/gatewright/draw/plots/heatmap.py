"""Heat maps: units from top to bottom, time from left to right, a colour for each level.

Factors between 0 and 1 have a sequential scale over exactly [0, 1], signed values a diverging
scale around 0. The page defines the colours (`s0`..`s10` and `d0`..`d20`), so that light and
dark have their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gatewright.draw.page.elements import escape, short, tag

SEQUENTIAL = 10  # the highest level; level 0 is 0 and this one is 1
DIVERGING = 10  # levels on either side of the middle one
MAX_ROW_NAMES = 12  # rows of a map that have room for a name


@dataclass(frozen=True, slots=True)
class HeatMap:
    """A named value of a recording, over all units and steps."""

    name: str
    meaning: str  # a few words, under the name
    kind: Literal["factor", "signed"]
    values: Sequence[Sequence[float]]  # [time][unit]
    rows: Sequence[str] = ()  # names of the rows, if any
    steps: Sequence[str] = ()  # names of the steps, such as times; their numbers by default

    @property
    def limit(self) -> float:
        """The end of a signed scale: 1, or the next multiple of 0.5 above all values."""
        largest = max(abs(value) for step in self.values for value in step)
        if largest <= 1.0:
            return 1.0
        return math.ceil(largest * 2) / 2

    def levels(self) -> list[list[int]]:
        """The level on the scale of colours, [time][unit]."""
        if self.kind == "factor":
            return [
                [round(min(max(value, 0.0), 1.0) * SEQUENTIAL) for value in step]
                for step in self.values
            ]
        limit = self.limit  # a property that reads all values
        return [
            [DIVERGING + round(value / limit * DIVERGING) for value in step] for step in self.values
        ]


def heat_map(data: HeatMap, *, rows: str = "units") -> str:
    """The map with its name and scale, as a figure of the page.

    The attribute `data-means` has its means over the units, for the page's cursor.
    """
    steps, units = len(data.values), len(data.values[0])
    low, high = ("0", "1") if data.kind == "factor" else _ends(data.limit)
    means = " ".join(f"{round(sum(step) / len(step), 2) + 0.0:.2f}" for step in data.values)
    svg = tag(
        "svg",
        tag("title", escape(f"{data.name}: {units} {rows} over {steps} steps")) + _cells(data),
        viewBox=f"0 0 {steps} {units}",
        preserveAspectRatio="none",
        shape_rendering="crispEdges",
        role="img",
        xmlns="http://www.w3.org/2000/svg",
    )
    head = tag("b", escape(data.name)) + tag("span", escape(data.meaning))
    ramp = tag("i", "", class_="ramp-" + data.kind)
    scale = tag("div", low + ramp + high + tag("output", ""), class_="scale")
    cells = tag("div", svg + tag("div", "", class_="cursor"), class_="cells", data_steps=steps)
    if data.rows:
        cells = tag("div", _row_names(data.rows) + cells, class_="named")
    return tag(
        "figure",
        tag("figcaption", head) + cells + time_axis(steps, data.steps) + scale,
        class_="map",
        data_name=data.name,
        data_means=means,
    )


def time_axis(count: int, names: Sequence[str] = ()) -> str:
    """The first and the last step below a map, by name or by number."""
    first, last = (names[0], names[-1]) if names else ("step 1", f"step {count}")
    ends = tag("span", escape(first))
    if count > 1:
        ends += tag("span", escape(last))
    return tag("div", ends, class_="axis")


def _row_names(names: Sequence[str]) -> str:
    """A name for each row, or for every few rows if there are many."""
    every = -(-len(names) // MAX_ROW_NAMES)
    items = [
        tag("li", escape(name) if row % every == 0 else "", title=name)
        for row, name in enumerate(names)
    ]
    return tag("ol", "".join(items), class_="rows")


def unit_order(values: Sequence[Sequence[float]]) -> list[int]:
    """The units by their mean over time, the highest first, as a common order of several maps."""
    means = [sum(unit) / len(unit) for unit in zip(*values, strict=True)]
    return sorted(range(len(means)), key=lambda unit: -means[unit])


def _cells(data: HeatMap) -> str:
    """A path for each level; equal levels that follow each other in a row are one rectangle."""
    letter = "s" if data.kind == "factor" else "d"
    levels = data.levels()
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
