"""Ports: the points where wires may touch a figure."""

from __future__ import annotations

from collections.abc import Mapping

from gatewright.draw.diagram.figures import Figure, Picture
from gatewright.draw.diagram.place import (
    DOWN,
    LEFT,
    RIGHT,
    UP,
    FigurePlace,
    FigurePlaces,
    Point,
    feet,
)
from gatewright.draw.diagram.route import DIRECTIONS

#: Points, each with the direction out of the figure.
Sides = Mapping[Point, Point]
#: The additional cost of using the left or right side of a box.
SIDE = 4.0


def all_ports(places: FigurePlaces) -> dict[Figure, Sides]:
    """The ports of every figure, including those at the edge of the cell."""
    ports: dict[Figure, Sides] = {
        figure: _ports(figure, spot) for figure, spot in places.figures.items()
    }
    for figure, point in places.enters.items():
        ports[figure] = {point: RIGHT if figure.kind == "state" else UP}
    return ports


def _ports(figure: Figure, spot: FigurePlace) -> Sides:
    """The ports of a figure with a body, each with the direction out of it."""
    left, top = spot.left, spot.top
    right, bottom = left + spot.width, top + spot.height
    if figure.kind == "learned":
        ports = {Point(x, bottom): DOWN for x in feet(figure, spot)}
        ports |= {Point(left, y): LEFT for y in range(top + 1, bottom)}
        ports |= {Point(right, y): RIGHT for y in range(top + 1, bottom)}
        return ports | {Point(spot.middle.x, top): UP}
    sides = {side(spot, out): out for out in DIRECTIONS}
    if len(figure.inputs) < len(DIRECTIONS):
        return sides
    # A join of more sources than sides is entered from below.
    return sides | {Point(x, bottom): DOWN for x in range(left + 1, right)}


def side(spot: FigurePlace, out: Point) -> Point:
    """The middle of the side in a direction."""
    middle = spot.middle
    return Point(middle.x + out.x * spot.width // 2, middle.y + out.y * spot.height // 2)


def leaving(figure: Figure, ports: Sides) -> Sides:
    """The ports by which a figure's value may leave."""
    sides = {"learned": (UP, RIGHT), "join": (RIGHT,)}.get(figure.kind, DIRECTIONS)
    return {port: out for port, out in ports.items() if out in sides}


def entering(figure: Figure, ports: Sides) -> Sides:
    """The ports by which a wire may enter a figure."""
    closed = {"learned": UP, "join": RIGHT}.get(figure.kind)
    return {port: out for port, out in ports.items() if out != closed}


def costs(picture: Picture, ports: Mapping[Figure, Sides]) -> dict[Point, float]:
    """Additional costs of ports: boxes have wires below and above, unless those are much longer."""
    return {
        port: SIDE
        for figure in picture.figures
        if figure.kind == "learned"
        for port, out in ports[figure].items()
        if out in (LEFT, RIGHT)
    }
