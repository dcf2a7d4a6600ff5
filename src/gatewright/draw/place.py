"""Place: where each figure of a picture stands, on a grid of UNIT pixels.

From top to bottom: the memories as lines, the operations, the learned boxes in one row,
and the wires that feed the boxes. From left to right: what feeds a line's first figure,
that figure, what feeds the second, and so on; a gate rises from its box into the
operation above it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from gatewright.draw.measure import text_width
from gatewright.draw.picture import TERMINALS, Figure, Picture

UNIT = 16
#: Operations stand upon each other up to this level, then beside each other.
HIGHEST = 3
#: Font sizes in pixels: signs, names on wires, the small print of a box.
SIGN, NAME, SMALL = 16, 15, 12


class Point(NamedTuple):
    """A point of the grid, x to the right and y down, or a direction on it."""

    x: int
    y: int


UP, DOWN, LEFT, RIGHT = Point(0, -1), Point(0, 1), Point(-1, 0), Point(1, 0)


@dataclass(frozen=True)
class Place:
    """A figure's rectangle in grid units, and from where its name is written.

    `label` is the row's left end; the name stands centred on that row.
    """

    left: int
    top: int
    width: int
    height: int
    label: Point
    label_units: int

    @property
    def middle(self) -> Point:
        return Point(self.left + self.width // 2, self.top + self.height // 2)

    def covers(self) -> set[Point]:
        """The grid points on the figure and under its name."""
        body = {
            Point(x, y)
            for x in range(self.left, self.left + self.width + 1)
            for y in range(self.top, self.top + self.height + 1)
        }
        return body | {
            Point(self.label.x + step, self.label.y) for step in range(self.label_units + 1)
        }


@dataclass(frozen=True)
class Places:
    """All places, and the ends of the wires that cross the cell's edge.

    Attributes:
        figures: Those that are drawn with a body.
        enters: Where event, inputs and states come in; `leaves` where each state goes out.
        output: Where the output goes up.
    """

    figures: dict[Figure, Place]
    enters: dict[Figure, Point]
    leaves: dict[str, Point]
    output: Point
    width: int
    height: int


def size(figure: Figure) -> tuple[int, int]:
    """Width (even) and height of a figure."""
    if figure.kind == "learned":
        widest = max(
            text_width(figure.sign, SIGN + 2),
            text_width(figure.tag, SMALL if figure.sign else SIGN),
        )
        ports = len(figure.inputs) + 2
        return max(4, _even((widest + 16) / UNIT), _even(ports)), 3
    width = text_width(figure.sign, SIGN)
    return (2 if width <= 1.35 * UNIT else _even((width + 20) / UNIT)), 2


def label_units(text: str) -> int:
    """How many units a name on a wire takes."""
    return math.ceil((text_width(text, NAME) + 6) / UNIT) if text else 0


def place(picture: Picture, edge_names: dict[str, str], room: int = 0) -> Places:
    """Give every figure its place.

    Args:
        edge_names: What is written at the ends of the wires, for the width of the margins.
        room: Further units between columns and rows, for wires that found no way.
    """
    columns, levels = _columns(picture)
    count = max(columns.values(), default=-1) + 1
    before, after, names = [0] * count, [0] * count, [0] * count
    for figure, column in columns.items():
        width, _ = size(figure)
        offset = 0 if figure.kind == "learned" else width // 2
        before[column] = max(before[column], width // 2)
        after[column] = max(after[column], width // 2)
        names[column] = max(names[column], offset + label_units(figure.label))
    margin = max(label_units(edge_names[name]) for name in picture.states) + 1
    gap = 3 + room
    middles: list[int] = []
    x = margin + 2
    for column in range(count):
        x += before[column]
        middles.append(x)
        # A name may stand in the gap, since it leaves one way beside it.
        x += max(after[column] + gap, names[column] + 1)
    pitch = 4 + room // 2
    deepest = max(levels.values(), default=0)
    lines = {index: 4 + 4 * index for index in range(len(picture.lines))}
    below = 4 * len(picture.lines) or 3
    box_top = below + pitch * (deepest + 1)
    bus = box_top + 3 + 3 + room // 2
    places: dict[Figure, Place] = {}
    joins = 0
    for figure, column in columns.items():
        width, height = size(figure)
        left = middles[column] - width // 2
        if figure.kind == "learned":
            top = box_top
            label = Point(middles[column] + 1, top - 1)
        else:
            if figure.kind == "join":
                middle = bus + 3 * (joins % 2)
                joins += 1
            elif figure.line is not None:
                middle = lines[figure.line]
            else:
                middle = box_top - pitch * levels[figure] + 1
            top = middle - 1
            label = Point(left + width, top)
        places[figure] = Place(left, top, width, height, label, label_units(figure.label))
    # The edges: memories at their lines, other states and what comes from below at the buses.
    enters: dict[Figure, Point] = {}
    leaves: dict[str, Point] = {}
    right = x + 3
    low = bus
    for name, state in picture.states.items():
        if state.line is not None:
            y = lines[state.line]
        else:
            y, low = low, low + 3
        enters[state], leaves[name] = Point(margin, y), Point(right, y)
    ground = max(low, bus + 3 * min(joins, 2)) + 1 + room
    taken: list[tuple[int, int]] = []
    for figure in picture.figures:
        if figure.kind in ("event", "input"):
            half = label_units(edge_names[figure.names[0]]) // 2 + 1
            foot = _foot(picture, figure, places, margin + 2)
            while any(foot - half < end and start < foot + half for start, end in taken):
                foot += 1
            taken.append((foot - half, foot + half))
            enters[figure] = Point(foot, ground)
    widest = max([right + margin, *(end + 1 for _, end in taken)])
    return Places(places, enters, leaves, Point(x, 1), widest, ground + 2)


def feet(figure: Figure, spot: Place) -> list[int]:
    """Where a box may be read from below: one place a wire, around its middle.

    Peepholes come in from the sides, as long as there is room.
    """
    peepholes = sum(one.diagonal for one in figure.inputs)
    wires = max(1, len(figure.inputs) - min(peepholes, 3))
    middle = spot.middle.x
    if wires % 2:
        return list(range(middle - wires // 2, middle + wires // 2 + 1))
    sides = range(1, wires // 2 + 1)
    return [*(middle - side for side in reversed(sides)), *(middle + side for side in sides)]


def _foot(picture: Picture, figure: Figure, places: dict[Figure, Place], default: int) -> int:
    """Below its first reader, so that it rises straight."""
    for reader in picture.figures:
        if any(one.source is figure for one in reader.inputs):
            place = places[reader]
            return feet(reader, place)[-1] if reader.kind == "learned" else place.middle.x
    return default


def _columns(picture: Picture) -> tuple[dict[Figure, int], dict[Figure, int]]:
    """Each figure's column, and the level of each operation: 1 just above the boxes."""
    columns: dict[Figure, int] = {}
    levels: dict[Figure, int] = {}
    grid: dict[tuple[int, int], Figure] = {}
    tops: list[Figure] = []
    ends: dict[int, int] = {}
    for figure in _visits(picture):
        sources = [
            one.source
            for one in figure.inputs
            if one.source.kind not in (*TERMINALS, "join") and one.source.line is None
        ]
        open_below = [one for one in sources if tops[columns[one]] is one]
        latest = max(open_below, key=lambda one: columns[one], default=None)
        column = len(tops)
        if figure.line is not None:
            if latest is not None and columns[latest] > ends.get(figure.line, -1):
                column = columns[latest]
            ends[figure.line] = column
        elif figure.kind in ("pointwise", "row", "source"):
            if latest is not None and (latest.kind == "learned" or levels[latest] < HIGHEST):
                column = columns[latest]
            level = max([1, *(levels.get(one, 0) for one in sources)])
            while (column, level) in grid or any(
                (between, level) in grid
                for one in sources
                if levels.get(one) == level
                for between in range(columns[one] + 1, column)
            ):
                level += 1
            if column < len(tops) and tops[column].kind != "learned":
                level = max(level, levels[tops[column]] + 1)
            levels[figure], grid[column, level] = level, figure
        if column == len(tops):
            tops.append(figure)
        tops[column] = figure
        columns[figure] = column
    _lift(picture, columns, levels, grid, tops)
    return columns, levels


def _lift(
    picture: Picture,
    columns: dict[Figure, int],
    levels: dict[Figure, int],
    grid: dict[tuple[int, int], Figure],
    tops: list[Figure],
) -> None:
    """Raise an operation to the level of its one reader, so that the wire between is straight."""
    readers: dict[Figure, list[Figure]] = {}
    for figure in picture.figures:
        for one in figure.inputs:
            readers.setdefault(one.source, []).append(figure)
    ends = {*picture.updates.values(), picture.output}
    for figure in reversed(list(levels)):
        column, level = columns[figure], levels[figure]
        [reader, *others] = readers.get(figure, [figure])
        if others or figure in ends or reader not in levels or tops[column] is not figure:
            continue
        target = levels[reader]
        beside = range(min(column, columns[reader]), max(column, columns[reader]) + 1)
        free = all(grid.get((one, target), reader) is reader for one in beside)
        if target > level and columns[reader] > column and free:
            del grid[column, level]
            levels[figure], grid[column, target] = target, figure


def _visits(picture: Picture) -> list[Figure]:
    """All figures with a body, each after those it reads, in order of their columns."""
    position = {figure: index for index, figure in enumerate(picture.figures)}
    on_lines = sorted(
        (f for line in picture.lines.values() for f in line), key=position.__getitem__
    )
    seen: set[Figure] = set()
    order: list[Figure] = []
    for root in (*on_lines, *picture.updates.values(), picture.output, *picture.figures):
        waiting = [(root, False)]
        while waiting:
            figure, ready = waiting.pop()
            if ready:
                order.append(figure)
            elif figure not in seen and figure.kind not in TERMINALS:
                seen.add(figure)
                waiting.append((figure, True))
                # Boxes last, so that the operation stands upon one.
                sources = [one.source for one in figure.inputs]
                sources.sort(key=lambda one: one.kind == "learned")
                waiting.extend((one, False) for one in reversed(sources))
    return order


def _even(units: float) -> int:
    return 2 * math.ceil(units / 2)
