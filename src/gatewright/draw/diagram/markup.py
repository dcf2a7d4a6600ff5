"""Write a cell's layout as SVG, one group for each value: its figure, name and wires."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gatewright.draw.diagram.figures import Figure
from gatewright.draw.diagram.layout import DiagramLayout, Wire
from gatewright.draw.diagram.place import NAME, SIGN, SMALL, UNIT, CellFrame, FigurePlace, Point
from gatewright.draw.diagram.strokes import TIP, path, tip
from gatewright.draw.page.elements import escape, short, tag
from gatewright.language.node import Node

#: Pixels between a wire's end at the edge of the cell and its text.
EDGE = 6
#: Corner radii in pixels; other kinds have round ends, as a circle or a pill.
RADII = {"learned": 9.0, "row": 3.0, "join": 3.0}


def write(
    text: str,
    x: float,
    y: float,
    size: float,
    class_: str = "",
    anchor: str = "middle",
    low: str = "",
) -> str:
    """A text with its middle at height `y`; `low` follows it as an index."""
    content = escape(text)
    if low:
        content += tag("tspan", escape(low), dy=short(size * 0.25), font_size=short(size * 0.75))
    return tag(
        "text",
        content,
        x=short(x),
        y=short(y + size * 0.35),
        font_size=size,
        text_anchor=None if anchor == "start" else anchor,
        class_=class_ or None,
    )


def values(
    layout: DiagramLayout,
    words: Mapping[str, str],
    equations: Mapping[str, str],
    positions: Mapping[Node, int] | None = None,
) -> str:
    """All values of the cell, each as a group.

    Args:
        words: Texts for the event and the states that are not their names.
        equations: Tooltips, by the name of the value.
        positions: The number of each operation, which is written as `data-node`.
    """
    under = _crossings(layout.wires)
    picture, places = layout.picture, layout.places
    groups = []
    for figure in picture.figures:
        wires = [wire for wire in layout.wires if wire.source is figure]
        parts = [
            tag("title", escape(equations[name]))
            for name in figure.names[:1]
            if name in equations and figure in places.figures
        ]
        parts += [
            tag(
                "g",
                "".join(_wire(wire, under.get(figure, set())) for wire in wires),
                class_="gw-wires",
            )
        ]
        if figure in places.figures:
            parts += _body(figure, places.figures[figure])
        else:
            parts.append(_enters(figure, places.enters[figure]))
        parts += [
            _leaves(words.get(name, name), places.leaves[name])
            for name, updated in picture.updates.items()
            if updated is figure
        ]
        if picture.output is figure:
            parts.append(_output(layout))
        groups.append(
            tag(
                "g",
                "".join(parts),
                class_=f"gw-value gw-{figure.kind}{' gw-learns' * figure.learns}",
                data_name=next(iter(figure.names), None),
                data_names=" ".join(figure.names) if len(figure.names) > 1 else None,
                data_inside=" ".join(figure.inside) or None,
                data_when="before" if figure.kind == "state" else None,
                data_node=None
                if positions is None or figure.node is None
                else positions[figure.node],
            )
        )
    return "\n".join([*map(_frame, places.frames), *groups])


def _frame(frame: CellFrame) -> str:
    left, top = frame.left * UNIT, frame.top * UNIT
    width, height = frame.right * UNIT - left, frame.bottom * UNIT - top
    parts = [
        tag("rect", x=short(left), y=short(top), width=short(width), height=short(height), rx=12),
        write(frame.name, left + 2, frame.label.y * UNIT, SMALL + 1, "gw-muted", "start"),
    ]
    return tag("g", "".join(parts), class_="gw-cell", data_cell=frame.name)


def _crossings(wires: Iterable[Wire]) -> dict[Figure, set[Point]]:
    """The points where vertical wires of each value pass under those of another value."""
    across: dict[Point, Figure] = {}
    upright: dict[Point, Figure] = {}
    for wire in wires:
        for start, end in zip(wire.way, wire.way[1:], strict=False):
            direction = across if start.y == end.y else upright
            direction[start] = direction[end] = wire.source
    crossings: dict[Figure, set[Point]] = {}
    for point, figure in upright.items():
        if across.get(point, figure) is not figure:
            crossings.setdefault(figure, set()).add(point)
    return crossings


def _body(figure: Figure, spot: FigurePlace) -> list[str]:
    x, y = spot.left * UNIT, spot.top * UNIT
    width, height = spot.width * UNIT, spot.height * UNIT
    cx, cy = x + width / 2, y + height / 2
    radius = RADII.get(figure.kind, height / 2)
    parts = [tag("rect", x=x, y=y, width=width, height=height, rx=short(radius))]
    letter, _, low = figure.tag.partition("_")
    if figure.sign and figure.tag:
        parts.append(write(figure.sign, cx, cy - 8, SIGN + 2))
        parts.append(write(letter, cx, cy + 12, SMALL, low=low))
    elif figure.tag:
        parts.append(write(letter, cx, cy, SIGN, low=low))
    else:
        size = SIGN + 6 if figure.sign in ("×", "+", "−") else SIGN
        parts.append(write(figure.sign, cx, cy, size, "gw-name" * (figure.kind == "join")))
    if figure.label:
        left = spot.label.x * UNIT - (4 if figure.kind == "learned" else -2)
        parts.append(write(figure.label, left, spot.label.y * UNIT, NAME, "gw-name", "start"))
    return parts


def _wire(wire: Wire, under: set[Point]) -> str:
    arrow = wire.reader is None or wire.role != "memory"
    data = path(wire.way, under, TIP - 1 if arrow else 0.0)
    parts = [tag("path", d=data, class_=f"gw-{wire.role}")]
    of = " gw-of-memory" * (wire.role in ("memory", "peephole"))
    if arrow:
        half = 6.5 if wire.role == "memory" else 4.5
        parts.append(tag("polygon", points=tip(wire.way, half), class_=f"gw-tip{of}"))
    if wire.branches:
        cx, cy = wire.way[0].x * UNIT, wire.way[0].y * UNIT
        parts.append(tag("circle", cx=cx, cy=cy, r=3.4, class_=f"gw-dot{of}"))
    if wire.mark:
        x, y = mark_at(wire)
        parts.append(write(wire.mark, x, y, MARK, "gw-muted"))
    return "".join(parts)


#: The font size of the letter at the end of a wire, in pixels.
MARK = 11


def mark_at(wire: Wire) -> tuple[float, float]:
    """The point in pixels of the letter at the end of a wire: next to its arrow."""
    end, before = wire.way[-1], wire.way[-2]
    dx, dy = end.x - before.x, end.y - before.y
    return end.x * UNIT - dx * 9 - abs(dy) * 9, end.y * UNIT - dy * 9 + abs(dx) * 9


def _enters(figure: Figure, point: Point) -> str:
    x, y = point.x * UNIT, point.y * UNIT
    if figure.kind == "state":
        return write(figure.sign, x - EDGE, y, NAME, "gw-name", "end", low="t−1")
    return write(figure.sign, x, y + EDGE + NAME * 0.5, NAME, "gw-name", low="t")


def _leaves(name: str, point: Point) -> str:
    return write(name, point.x * UNIT + EDGE, point.y * UNIT, NAME, "gw-name", "start", low="t")


def _output(layout: DiagramLayout) -> str:
    point = layout.places.output
    y = point.y * UNIT - EDGE - NAME * 0.5
    return write(layout.picture.output_name, point.x * UNIT, y, NAME, "gw-name", low="t")
