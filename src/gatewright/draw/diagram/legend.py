"""The legend of a diagram: one row with only the kinds that the diagram shows."""

from __future__ import annotations

from gatewright.draw.diagram.layout import DiagramLayout
from gatewright.draw.diagram.markup import write
from gatewright.draw.diagram.measure import text_width
from gatewright.draw.page.elements import short, tag

#: In pixels: the font size, the width of a sample, the gaps after a sample and after an entry,
#: and the middle of the row.
SIZE, SAMPLE, NEAR, FAR, MIDDLE = 12, 34, 8, 26, 26


def legend(layout: DiagramLayout) -> tuple[str, float]:
    """The legend's markup and its width."""
    kinds = {figure.kind for figure in layout.picture.figures}
    roles = {wire.role for wire in layout.wires}
    entries: list[tuple[str, str]] = []
    if "learned" in kinds:
        entries.append(("learned", "box: learned"))
    if "pointwise" in kinds:
        entries.append(("pointwise", "circle: element by element"))
    if "row" in kinds:
        entries.append(("row", "square: over all units"))
    if "memory" in roles:
        entries.append(("memory", "line: memory"))
    if "peephole" in roles:
        entries.append(("peephole", "dashed: by a vector (peephole)"))
    if "join" in kinds:
        entries.append(("join", "[ , ]: read together"))
    parts: list[str] = []
    x = 0.0
    for kind, meaning in entries:
        parts.append(_sample(kind, x))
        parts.append(write(meaning, x + SAMPLE + NEAR, MIDDLE, SIZE, "gw-muted", "start"))
        x += SAMPLE + NEAR + text_width(meaning, SIZE) + FAR
    return "".join(parts), max(0.0, x - FAR)


def _sample(kind: str, x: float) -> str:
    if kind in ("memory", "peephole"):
        line = tag("path", d=f"M{short(x)},{MIDDLE}h{SAMPLE}", class_=f"gw-{kind}")
        return tag("g", line, class_="gw-wires")
    if kind == "join":
        line = tag("path", d=f"M{short(x)},{MIDDLE}h{SAMPLE}", class_="gw-bus")
        return tag("g", line, class_="gw-wires")
    size = {"learned": (26, 18, 5), "pointwise": (18, 18, 9), "row": (22, 16, 3)}[kind]
    width, height, radius = size
    left = x + (SAMPLE - width) / 2
    shape = tag(
        "rect", x=short(left), y=MIDDLE - height // 2, width=width, height=height, rx=radius
    )
    return tag("g", shape, class_=f"gw-{kind}")
