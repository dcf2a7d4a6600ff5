"""Helpers that write HTML and SVG elements."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Mapping

from gatewright.escaping import printable


def escape(text: object) -> str:
    """A text that is safe anywhere in HTML or SVG, also in an attribute.

    A percent sign stays on the line of its number.

    >>> escape("5 % & more")
    '5\\xa0% &amp; more'
    """
    safe = html.escape(printable(text, keep="\n\t"))
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", safe)


def tag(name: str, content: str = "", **attributes: object) -> str:
    """An element; `class_` is written as `class`, and `_` in a name as `-`."""
    written_attributes = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{written_attributes}>{content}</{name}>"


def figure(svg: str, caption: str, *, class_: str | None = None) -> str:
    """A picture with its caption."""
    return tag("figure", svg + tag("figcaption", caption), class_=class_)


def scrolling(content: str, label: str) -> str:
    """Content that may be wider than the page, in a frame that scrolls."""
    return tag("div", content, class_="scrolls", tabindex=0, role="region", aria_label=label)


def drawing(
    content: str, *, width: float, height: float, title: str, style: Mapping[str, str] | None = None
) -> str:
    """An SVG that fills its column, keeps its proportions and has a title for screen readers."""
    declarations = ";".join(f"{key}:{value}" for key, value in (style or {}).items())
    return tag(
        "svg",
        tag("title", escape(title)) + content,
        viewBox=f"0 0 {short(width)} {short(height)}",
        role="img",
        xmlns="http://www.w3.org/2000/svg",
        style=declarations or None,
    )


def short(value: float) -> str:
    """A coordinate with one decimal: smaller differences cannot be seen."""
    return f"{value:.1f}".rstrip("0").rstrip(".")


def ticks(low: float, high: float, *, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`, at most about `most`.

    >>> ticks(0, 1)
    [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * times for times in (1, 2, 5, 10) if power * times >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]
