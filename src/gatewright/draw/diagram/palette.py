"""Palette: the colours of a diagram by day and by night, and the style sheet made of them.

Boxes are told from circles by shape first, so the colours only repeat what the shapes say.
"""

from __future__ import annotations

#: What is coloured: by day, by night. Text on its ground has a contrast of 4.5 at least.
COLOURS = {
    "ground": ("#ffffff", "#1b1f24"),
    "ink": ("#1f2933", "#e8ecf1"),
    "muted": ("#5b6672", "#a9b4c0"),
    "wire": ("#4a5560", "#b9c3ce"),
    "memory": ("#0b6e99", "#5cc4ee"),
    "learned": ("#ffe9b8", "#4a3a10"),
    "learned-edge": ("#b07d12", "#e0b04c"),
    "point": ("#fbdcd6", "#52261f"),
    "point-edge": ("#b5523f", "#f09683"),
    "row": ("#e3ddf5", "#352b56"),
    "row-edge": ("#6f5bb0", "#b6a5f0"),
    "frame": ("#8b97a3", "#75818d"),
}

_RULES = """\
{at}{{font-family:system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,sans-serif;fill:none}}
{at} .gw-wires path{{fill:none;stroke:{wire};stroke-width:1.8;stroke-linecap:round}}
{at} .gw-wires path.gw-memory{{stroke:{memory};stroke-width:4}}
{at} .gw-wires path.gw-bus{{stroke-width:3.2}}
{at} .gw-wires path.gw-peephole{{stroke:{memory};stroke-dasharray:5 4;stroke-linecap:butt}}
{at} .gw-wires .gw-tip,{at} .gw-wires .gw-dot{{fill:{wire};stroke:none}}
{at} .gw-wires .gw-tip.gw-of-memory,{at} .gw-wires .gw-dot.gw-of-memory{{fill:{memory}}}
{at} .gw-learned>rect{{fill:{learned};stroke:{learned-edge};stroke-width:1.6}}
{at} .gw-pointwise>rect{{fill:{point};stroke:{point-edge};stroke-width:1.6}}
{at} .gw-pointwise.gw-learns>rect{{fill:{learned};stroke:{learned-edge}}}
{at} .gw-row>rect{{fill:{row};stroke:{row-edge};stroke-width:1.6}}
{at} .gw-source>rect,{at} .gw-join>rect{{stroke:{wire};stroke-width:1.4}}
{at} .gw-source>rect{{stroke-dasharray:3 3}}
{at} .gw-cell>rect{{stroke:{frame};stroke-width:1.2;stroke-dasharray:4 4}}
{at} .gw-ground{{fill:{ground}}}
{at} text{{fill:{ink}}}
{at} .gw-name{{font-style:italic}}
{at} .gw-small{{fill:{ink}}}
{at} .gw-muted{{fill:{muted}}}
{at} .gw-title{{font-weight:600}}
"""


def style_sheet(at: str, theme: str) -> str:
    """The rules for the diagram with the selector `at`.

    Args:
        theme: "light" or "dark" write the colours out. "auto" writes the light ones, for
            programs that know no variables (Inkscape, rsvg, slides); browsers follow the
            reader's setting, and let a page set `--gw-...` itself.
    """
    chosen = {name: pair[theme == "dark"] for name, pair in COLOURS.items()}
    plain = _RULES.format(at=at, **chosen)
    if theme != "auto":
        return plain
    used = {name: f"var(--gw-{name})" for name in COLOURS}
    # `:where` weighs nothing, so that any rule of the page's own wins.
    day, night = (
        ";".join(f"--gw-{name}:{pair[index]}" for name, pair in COLOURS.items()) for index in (0, 1)
    )
    variables = f":where({at}){{{day}}}\n"
    variables += f"@media (prefers-color-scheme:dark){{:where({at}){{{night}}}}}\n"
    # What knows no variables knows no @supports either, and leaves it out.
    return (
        f"{plain}@supports (color:var(--gw-ink)){{\n{variables}{_RULES.format(at=at, **used)}}}\n"
    )
