"""Route: wires on the grid's lines, around every figure and name.

Each wire is the cheapest way (A*) from what its value already has drawn to the figure that
reads it, so readers of one value share a bus and branch off it. Wires of different values
share no stretch and no corner: they may only cross, straight.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from gatewright.draw.diagram.place import DOWN, LEFT, RIGHT, UP, Point

DIRECTIONS = (UP, DOWN, LEFT, RIGHT)
OPPOSITE = {UP: DOWN, DOWN: UP, LEFT: RIGHT, RIGHT: LEFT}
TURNS = {one: tuple(turn for turn in DIRECTIONS if turn != OPPOSITE[one]) for one in DIRECTIONS}
#: What a way costs besides its length: a turn, passing over another wire, beginning at the
#: side of a wire or at its end, and passing close before a figure.
BEND, CROSSING, BRANCH, STRAIGHT, DOORSTEP = 3.0, 4.0, 5.0, 0.0, 4.0


@dataclass
class Net:
    """One value's wires: the points they lie on."""

    points: set[Point] = field(default_factory=set)
    ends: set[Point] = field(default_factory=set)


class Router:
    """Finds ways on a grid from which `blocked` points are taken out.

    Args:
        inner: Left, top, right and bottom, between which wires stay but for their ends.
        doorsteps: Points before a figure's sides; passing there is possible but costs.
    """

    def __init__(
        self, inner: tuple[int, int, int, int], blocked: set[Point], doorsteps: set[Point]
    ) -> None:
        self.left, self.top, self.right, self.bottom = inner
        self.blocked, self.doorsteps = blocked, doorsteps
        #: Which net passes a point, sideways and upright.
        self.across: dict[Point, int] = {}
        self.upright: dict[Point, int] = {}
        self.nets: dict[int, Net] = {}

    def lay(self, net: int, way: list[Point]) -> None:
        """Mark a way, given by all its points, as taken."""
        mine = self.nets.setdefault(net, Net())
        for one, other in pairwise(way):
            taken = self.across if one.y == other.y else self.upright
            taken[one] = taken[other] = net
        mine.points.update(way)

    def find(
        self,
        net: int,
        ports: Mapping[Point, Point],
        goals: Mapping[Point, Point],
        extra: Mapping[Point, float],
    ) -> list[Point] | None:
        """The cheapest way, point by point, and None where there is none.

        Args:
            ports: Where the source may be left, each with the direction out of it; used
                while the net has no wires yet.
            goals: Where the reader may be entered, each with the direction out of it.
            extra: What using a port or goal costs besides.
        """
        mine = self.nets.setdefault(net, Net())
        best: dict[tuple[Point, Point], float] = {}
        came: dict[tuple[Point, Point], tuple[Point, Point] | None] = {}
        queue: list[tuple[float, int, float, Point, Point]] = []
        count = 0

        # What is left at least: the distance to the rectangle around the goals.
        left, right = min(goal.x for goal in goals), max(goal.x for goal in goals)
        top, bottom = min(goal.y for goal in goals), max(goal.y for goal in goals)

        def push(
            cost: float, point: Point, heading: Point, previous: tuple[Point, Point] | None
        ) -> None:
            nonlocal count
            if cost < best.get((point, heading), float("inf")):
                best[point, heading] = cost
                came[point, heading] = previous
                count += 1
                x, y = point
                ahead = (left - x if x < left else x - right if x > right else 0) + (
                    top - y if y < top else y - bottom if y > bottom else 0
                )
                heapq.heappush(queue, (cost + ahead, count, cost, point, heading))

        for point, heading, cost in self._starts(net, mine, ports, extra):
            push(cost, point, heading, None)
        while queue:
            _, _, cost, point, heading = heapq.heappop(queue)
            if cost > best[point, heading]:
                continue
            if point in goals:
                return _traced(came, (point, heading))
            # A port is left straight, and no wire turns where it crosses another.
            straight = came[point, heading] is None or not self._free(point, net)
            for turn in (heading,) if straight else TURNS[heading]:
                target = Point(point.x + turn.x, point.y + turn.y)
                step = self._step(target, turn, net, mine, goals)
                if step is not None:
                    push(
                        cost + step + extra.get(target, 0.0) + BEND * (turn != heading),
                        target,
                        turn,
                        (point, heading),
                    )
        return None

    def _starts(
        self, net: int, mine: Net, ports: Mapping[Point, Point], extra: Mapping[Point, float]
    ) -> Iterable[tuple[Point, Point, float]]:
        if not mine.points:
            yield from ((port, heading, extra.get(port, 0.0)) for port, heading in ports.items())
            return
        for point in sorted(mine.points - mine.ends):
            if self._free(point, net):
                for heading in DIRECTIONS:
                    behind = Point(point.x - heading.x, point.y - heading.y)
                    # A bus that is drawn on straight looks better than a stair.
                    yield point, heading, STRAIGHT if behind in mine.points else BRANCH

    def _free(self, point: Point, net: int) -> bool:
        return self.across.get(point, net) == net and self.upright.get(point, net) == net

    def _step(
        self, point: Point, heading: Point, net: int, mine: Net, goals: Mapping[Point, Point]
    ) -> float | None:
        """The cost of entering a point, None where it is closed."""
        if point in goals:
            return 1.0 if goals[point] == OPPOSITE[heading] else None
        if not (self.left <= point.x <= self.right and self.top <= point.y <= self.bottom):
            return None
        if point in self.blocked or point in mine.points:
            return None
        along, over = (self.across, self.upright) if heading.y == 0 else (self.upright, self.across)
        # Where another net turns or branches it holds the point both ways, so none crosses there.
        if point in along:
            return None
        cost = 1.0 + (CROSSING if point in over else 0.0)
        return cost + (DOORSTEP if point in self.doorsteps else 0.0)


def _traced(
    came: Mapping[tuple[Point, Point], tuple[Point, Point] | None], end: tuple[Point, Point]
) -> list[Point]:
    way: list[Point] = []
    state: tuple[Point, Point] | None = end
    while state is not None:
        way.append(state[0])
        state = came[state]
    return way[::-1]
