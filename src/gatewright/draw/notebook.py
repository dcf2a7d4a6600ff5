"""Pictures for notebooks: a notebook shows a `Drawing` where it is the last value of a cell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from gatewright.draw.page.standalone import standalone
from gatewright.draw.plots.chart import Axis, Line, chart
from gatewright.errors import ArgumentError

__all__ = ["Drawing", "lines"]

#: The colours of lines in the style of the pages.
SLOTS = tuple(f"n{number}" for number in range(1, 8))
#: The lowest value on a logarithmic scale; what is lower lies on the axis.
LOWEST = 1e-6


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture in SVG, which notebooks show.

    >>> import gatewright as gw
    >>> picture = Drawing(gw.CELLS["lstm"]().svg())
    """

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return "a picture, shown by notebooks"


def lines(
    curves: Mapping[str, Iterable[float]], *, x: str = "step", log: bool = False, first: int = 0
) -> Drawing:
    """Draw lines over a common axis of steps, with a legend.

    >>> lines({"kept": [1.0, 0.5, 0.25]}, x="steps later")
    a picture, shown by notebooks

    Args:
        curves: Names, and the values of each line: numbers, or a tensor with one axis.
        x: The title of the axis of steps.
        log: Whether the values have a logarithmic scale.
        first: The number of the first step.

    Raises:
        ArgumentError: if there are no lines, more than 7, or one that is empty.
    """
    values = {name: [float(value) for value in line] for name, line in curves.items()}
    if not 1 <= len(values) <= len(SLOTS) or not all(values.values()):
        raise ArgumentError(
            f"lines has {len(values)} curves of {[*map(len, values.values())]} values; "
            f"expected 1 to {len(SLOTS)} curves with at least one value each"
        )
    numbers = [value for line in values.values() for value in line]
    low, high = min(numbers), max(numbers)
    if log:
        low = max(low, LOWEST)
        y = Axis(low, max(high, low * 10), "", "log")
    else:
        low, high = min(low, 0.0), max(high, low + 1e-6)
        y = Axis(low, high, "")
    longest = max(map(len, values.values()))
    legend = list(zip(SLOTS, values, strict=False))
    drawn = [
        Line(name, slot, [(first + k, value) for k, value in enumerate(values[name])], dots=True)
        for slot, name in legend
    ]
    across = Axis(first, first + max(longest - 1, 1), x)
    return Drawing(standalone(chart(drawn, across, y, ", ".join(values)), legend))
