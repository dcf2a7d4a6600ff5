"""A page that needs nothing but itself: head, style and sections around given markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

from gatewright.draw.page.elements import escape, scrolling, tag


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: its key, its heading, a few plain words, and its markup."""

    key: str
    heading: str
    markup: str
    said: str = ""
    steps: int | None = None  # of the sequence that its maps follow, for the script


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
    """The whole page, as HTML; everything but the sections' markup and the script is plain text."""
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
        # No network: not even for the icon that browsers ask for on their own.
        '<link rel="icon" href="data:,">'
        + tag("title", escape(title))
        + tag("style", beside("report.css"))
    )
    body = header + tag("main", "".join(map(_section, sections))) + tag("footer", escape(footer))
    body += tag("script", script) if script else ""
    return (
        "<!doctype html>\n" + tag("html", tag("head", head) + tag("body", body), lang="en") + "\n"
    )


def beside(name: str) -> str:
    """A style or a script that stands beside this module."""
    return files("gatewright.draw.page").joinpath(name).read_text(encoding="utf-8")


def _section(given: Section) -> str:
    said = tag("p", escape(given.said)) if given.said else ""
    return tag(
        "section",
        tag("h2", escape(given.heading), id=given.key) + said + given.markup,
        aria_labelledby=given.key,
        class_=given.key,
        data_steps=given.steps,
    )


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str) -> str:
    """A table of markup: the first column names the row, the others are numbers."""
    first, *others = headings
    head = tag("th", first, scope="col") + "".join(
        tag("th", one, scope="col", class_="number") for one in others
    )
    body = "".join(
        tag(
            "tr",
            tag("th", row[0], scope="row")
            + "".join(tag("td", one, class_="number") for one in row[1:]),
        )
        for row in rows
    )
    made = tag(
        "table",
        tag("caption", escape(caption)) + tag("thead", tag("tr", head)) + tag("tbody", body),
        class_="result",
    )
    return scrolling(made, label)


def legend(names: Iterable[tuple[str, str]]) -> str:
    """Which line colour stands for what: pairs of (colour, name)."""
    return tag(
        "ul",
        "".join(tag("li", swatch(slot) + escape(name)) for slot, name in names),
        class_="legend",
    )


def swatch(slot: str) -> str:
    """A spot of a line's colour."""
    return tag("i", "", class_=f"swatch {slot}")
