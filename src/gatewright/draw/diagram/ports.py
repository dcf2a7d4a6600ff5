"""Ports: where wires may touch a figure."""

from __future__ import annotations

from collections.abc import Mapping

from gatewright.draw.diagram.figures import Figure, Picture
from gatewright.draw.diagram.place import DOWN, LEFT, RIGHT, UP, Place, Places, Point, feet
from gatewright.draw.diagram.route import DIRECTIONS

#: Points, each with the direction out of the figure.
Sides = Mapping[Point, Point]
#: What a box's left or right side costs.
SIDE = 4.0


def all_ports(places: Places) -> dict[Figure, Sides]:
    """The ports of every figure, of those at the cell's edge too."""
    found: dict[Figure, Sides] = {
        figure: _ports(figure, spot) for figure, spot in places.figures.items()
    }
    for figure, point in places.enters.items():
        found[figure] = {point: RIGHT if figure.kind == "state" else UP}
    return found


def _ports(figure: Figure, spot: Place) -> Sides:
    """Where wires may touch a figure, each with the direction out of it."""
    left, top = spot.left, spot.top
    right, bottom = left + spot.width, top + spot.height
    if figure.kind == "learned":
        found = {Point(x, bottom): DOWN for x in feet(figure, spot)}
        found |= {Point(left, y): LEFT for y in range(top + 1, bottom)}
        found |= {Point(right, y): RIGHT for y in range(top + 1, bottom)}
        return found | {Point(spot.middle.x, top): UP}
    sides = {side(spot, out): out for out in DIRECTIONS}
    if len(figure.inputs) < len(DIRECTIONS):
        return sides
    # A join of more than it has sides is read along its foot.
    return sides | {Point(x, bottom): DOWN for x in range(left + 1, right)}


def side(spot: Place, out: Point) -> Point:
    """The middle of one side."""
    middle = spot.middle
    return Point(middle.x + out.x * spot.width // 2, middle.y + out.y * spot.height // 2)


def leaving(figure: Figure, ports: Sides) -> Sides:
    """The ports that a figure's own value may leave by."""
    sides = {"learned": (UP, RIGHT), "join": (RIGHT,)}.get(figure.kind, DIRECTIONS)
    return {port: out for port, out in ports.items() if out in sides}


def entering(figure: Figure, ports: Sides) -> Sides:
    """The ports that a figure may be read through."""
    shut = {"learned": UP, "join": RIGHT}.get(figure.kind)
    return {port: out for port, out in ports.items() if out != shut}


def costs(picture: Picture, ports: Mapping[Figure, Sides]) -> dict[Point, float]:
    """Boxes are read from below and give upwards, unless that is a long way round."""
    return {
        port: SIDE
        for figure in picture.figures
        if figure.kind == "learned"
        for port, out in ports[figure].items()
        if out in (LEFT, RIGHT)
    }
