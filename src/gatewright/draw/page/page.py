"""Self-contained HTML pages: head, style and sections, without links to other files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from gatewright.draw.page.elements import escape, scrolling, tag


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page.

    Attributes:
        key: Its id and CSS class.
        markup: Its content, as HTML.
        lead: A plain sentence or two below the heading.
        steps: The length of the sequence that its maps show, for the script.
    """

    key: str
    heading: str
    markup: str
    lead: str = ""
    steps: int | None = None


def page(
    title: str,
    eyebrow: str,
    lead: str,
    verdict: str,
    sections: Sequence[Section],
    footer: str,
    *,
    script: str = "",
) -> str:
    """The page as HTML. Only the script and the markup of the sections are not escaped."""
    header = tag(
        "header",
        tag("p", escape(eyebrow), class_="eyebrow")
        + tag("h1", escape(title))
        + tag("p", escape(lead), class_="lead")
        + tag("p", escape(verdict), class_="verdict"),
    )
    head = (
        '<meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        # Without it, browsers request an icon from the network.
        '<link rel="icon" href="data:,">'
        + tag("title", escape(title))
        + tag("style", asset("report.css"))
    )
    body = header + tag("main", "".join(map(_section, sections))) + tag("footer", escape(footer))
    body += tag("script", script) if script else ""
    return (
        "<!doctype html>\n" + tag("html", tag("head", head) + tag("body", body), lang="en") + "\n"
    )


def asset(name: str) -> str:
    """Read a style sheet or a script from this folder."""
    return files("gatewright.draw.page").joinpath(name).read_text(encoding="utf-8")


def _section(section: Section) -> str:
    lead = tag("p", escape(section.lead)) if section.lead else ""
    return tag(
        "section",
        tag("h2", escape(section.heading), id=section.key) + lead + section.markup,
        aria_labelledby=section.key,
        class_=section.key,
        data_steps=section.steps,
    )


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str) -> str:
    """A table whose first column has row headings; all cells are markup."""
    first, *numeric = headings
    head = tag("th", first, scope="col") + "".join(
        tag("th", heading, scope="col", class_="number") for heading in numeric
    )
    body = "".join(
        tag(
            "tr",
            tag("th", row[0], scope="row")
            + "".join(tag("td", cell, class_="number") for cell in row[1:]),
        )
        for row in rows
    )
    markup = tag(
        "table",
        tag("caption", escape(caption)) + tag("thead", tag("tr", head)) + tag("tbody", body),
        class_="result",
    )
    return scrolling(markup, label)


def legend(names: Iterable[tuple[str, str]]) -> str:
    """The legend of line colours, from pairs (colour, name)."""
    return tag(
        "ul",
        "".join(tag("li", swatch(slot) + escape(name)) for slot, name in names),
        class_="legend",
    )


def swatch(slot: str) -> str:
    """A small square in the colour of a line."""
    return tag("i", "", class_=f"swatch {slot}")
