"""Pictures of a page as SVG files with a legend, for light and dark."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files

from gatewright.draw.page.elements import escape, short, tag

#: The beginnings of the selectors in report.css that pictures need.
NEEDED = re.compile(r"^(\.n\d|\.line|\.band|\.dot|\.dashed|\.level|\.cover|\.grid|svg text)[ {:]")
#: Pixels for a row of the legend, and for a letter of it at most.
ROW, LETTER = 20.0, 7.2


def standalone(svg: str, legend: Sequence[tuple[str, str]]) -> str:
    """A picture of a page as an SVG file, below its legend of pairs (line colour, name)."""
    view_box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert view_box is not None
    width, height = float(view_box[1]), float(view_box[2])
    x, y, marks = 10.0, ROW, []
    for slot, name in legend:
        length = 26 + LETTER * len(name)
        if x + length > width and x > 10:
            x, y = 10.0, y + ROW
        marks.append(
            tag("line", class_=f"line {slot}", x1=x, x2=x + 16, y1=y - 4, y2=y - 4)
            + tag("text", escape(name), x=short(x + 21), y=y)
        )
        x += length + 6
    top = y + 8 if legend else 0.0
    inner = svg.replace("<svg", f'<svg y="{short(top)}" width="{width:g}" height="{height:g}"', 1)
    ground = tag("rect", class_="cover", width="100%", height="100%")
    return tag(
        "svg",
        tag("style", style()) + ground + "".join(marks) + inner,
        viewBox=f"0 0 {width:g} {short(top + height)}",
        xmlns="http://www.w3.org/2000/svg",
    )


def style() -> str:
    """The rules for pictures: plain colours, then the variables of the page for light and dark.

    Programs without CSS variables (Inkscape, rsvg, slides) also skip `@supports`, so they show
    the plain colours.
    """
    sheet = files("gatewright.draw.page").joinpath("report.css").read_text(encoding="utf-8")
    colours = sheet.partition("* {")[0]
    light = dict(re.findall(r"--([\w-]+): (#\w+);", colours.partition("@media")[0]))
    needed = [line for line in sheet.splitlines() if NEEDED.match(line)]
    rules = "\n".join(expanded(needed, [name for name in light if re.fullmatch(r"n\d", name)]))
    plain = re.sub(r"var\(--([\w-]+)\)", lambda match: light[match[1]], rules)
    return (
        f"{plain}\nsvg {{ font-family: system-ui, sans-serif; }}\n"
        f"@supports (color:var(--ink)) {{\n{colours}{rules}\n}}\n"
    )


def expanded(rules: Sequence[str], slots: Sequence[str]) -> list[str]:
    """The rules with `var(--line)` replaced: one rule for each line colour, as in `.dot.n1`."""
    result = []
    for rule in rules:
        if "--line: " in rule:
            continue
        selector, brace, body = rule.partition(" {")
        if "var(--line)" not in body:
            result.append(rule)
            continue
        for slot in slots:
            result.append(
                f"{selector}.{slot}{brace}{body}".replace("var(--line)", f"var(--{slot})")
            )
    return result
