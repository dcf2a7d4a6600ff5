"""Route wires along the grid, around every figure and name.

Each wire is the cheapest way (A*) to its reader from the wires that its value already has, so
readers of one value share a bus and branch off it. Wires of different values never share a
stretch or a corner; they only cross, at right angles.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from gatewright.draw.diagram.place import DOWN, LEFT, RIGHT, UP, Point

DIRECTIONS = (UP, DOWN, LEFT, RIGHT)
OPPOSITE = {UP: DOWN, DOWN: UP, LEFT: RIGHT, RIGHT: LEFT}
TURNS = {d: tuple(turn for turn in DIRECTIONS if turn != OPPOSITE[d]) for d in DIRECTIONS}
#: Costs of a way in addition to its length: a turn, crossing another wire, branching off the
#: side of a wire, continuing it straight on, and passing directly in front of a figure.
BEND, CROSSING, BRANCH, STRAIGHT, DOORSTEP = 3.0, 4.0, 5.0, 0.0, 4.0


@dataclass
class Net:
    """The wires of one value: their points, and those of them that are ends."""

    points: set[Point] = field(default_factory=set)
    ends: set[Point] = field(default_factory=set)


class Router:
    """Find ways on a grid without the `blocked` points.

    Args:
        inner: Left, top, right and bottom; only the ends of wires may be outside.
        doorsteps: Points in front of the sides of figures, which cost more.
    """

    def __init__(
        self, inner: tuple[int, int, int, int], blocked: set[Point], doorsteps: set[Point]
    ) -> None:
        self.left, self.top, self.right, self.bottom = inner
        self.blocked, self.doorsteps = blocked, doorsteps
        #: The net that passes each point horizontally, and vertically.
        self.across: dict[Point, int] = {}
        self.upright: dict[Point, int] = {}
        self.nets: dict[int, Net] = {}

    def lay(self, net: int, way: list[Point]) -> None:
        """Add a way, with all its points, to a net."""
        mine = self.nets.setdefault(net, Net())
        for start, end in pairwise(way):
            taken = self.across if start.y == end.y else self.upright
            taken[start] = taken[end] = net
        mine.points.update(way)

    def find(
        self,
        net: int,
        ports: Mapping[Point, Point],
        goals: Mapping[Point, Point],
        extra: Mapping[Point, float],
    ) -> list[Point] | None:
        """The cheapest way, point by point; None if there is no way.

        Args:
            ports: Points where the wire may leave its source, each with the direction out of
                it; used only for the first wire of a net.
            goals: Points where it may enter the reader, each with the direction out of it.
            extra: Additional costs of ports and goals.
        """
        mine = self.nets.setdefault(net, Net())
        best: dict[tuple[Point, Point], float] = {}
        came: dict[tuple[Point, Point], tuple[Point, Point] | None] = {}
        queue: list[tuple[float, int, float, Point, Point]] = []
        count = 0

        # A* needs a lower bound of the remaining cost: the distance to the goals' rectangle.
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
            # A wire leaves its port straight, and never turns where it crosses another.
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
                    # A bus that continues straight on looks better than a staircase.
                    yield point, heading, STRAIGHT if behind in mine.points else BRANCH

    def _free(self, point: Point, net: int) -> bool:
        return self.across.get(point, net) == net and self.upright.get(point, net) == net

    def _step(
        self, point: Point, heading: Point, net: int, mine: Net, goals: Mapping[Point, Point]
    ) -> float | None:
        """The cost of entering a point; None if it is not allowed."""
        if point in goals:
            return 1.0 if goals[point] == OPPOSITE[heading] else None
        if not (self.left <= point.x <= self.right and self.top <= point.y <= self.bottom):
            return None
        if point in self.blocked or point in mine.points:
            return None
        along, over = (self.across, self.upright) if heading.y == 0 else (self.upright, self.across)
        # Where another net turns or branches, it has the point in both directions: no crossing.
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
