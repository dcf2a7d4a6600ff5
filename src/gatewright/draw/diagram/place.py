"""Place the figures of a picture on a grid of UNIT pixels.

From top to bottom: the memories as lines, the operations, the learned boxes in one row,
and the wires that lead to the boxes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from gatewright.draw.diagram.columns import Grid
from gatewright.draw.diagram.figures import Figure, Picture
from gatewright.draw.diagram.measure import text_width

UNIT = 16
#: More columns than this are placed closer together.
ROOMY = 8
#: Font sizes in pixels: signs, names on wires, the small print of a box.
SIGN, NAME, SMALL = 16, 15, 13


class Point(NamedTuple):
    """A point of the grid, x to the right and y down, or a direction on the grid."""

    x: int
    y: int


UP, DOWN, LEFT, RIGHT = Point(0, -1), Point(0, 1), Point(-1, 0), Point(1, 0)


@dataclass(frozen=True)
class FigurePlace:
    """A figure's rectangle in grid units, and the place of its name.

    The name begins at `label`, is centred on that row and takes `label_units` units.
    """

    left: int
    top: int
    width: int
    height: int
    label: Point
    label_units: int

    @property
    def middle(self) -> Point:
        """The middle of the rectangle."""
        return Point(self.left + self.width // 2, self.top + self.height // 2)

    def covers(self) -> set[Point]:
        """The grid points under the figure and under its name."""
        body = {
            Point(x, y)
            for x in range(self.left, self.left + self.width + 1)
            for y in range(self.top, self.top + self.height + 1)
        }
        return body | {
            Point(self.label.x + step, self.label.y) for step in range(self.label_units + 1)
        }


class CellFrame(NamedTuple):
    """The rectangle around an inner cell in grid units, with the cell's name above it."""

    name: str
    left: float
    top: float
    right: float
    bottom: float
    label: Point


@dataclass(frozen=True)
class FigurePlaces:
    """All places, and the ends of the wires that cross the edge of the cell.

    Attributes:
        figures: The places of figures with a body.
        enters: The points where event, inputs and states come in; `leaves` those where the
            states go out.
        output: The point where the output goes up.
        frames: The frames around inner cells.
    """

    figures: dict[Figure, FigurePlace]
    enters: dict[Figure, Point]
    leaves: dict[str, Point]
    output: Point
    frames: tuple[CellFrame, ...]
    width: int
    height: int


def size(figure: Figure) -> tuple[int, int]:
    """The width and height of a figure in units; the width is even, so it has a middle."""
    if figure.kind == "learned":
        widest = max(
            text_width(figure.sign, SIGN + 2),
            text_width(figure.tag, SMALL if figure.sign else SIGN),
        )
        ports = len(figure.inputs) + 2
        return max(4, _even((widest + 16) / UNIT), _even(ports)), 3
    width = text_width(figure.sign, SIGN)
    least = len(figure.inputs) if figure.kind == "join" else 2
    return (2 if width <= 1.35 * UNIT else max(_even(least), _even((width + 20) / UNIT))), 2


def label_units(text: str) -> int:
    """The units that a name on a wire takes."""
    return math.ceil((text_width(text, NAME) + 6) / UNIT) if text else 0


def place(
    picture: Picture, grid: Grid, edge_names: Mapping[str, str], room: int = 0
) -> FigurePlaces:
    """Give every figure its place on the grid.

    Args:
        edge_names: The texts at the ends of the wires, which set the width of the margins.
        room: Additional units between columns and rows, if some wire found no way.
    """
    columns, levels, framed = grid.columns, grid.levels, grid.bands
    margin = max(label_units(edge_names[name]) for name in picture.states) + 1
    middles, end = _middles(columns, margin + 2, room, framed)
    # The rows: names and frames above the lines, then the operations, the boxes, the buses.
    top = 5 if framed else 4
    lines = {index: top + 4 * index for index in range(len(picture.lines))}
    pitch = 4 + room // 2  # of the levels of operations
    above = max(lines.values(), default=top - 1)
    box_top = above + pitch * (max(levels.values(), default=0) + 1)
    bus = box_top + 6 + room // 2
    places: dict[Figure, FigurePlace] = {}
    for figure, column in columns.items():
        width, height = size(figure)
        if figure.kind == "learned":
            first = box_top
        elif figure.kind == "join":
            first = bus - 1
        elif figure.line is not None:
            first = lines[figure.line] - 1
        else:
            first = box_top - pitch * levels[figure]
        left = middles[column] - width // 2
        label = Point(left + width, first)
        if figure.kind == "learned":
            label = Point(middles[column] + 1, first - 1)
        units = label_units(figure.label)
        places[figure] = FigurePlace(left, first, width, height, label, units)
    right = end + 3
    enters: dict[Figure, Point] = {}
    leaves: dict[str, Point] = {}
    low = bus
    for name, state in picture.states.items():
        if state.line is not None:
            y = lines[state.line]
        else:
            y, low = low, low + 3
        enters[state], leaves[name] = Point(margin, y), Point(right, y)
    ground = max(low, bus + 3) + 1 + room
    entries = _entries(picture, places, edge_names, margin + 2, ground)
    edges = [right + margin, *(x + 1 + label_units(name) for (x, _), name in entries.values())]
    return FigurePlaces(
        figures=places,
        enters=enters | {figure: point for figure, (point, _) in entries.items()},
        leaves=leaves,
        output=Point(end, 1),
        frames=tuple(_frames(framed, places, columns, top, box_top + 3)),
        width=max(edges),
        height=ground + 2,
    )


def _middles(
    columns: Mapping[Figure, int], x: int, room: int, framed: Mapping[str, tuple[int, int]]
) -> tuple[list[int], int]:
    """The middle of each column, and the beginning of the next one."""
    count = max(columns.values(), default=-1) + 1
    reach, names = [0] * count, [0] * count
    for figure, column in columns.items():
        width, _ = size(figure)
        offset = 0 if figure.kind == "learned" else width // 2
        reach[column] = max(reach[column], width // 2)
        names[column] = max(names[column], offset + label_units(figure.label))
    gap = (3 if count <= ROOMY else 2) + room
    middles: list[int] = []
    for column in range(count):
        x += sum(column == first for first, _ in framed.values())
        middles.append(x + reach[column])
        # A name may use the gap: it leaves one free way next to it.
        x = middles[-1] + max(reach[column] + gap, names[column] + 1)
        x += sum(column == last for _, last in framed.values())
    return middles, x


def _entries(
    picture: Picture,
    places: Mapping[Figure, FigurePlace],
    edge_names: Mapping[str, str],
    default: int,
    ground: int,
) -> dict[Figure, tuple[Point, str]]:
    """The points where event and inputs come in, and their texts."""
    entries: dict[Figure, tuple[Point, str]] = {}
    taken: list[tuple[int, int]] = []
    for figure in picture.figures:
        if figure.kind in ("event", "input"):
            name = edge_names[figure.names[0]]
            half = label_units(name) // 2 + 1
            foot = max(_foot(picture, figure, places, default), half)
            # Move right until the texts of two entries do not overlap.
            while any(foot - half < end and start < foot + half for start, end in taken):
                foot += 1
            taken.append((foot - half, foot + half))
            entries[figure] = Point(foot, ground), name
    return entries


def _frames(
    framed: Mapping[str, tuple[int, int]],
    places: Mapping[Figure, FigurePlace],
    columns: Mapping[Figure, int],
    top: int,
    bottom: int,
) -> Iterator[CellFrame]:
    for name, (first, last) in framed.items():
        spots = [places[figure] for figure, k in columns.items() if first <= k <= last]
        left = min(spot.left for spot in spots) - 1
        right = max(max(spot.left + spot.width, spot.label.x + spot.label_units) for spot in spots)
        yield CellFrame(name, left, top - 2.2, right + 0.5, bottom + 0.8, Point(left, top - 3))


def feet(figure: Figure, spot: FigurePlace) -> list[int]:
    """The columns where wires may enter a box from below, around its middle.

    Wires that come down from a memory enter at the sides, as long as there is room.
    """
    from_above = sum(wire.diagonal or wire.source.line is not None for wire in figure.inputs)
    wires = max(1, len(figure.inputs) - min(from_above, 3))
    middle = spot.middle.x
    if wires % 2:
        return list(range(middle - wires // 2, middle + wires // 2 + 1))
    sides = range(1, wires // 2 + 1)
    return [*(middle - side for side in reversed(sides)), *(middle + side for side in sides)]


def _foot(
    picture: Picture, figure: Figure, places: Mapping[Figure, FigurePlace], default: int
) -> int:
    """The column below the first reader of an entry, so that its wire is straight."""
    for reader in picture.figures:
        if any(wire.source is figure for wire in reader.inputs):
            place = places[reader]
            return feet(reader, place)[-1] if reader.kind == "learned" else place.middle.x
    return default


def _even(units: float) -> int:
    return 2 * math.ceil(units / 2)
