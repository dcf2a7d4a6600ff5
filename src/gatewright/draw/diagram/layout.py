"""Layout: a picture with every place and every wire, tried with more room until all fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from gatewright.draw.diagram.columns import arrange
from gatewright.draw.diagram.figures import Figure, Picture
from gatewright.draw.diagram.place import (
    DOWN,
    LEFT,
    RIGHT,
    Places,
    Point,
    label_units,
    place,
)
from gatewright.draw.diagram.ports import Sides, all_ports, costs, entering, leaving, side
from gatewright.draw.diagram.route import Router

#: How often a layout is tried again with wider gaps.
TRIES = 40
#: How often with the same gaps, each time with the wire that found no way drawn first.
AGAIN = 4
Role = Literal["wire", "memory", "bus", "peephole"]
#: What a wire connects: a value, its reader or the edge that it leads to, and as what.
Connection = tuple[Figure, Figure | None, str, Role]


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
    """A connection that is still to be drawn; `edge` names the one that leads out."""

    source: Figure
    reader: Figure | None
    edge: str
    goals: Sides
    role: Role
    mark: str = ""

    @property
    def ends(self) -> Connection:
        return self.source, self.reader, self.edge, self.role


def lay_out(picture: Picture, edge_names: Mapping[str, str]) -> Layout:
    """Place a picture's figures and draw its wires.

    Args:
        edge_names: What is written where the event, inputs and states cross the edge.
    """
    grid = arrange(picture)
    for figure in grid.columns:
        if figure.group in grid.bands:  # the frame says whose they are
            figure.label = figure.label.removeprefix(f"{figure.group}.")
            figure.tag = figure.tag.replace(f"_{figure.group}.", "_")
    urgent: list[Connection] = []
    for attempt in range(TRIES):
        # A wire that found no way goes first next time; then there is more room as well.
        places = place(picture, grid, edge_names, room=2 * (attempt // AGAIN))
        drawn = _wires(picture, places, urgent)
        if isinstance(drawn, list):
            return Layout(picture, places, tuple(drawn))
        urgent = [drawn, *(one for one in urgent if one != drawn)]
    raise AssertionError("no wire is left without a way where gaps are this wide")


def _wires(picture: Picture, places: Places, urgent: list[Connection]) -> list[Wire] | Connection:
    """All wires, or the one that found no way."""
    ports = all_ports(places)
    blocked = {point for spot in places.figures.values() for point in spot.covers()}
    for frame in places.frames:
        units = label_units(frame.name) + 1
        blocked |= {Point(frame.label.x + step, frame.label.y) for step in range(units)}
    doorsteps = {
        Point(port.x + out.x, port.y + out.y)
        for sides in ports.values()
        for port, out in sides.items()
    }
    router = Router(_inner(places), blocked, doorsteps)
    extra = costs(picture, ports)
    nets = {figure: index for index, figure in enumerate(picture.figures)}
    wires: list[Wire] = []
    used: set[Point] = set()
    for wire in _memories(picture, places):
        wires.append(wire)
        router.lay(nets[wire.source], list(wire.way))
        router.nets[nets[wire.source]].ends |= {wire.way[0], wire.way[-1]}
        used |= {wire.way[0], wire.way[-1]}
    tasks = _tasks(picture, places, ports)
    tasks.sort(key=lambda one: urgent.index(one.ends) if one.ends in urgent else len(urgent))
    for task in tasks:
        net = nets[task.source]
        leaves = leaving(task.source, ports[task.source])
        branches = bool(router.nets.get(net) and router.nets[net].points)
        goals = {point: out for point, out in task.goals.items() if point not in used}
        starts = {point: out for point, out in leaves.items() if point not in used}
        way = router.find(net, starts, goals, extra) if goals and (starts or branches) else None
        if way is None:
            return task.ends
        router.lay(net, way)
        ends = {way[-1]} if branches else {way[0], way[-1]}
        router.nets[net].ends |= ends
        used |= ends
        wires.append(Wire(task.source, task.reader, tuple(way), task.role, branches, task.mark))
    return wires


def _inner(places: Places) -> tuple[int, int, int, int]:
    """Within what wires stay: the edge belongs to the names that stand there."""
    points = [*places.enters.values(), *places.leaves.values(), places.output]
    xs, ys = [point.x for point in places.leaves.values()], [point.y for point in points]
    left = min(point.x for figure, point in places.enters.items() if figure.kind == "state")
    return left + 1, places.output.y + 1, max(xs) - 1, max(ys) - 1


def _memories(picture: Picture, places: Places) -> Iterator[Wire]:
    """The straight stretches of each memory's line."""
    for name, line in picture.lines.items():
        stations = [picture.states[name], *line]
        for index, source in enumerate(stations):
            reader = stations[index + 1] if index + 1 < len(stations) else None
            start = places.enters[source] if index == 0 else side(places.figures[source], RIGHT)
            end = places.leaves[name] if reader is None else side(places.figures[reader], LEFT)
            way = tuple(Point(x, start.y) for x in range(start.x, end.x + 1))
            mark = ""
            if reader is not None:
                mark = next(one.mark for one in reader.inputs if one.source is source)
            yield Wire(source, reader, way, "memory", False, mark)


def _tasks(picture: Picture, places: Places, ports: Mapping[Figure, Sides]) -> list[_Task]:
    """All other connections: near ones first, and peepholes last, since they give way."""
    found: list[tuple[tuple[int, int], _Task]] = []
    along = {
        (one, other)
        for name, line in picture.lines.items()
        for one, other in zip((picture.states[name], *line), line, strict=False)
    }

    def add(
        source: Figure,
        reader: Figure | None,
        goals: Sides,
        role: Role,
        mark: str = "",
        edge: str = "",
    ) -> None:
        near = min(
            abs(one.x - other.x) + abs(one.y - other.y) for one in ports[source] for other in goals
        )
        found.append(((role == "peephole", near), _Task(source, reader, edge, goals, role, mark)))

    for figure in picture.figures:
        for one in figure.inputs:
            if (one.source, figure) in along and not one.diagonal:
                along.discard((one.source, figure))
                continue
            role: Role = (
                "peephole" if one.diagonal else "bus" if one.source.kind == "join" else "wire"
            )
            add(one.source, figure, entering(figure, ports[figure]), role, one.mark)
    for name, value in picture.updates.items():
        if name not in picture.lines:
            add(value, None, {places.leaves[name]: LEFT}, "wire", edge=name)
    add(picture.output, None, {places.output: DOWN}, "wire")
    return [task for _, task in sorted(found, key=lambda one: one[0])]
