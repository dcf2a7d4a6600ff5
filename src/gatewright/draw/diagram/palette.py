"""The colours of a diagram in light and dark, and its style sheet.

Boxes and circles differ in shape first; the colours only repeat it.
"""

from __future__ import annotations

#: Pairs (light, dark). Text has a contrast of at least 4.5 with its background.
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
{svg}{{font-family:system-ui,-apple-system,"Segoe UI",Roboto,Helvetica,Arial,sans-serif;fill:none}}
{svg} .gw-wires path{{fill:none;stroke:{wire};stroke-width:1.8;stroke-linecap:round}}
{svg} .gw-wires path.gw-memory{{stroke:{memory};stroke-width:4}}
{svg} .gw-wires path.gw-bus{{stroke-width:3.2}}
{svg} .gw-wires path.gw-peephole{{stroke:{memory};stroke-dasharray:5 4;stroke-linecap:butt}}
{svg} .gw-wires .gw-tip,{svg} .gw-wires .gw-dot{{fill:{wire};stroke:none}}
{svg} .gw-wires .gw-tip.gw-of-memory,{svg} .gw-wires .gw-dot.gw-of-memory{{fill:{memory}}}
{svg} .gw-learned>rect{{fill:{learned};stroke:{learned-edge};stroke-width:1.6}}
{svg} .gw-pointwise>rect{{fill:{point};stroke:{point-edge};stroke-width:1.6}}
{svg} .gw-pointwise.gw-learns>rect{{fill:{learned};stroke:{learned-edge}}}
{svg} .gw-row>rect{{fill:{row};stroke:{row-edge};stroke-width:1.6}}
{svg} .gw-source>rect,{svg} .gw-join>rect{{stroke:{wire};stroke-width:1.4}}
{svg} .gw-source>rect{{stroke-dasharray:3 3}}
{svg} .gw-cell>rect{{stroke:{frame};stroke-width:1.2;stroke-dasharray:4 4}}
{svg} .gw-ground{{fill:{ground}}}
{svg} text{{fill:{ink}}}
{svg} .gw-name{{font-style:italic}}
{svg} .gw-small{{fill:{ink}}}
{svg} .gw-muted{{fill:{muted}}}
{svg} .gw-title{{font-weight:600}}
"""


def style_sheet(selector: str, theme: str) -> str:
    """The style rules for the diagram with this selector.

    Args:
        theme: "light" or "dark" write fixed colours. "auto" writes the light colours for
            programs without CSS variables (Inkscape, rsvg, slides); browsers follow the
            reader's setting, and a page may set `--gw-...` itself.
    """
    chosen = {name: pair[theme == "dark"] for name, pair in COLOURS.items()}
    plain = _RULES.format(svg=selector, **chosen)
    if theme != "auto":
        return plain
    used = {name: f"var(--gw-{name})" for name in COLOURS}
    # `:where` has no specificity, so any rule of the page wins.
    light, dark = (
        ";".join(f"--gw-{name}:{pair[index]}" for name, pair in COLOURS.items()) for index in (0, 1)
    )
    variables = f":where({selector}){{{light}}}\n"
    variables += f"@media (prefers-color-scheme:dark){{:where({selector}){{{dark}}}}}\n"
    # Programs without CSS variables also skip @supports.
    themed = _RULES.format(svg=selector, **used)
    return f"{plain}@supports (color:var(--gw-ink)){{\n{variables}{themed}}}\n"
