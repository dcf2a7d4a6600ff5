"""Lay out a picture: place its figures and route its wires, with more room until all fit."""

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
    FigurePlaces,
    Point,
    label_units,
    place,
)
from gatewright.draw.diagram.ports import Sides, all_ports, costs, entering, leaving, side
from gatewright.draw.diagram.route import Router

#: Attempts at a layout, and attempts with the same gaps, each of which routes the wire that
#: found no way first.
ATTEMPTS, SAME_GAPS = 40, 4
Role = Literal["wire", "memory", "bus", "peephole"]
#: The value that a wire carries, its reader or the name of the edge it leads to, and its role.
Connection = tuple[Figure, Figure | None, str, Role]


@dataclass(frozen=True)
class Wire:
    """A way from a value to one reader.

    Attributes:
        source: The figure whose value it carries.
        reader: The figure where it ends; None at the edge of the cell.
        branches: It begins on another wire of the same value.
        mark: The letter at its end.
    """

    source: Figure
    reader: Figure | None
    way: tuple[Point, ...]
    role: Role = "wire"
    branches: bool = False
    mark: str = ""


@dataclass(frozen=True)
class DiagramLayout:
    """The places and wires of a picture, in grid units."""

    picture: Picture
    places: FigurePlaces
    wires: tuple[Wire, ...]


@dataclass(frozen=True)
class _Pending:
    """A connection to be routed; `edge` is the state it leads out to, if it has no reader."""

    source: Figure
    reader: Figure | None
    edge: str
    goals: Sides
    role: Role
    mark: str = ""

    @property
    def connection(self) -> Connection:
        """The connection without its goals, which change with the gaps."""
        return self.source, self.reader, self.edge, self.role


def lay_out(picture: Picture, edge_names: Mapping[str, str]) -> DiagramLayout:
    """Place a picture's figures and draw its wires.

    Args:
        edge_names: The texts where the event, inputs and states cross the edge.
    """
    grid = arrange(picture)
    for figure in grid.columns:
        if figure.group in grid.bands:  # the frame has the name of the cell
            figure.label = figure.label.removeprefix(f"{figure.group}.")
            figure.tag = figure.tag.replace(f"_{figure.group}.", "_")
    urgent: list[Connection] = []
    for attempt in range(ATTEMPTS):
        # A wire that found no way is routed first next time; after that the gaps widen.
        places = place(picture, grid, edge_names, room=2 * (attempt // SAME_GAPS))
        result = _wires(picture, places, urgent)
        if isinstance(result, list):
            return DiagramLayout(picture, places, tuple(result))
        urgent = [result, *(connection for connection in urgent if connection != result)]
    raise AssertionError("gaps this wide have a way for every wire")


def _wires(
    picture: Picture, places: FigurePlaces, urgent: list[Connection]
) -> list[Wire] | Connection:
    """All wires, or the first connection that found no way."""
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
    used: set[Point] = set()  # ports, each of which takes a single wire
    # Memories come first: they are straight, and all other wires go around them.
    for wire in _memories(picture, places):
        wires.append(wire)
        router.lay(nets[wire.source], list(wire.way))
        router.nets[nets[wire.source]].ends |= {wire.way[0], wire.way[-1]}
        used |= {wire.way[0], wire.way[-1]}
    rank = {connection: index for index, connection in enumerate(urgent)}
    connections = _connections(picture, places, ports)
    connections.sort(key=lambda pending: rank.get(pending.connection, len(rank)))
    for pending in connections:
        net = nets[pending.source]
        leaves = leaving(pending.source, ports[pending.source])
        branches = bool(router.nets.get(net) and router.nets[net].points)
        goals = {point: out for point, out in pending.goals.items() if point not in used}
        starts = {point: out for point, out in leaves.items() if point not in used}
        way = router.find(net, starts, goals, extra) if goals and (starts or branches) else None
        if way is None:
            return pending.connection
        router.lay(net, way)
        ends = {way[-1]} if branches else {way[0], way[-1]}
        router.nets[net].ends |= ends
        used |= ends
        wires.append(
            Wire(pending.source, pending.reader, tuple(way), pending.role, branches, pending.mark)
        )
    return wires


def _inner(places: FigurePlaces) -> tuple[int, int, int, int]:
    """The rectangle of the wires; outside it are the names at the edge."""
    points = [*places.enters.values(), *places.leaves.values(), places.output]
    xs, ys = [point.x for point in places.leaves.values()], [point.y for point in points]
    left = min(point.x for figure, point in places.enters.items() if figure.kind == "state")
    return left + 1, places.output.y + 1, max(xs) - 1, max(ys) - 1


def _memories(picture: Picture, places: FigurePlaces) -> Iterator[Wire]:
    """The straight stretches of the line of each memory."""
    for name, line in picture.lines.items():
        stations = [picture.states[name], *line]
        for index, source in enumerate(stations):
            reader = stations[index + 1] if index + 1 < len(stations) else None
            start = places.enters[source] if index == 0 else side(places.figures[source], RIGHT)
            end = places.leaves[name] if reader is None else side(places.figures[reader], LEFT)
            way = tuple(Point(x, start.y) for x in range(start.x, end.x + 1))
            mark = ""
            if reader is not None:
                mark = next(wire.mark for wire in reader.inputs if wire.source is source)
            yield Wire(source, reader, way, "memory", False, mark)


def _connections(
    picture: Picture, places: FigurePlaces, ports: Mapping[Figure, Sides]
) -> list[_Pending]:
    """All other connections: short ones first, and peepholes last, which may take detours."""
    ranked: list[tuple[tuple[int, int], _Pending]] = []
    along = {
        (source, reader)
        for name, line in picture.lines.items()
        for source, reader in zip((picture.states[name], *line), line, strict=False)
    }

    def add(
        source: Figure,
        reader: Figure | None,
        goals: Sides,
        role: Role,
        mark: str = "",
        edge: str = "",
    ) -> None:
        distance = min(
            abs(port.x - goal.x) + abs(port.y - goal.y) for port in ports[source] for goal in goals
        )
        pending = _Pending(source, reader, edge, goals, role, mark)
        ranked.append(((role == "peephole", distance), pending))

    for figure in picture.figures:
        for wire in figure.inputs:
            if (wire.source, figure) in along and not wire.diagonal:
                along.discard((wire.source, figure))
                continue
            role: Role = (
                "peephole" if wire.diagonal else "bus" if wire.source.kind == "join" else "wire"
            )
            add(wire.source, figure, entering(figure, ports[figure]), role, wire.mark)
    for name, value in picture.updates.items():
        if name not in picture.lines:
            add(value, None, {places.leaves[name]: LEFT}, "wire", edge=name)
    add(picture.output, None, {places.output: DOWN}, "wire")
    return [pending for _, pending in sorted(ranked, key=lambda entry: entry[0])]
