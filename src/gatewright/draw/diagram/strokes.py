"""Write wires as the data of SVG paths, with round corners and gaps at crossings."""

from __future__ import annotations

from collections.abc import Sequence, Set
from itertools import pairwise

from gatewright.draw.diagram.place import UNIT, Point

#: In pixels: the radius of corners, half of the gap in a wire that passes under another, and
#: the length of an arrow.
CORNER, GAP, TIP = 7.0, 5.5, 8.0


def corners(way: Sequence[Point]) -> list[Point]:
    """The ends of a way and the points where it turns."""
    turns = [way[0]]
    for before, point, after in zip(way, way[1:], way[2:], strict=False):
        if (point.x - before.x, point.y - before.y) != (after.x - point.x, after.y - point.y):
            turns.append(point)
    return [*turns, way[-1]] if len(way) > 1 else turns


def path(way: Sequence[Point], under: Set[Point], shorten: float = 0.0) -> str:
    """The `d` of a path.

    Args:
        under: Points where another wire passes over this one.
        shorten: Pixels that are left out at the end, so that the tip of the arrow is sharp.
    """
    turns = corners(way)
    data = [f"M{_pixels(turns[0])}"]
    for index, (start, end) in enumerate(pairwise(turns)):
        dx, dy = _sign(end.x - start.x), _sign(end.y - start.y)
        last = index == len(turns) - 2
        length = abs(end.x - start.x) + abs(end.y - start.y)
        for step in range(1, length):
            point = Point(start.x + dx * step, start.y + dy * step)
            if point in under:
                cx, cy = point.x * UNIT, point.y * UNIT
                data.append(f"L{_pair(cx - dx * GAP, cy - dy * GAP)}")
                data.append(f"M{_pair(cx + dx * GAP, cy + dy * GAP)}")
        back = shorten if last else CORNER
        x, y = end.x * UNIT - dx * back, end.y * UNIT - dy * back
        data.append(f"L{_pair(x, y)}")
        if not last:
            after = turns[index + 2]
            ox, oy = _sign(after.x - end.x), _sign(after.y - end.y)
            curve = _pair(end.x * UNIT + ox * CORNER, end.y * UNIT + oy * CORNER)
            data.append(f"Q{_pixels(end)} {curve}")
    return "".join(data)


def tip(way: Sequence[Point], half: float) -> str:
    """The `points` of the arrow at the end of a way, `half` its width."""
    end, before = way[-1], way[-2]
    dx, dy = _sign(end.x - before.x), _sign(end.y - before.y)
    x, y = end.x * UNIT, end.y * UNIT
    left, top = x - dx * TIP, y - dy * TIP
    return " ".join(
        (
            _pair(x, y),
            _pair(left - dy * half, top + dx * half),
            _pair(left + dy * half, top - dx * half),
        )
    )


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


def _pixels(point: Point) -> str:
    return _pair(point.x * UNIT, point.y * UNIT)


def _pair(x: float, y: float) -> str:
    return f"{x:g},{y:g}"
