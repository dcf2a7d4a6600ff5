"""Layout: a picture with every place and every wire, tried with more room until all fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from gatewright.draw.picture import Figure, Picture
from gatewright.draw.place import DOWN, LEFT, RIGHT, UP, Place, Places, Point, feet, place
from gatewright.draw.route import DIRECTIONS, Router

#: How often a layout is tried again with wider gaps.
TRIES = 8
#: What a box's left or right side costs.
SIDE = 4.0
Role = Literal["wire", "memory", "bus", "peephole"]


@dataclass(frozen=True)
class Wire:
    """A way from a value to one reader.

    Attributes:
        source: Whose value it carries.
        reader: The figure that it ends at, None at the cell's edge.
        branches: Whether it begins on another wire of the same value.
        mark: The letter at its end.
    """

    source: Figure
    reader: Figure | None
    way: tuple[Point, ...]
    role: Role = "wire"
    branches: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Layout:
    """Where everything of a picture is, in grid units."""

    picture: Picture
    places: Places
    wires: tuple[Wire, ...]


@dataclass(frozen=True)
class _Task:
    """A connection that is still to be drawn."""

    source: Figure
    reader: Figure | None
    goals: Mapping[Point, Point]
    role: Role
    mark: str = ""


def lay_out(picture: Picture, edge_names: dict[str, str]) -> Layout:
    """Place a picture's figures and draw its wires.

    Args:
        edge_names: What is written where the event, inputs and states cross the edge.
    """
    for attempt in range(TRIES):
        places = place(picture, edge_names, room=2 * attempt)
        wires = _wires(picture, places)
        if wires is not None:
            return Layout(picture, places, tuple(wires))
    raise AssertionError("no wire is left without a way where gaps are this wide")


def _wires(picture: Picture, places: Places) -> list[Wire] | None:
    ports = {figure: _ports(figure, spot) for figure, spot in places.figures.items()}
    ports |= {
        figure: {point: UP if figure.kind in ("event", "input") else RIGHT}
        for figure, point in places.enters.items()
    }
    blocked = {point for spot in places.figures.values() for point in spot.covers()}
    doorsteps = {
        Point(port.x + out.x, port.y + out.y)
        for sides in ports.values()
        for port, out in sides.items()
    }
    router = Router(places.width, places.height, blocked, doorsteps)
    extra = _costs(picture, ports)
    nets = {figure: index for index, figure in enumerate(picture.figures)}
    wires: list[Wire] = []
    used: set[Point] = set()
    for wire in _memories(picture, places):
        wires.append(wire)
        router.lay(nets[wire.source], list(wire.way))
        router.nets[nets[wire.source]].ends |= {wire.way[0], wire.way[-1]}
        used |= {wire.way[0], wire.way[-1]}
    for task in _tasks(picture, places, ports):
        net = nets[task.source]
        leaves = _leaving(task.source, ports[task.source])
        branches = bool(router.nets.get(net) and router.nets[net].points)
        goals = {point: out for point, out in task.goals.items() if point not in used}
        starts = {point: out for point, out in leaves.items() if point not in used}
        way = router.find(net, starts, goals, extra) if goals and (starts or branches) else None
        if way is None:
            return None
        router.lay(net, way)
        ends = {way[-1]} if branches else {way[0], way[-1]}
        router.nets[net].ends |= ends
        used |= ends
        wires.append(Wire(task.source, task.reader, tuple(way), task.role, branches, task.mark))
    return wires


def _memories(picture: Picture, places: Places) -> Iterator[Wire]:
    """The straight stretches of each memory's line."""
    for name, line in picture.lines.items():
        stations = [picture.states[name], *line]
        for index, source in enumerate(stations):
            reader = stations[index + 1] if index + 1 < len(stations) else None
            start = places.enters[source] if index == 0 else _side(places.figures[source], RIGHT)
            end = places.leaves[name] if reader is None else _side(places.figures[reader], LEFT)
            way = tuple(Point(x, start.y) for x in range(start.x, end.x + 1))
            mark = ""
            if reader is not None:
                mark = next(one.mark for one in reader.inputs if one.source is source)
            yield Wire(source, reader, way, "memory", False, mark)


def _tasks(
    picture: Picture, places: Places, ports: Mapping[Figure, Mapping[Point, Point]]
) -> list[_Task]:
    """All other connections: near ones first, and peepholes last, since they give way."""
    found: list[tuple[tuple[int, int], _Task]] = []
    along = {
        (one, other)
        for name, line in picture.lines.items()
        for one, other in zip((picture.states[name], *line), line, strict=False)
    }

    def add(
        source: Figure, reader: Figure | None, goals: Mapping[Point, Point], role: Role, mark: str
    ) -> None:
        near = min(
            abs(one.x - other.x) + abs(one.y - other.y) for one in ports[source] for other in goals
        )
        found.append(((role == "peephole", near), _Task(source, reader, goals, role, mark)))

    for figure in picture.figures:
        for one in figure.inputs:
            if (one.source, figure) in along and not one.diagonal:
                along.discard((one.source, figure))
                continue
            role: Role = (
                "peephole" if one.diagonal else "bus" if one.source.kind == "join" else "wire"
            )
            add(one.source, figure, _entering(figure, ports[figure]), role, one.mark)
    for name, value in picture.updates.items():
        if name not in picture.lines:
            add(value, None, {places.leaves[name]: LEFT}, "wire", "")
    add(picture.output, None, {places.output: DOWN}, "wire", "")
    return [task for _, task in sorted(found, key=lambda one: one[0])]


def _ports(figure: Figure, spot: Place) -> dict[Point, Point]:
    """Where wires may touch a figure, each with the direction out of it."""
    left, top = spot.left, spot.top
    right, bottom = left + spot.width, top + spot.height
    if figure.kind == "learned":
        found = {Point(x, bottom): DOWN for x in feet(figure, spot)}
        found |= {Point(left, y): LEFT for y in range(top + 1, bottom)}
        found |= {Point(right, y): RIGHT for y in range(top + 1, bottom)}
        return found | {Point(spot.middle.x, top): UP}
    return {_side(spot, side): side for side in (UP, DOWN, LEFT, RIGHT)}


def _side(spot: Place, side: Point) -> Point:
    middle = spot.middle
    return Point(middle.x + side.x * spot.width // 2, middle.y + side.y * spot.height // 2)


def _leaving(figure: Figure, ports: Mapping[Point, Point]) -> dict[Point, Point]:
    sides = {"learned": (UP, RIGHT), "join": (RIGHT,)}.get(figure.kind, DIRECTIONS)
    return {port: out for port, out in ports.items() if out in sides}


def _entering(figure: Figure, ports: Mapping[Point, Point]) -> dict[Point, Point]:
    shut = {"learned": UP, "join": RIGHT}.get(figure.kind)
    return {port: out for port, out in ports.items() if out != shut}


def _costs(picture: Picture, ports: Mapping[Figure, Mapping[Point, Point]]) -> dict[Point, float]:
    """Boxes are read from below and give upwards, unless that is a long way round."""
    return {
        port: SIDE
        for figure in picture.figures
        if figure.kind == "learned"
        for port, out in ports[figure].items()
        if out in (LEFT, RIGHT)
    }
