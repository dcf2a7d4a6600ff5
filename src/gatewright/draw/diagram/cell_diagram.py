"""Draw the diagram of a cell: `cell.svg()`.

All cells are drawn with the same signs: a box is learned, a circle works element by element,
and a memory is a straight line.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from gatewright.draw.diagram.layout import lay_out
from gatewright.draw.diagram.legend import legend
from gatewright.draw.diagram.markup import values, write
from gatewright.draw.diagram.measure import wrapped
from gatewright.draw.diagram.palette import style_sheet
from gatewright.draw.diagram.picture import picture
from gatewright.draw.diagram.place import UNIT
from gatewright.draw.page.elements import escape, short, tag
from gatewright.errors import ArgumentError, TooLarge
from gatewright.language.equations import Equations
from gatewright.language.printing import lesson_words, text
from gatewright.names import did_you_mean

#: A diagram with more figures cannot be read.
MAX_FIGURES = 200
THEMES = ("auto", "light", "dark")
#: Pixels for the title above the drawing, for the legend below it, and for the margin.
TITLE, LEGEND, MARGIN = 42, 44, 16
#: In pixels: the smallest width with a title, its two font sizes, and the height of its lines.
MIN_WIDTH, LARGER, SMALLER, LEADING = 420, 20, 13, 18
#: The width of bold letters relative to plain ones, at most.
BOLD = 1.15


def svg(
    cell: Any,
    *,
    names: str = "code",
    width: int | None = None,
    theme: str = "auto",
    title: bool = True,
    key: bool = True,
    ground: bool = False,
    id: str | None = None,
) -> str:
    """Draw a cell's diagram, laid out from its equations, as one SVG element.

    >>> import gatewright as gw
    >>> drawing = gw.CELLS["lstm"]().svg(names="lesson")
    >>> drawing[:4], 'data-name="forget"' in drawing
    ('<svg', True)

    Args:
        cell: A cell, or anything else with `equations`.
        names: "code" uses the names of the step, "lesson" E, STM and LTM.
        width: The width in pixels. By default the diagram has its natural width, or that of
            its container if that is narrower.
        theme: "auto" follows the light or dark setting of a browser, and is light in other
            programs; "light" and "dark" are the same everywhere.
        title: Write the cell's name and the first line of its docstring above it.
        key: Draw the legend below it.
        ground: Paint a light or dark background: for a file that may be shown on either.
        id: The beginning of all ids in the SVG. The default is a digest of the content, so
            that different diagrams can be on one page.

    Every named value is a group with `data-name`, and a state before the step also has
    `data-when="before"`. If a value has several names, they are in `data-names`.

    Raises:
        ArgumentError: if an option is not known.
        TooLarge: if the cell has more figures than a diagram can show.
    """
    equations: Equations = cell.equations
    if theme not in THEMES:
        nearest = did_you_mean(theme, THEMES)
        raise ArgumentError(
            f"theme={theme!r} is not known; {nearest}give one of {', '.join(THEMES)}"
        )
    if width is not None and not width > 0:
        raise ArgumentError(f"width={width!r}; give a number of pixels")
    if id is not None and not re.fullmatch(r"[A-Za-z][\w-]*", id):
        raise ArgumentError(f"id={id!r}; begin with a letter, then letters, digits, _ and -")
    described = text(equations, names)
    words = lesson_words(equations) if names == "lesson" else {}
    prefix = (
        id
        or "gw-"
        + hashlib.sha256(
            repr((equations.to_json(), names, theme, title, key, ground, width)).encode()
        ).hexdigest()[:10]
    )
    return _document(equations, described, words, prefix, theme, title, key, ground, width)


def page_svg(equations: Equations, names: str, id: str) -> str:
    """Draw the diagram for a page that has the rules of `page_style` and writes values on it.

    It has neither a style sheet nor attributes of style, which a strict Content-Security-Policy
    forbids, and every figure has its position in `equations.nodes` as `data-node`.

    Raises:
        TooLarge: if the cell has more figures than a diagram can show.
    """
    words = lesson_words(equations) if names == "lesson" else {}
    return _document(equations, text(equations, names), words, id, None, False, False, False, None)


def page_style() -> str:
    """The style rules of all diagrams of `page_svg`; the page may set `--gw-...` itself."""
    return style_sheet(".gatewright-cell", "auto")


def _document(
    equations: Equations,
    described: str,
    words: dict[str, str],
    prefix: str,
    theme: str | None,
    title: bool,
    key: bool,
    ground: bool,
    width: int | None,
) -> str:
    """Write the whole SVG; for a page, where `theme` is None."""
    drawn = picture(equations, words)
    if len(drawn.figures) > MAX_FIGURES:
        raise TooLarge(
            f"{equations.name} has {len(drawn.figures)} figures to draw; a diagram of more than "
            f"{MAX_FIGURES} cannot be read: print(cell) shows its equations"
        )
    edge = (equations.event, *equations.inputs, *equations.states)
    layout = lay_out(drawn, {name: words.get(name, name) + "t-1" for name in edge})
    key_markup, key_width = legend(layout)
    inner = max(layout.places.width * UNIT, key_width if key else 0, MIN_WIDTH if title else 0)
    summary = wrapped(equations.about.replace("`", ""), SMALLER, inner, 2)
    above = TITLE + LEADING * len(summary) if title else 0
    below = LEGEND if key else 0
    total_width = inner + 2 * MARGIN
    total_height = layout.places.height * UNIT + above + below + 2 * MARGIN
    parts = [
        tag("title", escape(f"{equations.name}: diagram of the cell"), id=f"{prefix}-title"),
        tag("desc", escape(described), id=f"{prefix}-desc"),
    ]
    if theme is not None:
        parts.append(tag("style", style_sheet(f"#{prefix}", theme)))
    if ground:
        parts.append(tag("rect", width="100%", height="100%", class_="gw-ground"))
    if title:
        for name in wrapped(equations.name, LARGER * BOLD, inner, 1):
            parts.append(write(name, MARGIN, MARGIN + 12, LARGER, "gw-title", "start"))
        for index, line in enumerate(summary):
            y = MARGIN + 36 + LEADING * index
            parts.append(write(line, MARGIN, y, SMALLER, "gw-muted", "start"))
    indent = MARGIN + (inner - layout.places.width * UNIT) // 2
    lines = [re.sub(r" +=", " =", line.strip()) for line in described.splitlines()[1:]]
    tooltips = {line.partition(" = ")[0]: line for line in lines}
    positions = {node: k for k, node in enumerate(equations.nodes)} if theme is None else None
    drawing = values(layout, words, tooltips, positions)
    parts.append(tag("g", "\n" + drawing + "\n", transform=f"translate({indent},{MARGIN + above})"))
    if key:
        top = MARGIN + above + layout.places.height * UNIT
        parts.append(
            tag("g", key_markup, class_="gw-legend", transform=f"translate({MARGIN},{top})")
        )
    return tag(
        "svg",
        "\n" + "\n".join(parts) + "\n",
        xmlns="http://www.w3.org/2000/svg",
        id=prefix,
        class_="gatewright-cell",
        viewBox=f"0 0 {short(total_width)} {short(total_height)}",
        width=short(width or total_width),
        height=round(total_height * (width or total_width) / total_width),
        role="img",
        aria_labelledby=f"{prefix}-title {prefix}-desc",
        style=None if width or theme is None else "max-width:100%;height:auto",
    )
