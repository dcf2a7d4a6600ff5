"""Strokes: a wire's way as the data of an SVG path, with round corners and gaps at crossings."""

from __future__ import annotations

from collections.abc import Sequence, Set
from itertools import pairwise

from gatewright.draw.diagram.place import UNIT, Point

#: Corner radius, half of the gap where a wire passes under another, and the arrow's length.
CORNER, GAP, TIP = 7.0, 5.5, 8.0


def corners(way: Sequence[Point]) -> list[Point]:
    """The way's ends and the points where it turns."""
    kept = [way[0]]
    for before, here, after in zip(way, way[1:], way[2:], strict=False):
        if (here.x - before.x, here.y - before.y) != (after.x - here.x, after.y - here.y):
            kept.append(here)
    return [*kept, way[-1]] if len(way) > 1 else kept


def path(way: Sequence[Point], under: Set[Point], shorten: float = 0.0) -> str:
    """The `d` of a path.

    Args:
        under: Points where another wire passes over this one.
        shorten: By how many pixels it ends early, to leave the tip of its arrow sharp.
    """
    turns = corners(way)
    data = [f"M{_at(turns[0])}"]
    for index, (one, other) in enumerate(pairwise(turns)):
        dx, dy = _sign(other.x - one.x), _sign(other.y - one.y)
        last = index == len(turns) - 2
        length = abs(other.x - one.x) + abs(other.y - one.y)
        for step in range(1, length):
            point = Point(one.x + dx * step, one.y + dy * step)
            if point in under:
                cx, cy = point.x * UNIT, point.y * UNIT
                data.append(f"L{_pair(cx - dx * GAP, cy - dy * GAP)}")
                data.append(f"M{_pair(cx + dx * GAP, cy + dy * GAP)}")
        back = shorten if last else CORNER
        x, y = other.x * UNIT - dx * back, other.y * UNIT - dy * back
        data.append(f"L{_pair(x, y)}")
        if not last:
            after = turns[index + 2]
            ox, oy = _sign(after.x - other.x), _sign(after.y - other.y)
            curve = _pair(other.x * UNIT + ox * CORNER, other.y * UNIT + oy * CORNER)
            data.append(f"Q{_at(other)} {curve}")
    return "".join(data)


def tip(way: Sequence[Point], half: float) -> str:
    """The `points` of the arrow at a way's end."""
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


def _at(point: Point) -> str:
    return _pair(point.x * UNIT, point.y * UNIT)


def _pair(x: float, y: float) -> str:
    return f"{x:g},{y:g}"
