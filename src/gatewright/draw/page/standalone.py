"""A picture of a page as a file of its own, with its legend, for light and for dark."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files

from gatewright.draw.page.elements import escape, short, tag

#: The rules of the page's style that pictures need, by how their selectors begin.
NEEDED = re.compile(r"^(\.n\d|\.line|\.band|\.dot|\.dashed|\.level|\.cover|\.grid|svg text)[ {:]")
ROW, LETTER = 20.0, 7.2


def standalone(svg: str, legend: Sequence[tuple[str, str]]) -> str:
    """The picture of a page below a legend of (line colour, name), as an SVG file."""
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert found is not None
    wide, high = float(found[1]), float(found[2])
    x, y, marks = 10.0, ROW, []
    for slot, name in legend:
        length = 26 + LETTER * len(name)
        if x + length > wide and x > 10:
            x, y = 10.0, y + ROW
        marks.append(
            tag("line", class_=f"line {slot}", x1=x, x2=x + 16, y1=y - 4, y2=y - 4)
            + tag("text", escape(name), x=short(x + 21), y=y)
        )
        x += length + 6
    top = y + 8 if legend else 0.0
    inner = svg.replace("<svg", f'<svg y="{short(top)}" width="{wide:g}" height="{high:g}"', 1)
    ground = tag("rect", class_="cover", width="100%", height="100%")
    return tag(
        "svg",
        tag("style", style()) + ground + "".join(marks) + inner,
        viewBox=f"0 0 {wide:g} {short(top + high)}",
        xmlns="http://www.w3.org/2000/svg",
    )


def style() -> str:
    """The rules for what a picture is made of: plain colours, then the page's day and night.

    What knows no variables (Inkscape, rsvg, slides) knows no `@supports` either.
    """
    whole = files("gatewright.draw.page").joinpath("report.css").read_text(encoding="utf-8")
    colours = whole.partition("* {")[0]
    day = dict(re.findall(r"--([\w-]+): (#\w+);", colours.partition("@media")[0]))
    needed = [line for line in whole.splitlines() if NEEDED.match(line)]
    rules = "\n".join(expanded(needed, [name for name in day if re.fullmatch(r"n\d", name)]))
    plain = re.sub(r"var\(--([\w-]+)\)", lambda match: day[match[1]], rules)
    return (
        f"{plain}\nsvg {{ font-family: system-ui, sans-serif; }}\n"
        f"@supports (color:var(--ink)) {{\n{colours}{rules}\n}}\n"
    )


def expanded(rules: Sequence[str], slots: Sequence[str]) -> list[str]:
    """The rules with one for each line's colour, `.dot.n1`, in place of `--line`."""
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
