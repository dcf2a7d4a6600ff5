"""A page that needs nothing but itself: head, style and sections around given markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from gatewright.draw.elements import escape, scrolling, tag


@dataclass(frozen=True, slots=True)
class Part:
    """A section of the page: its key, its heading, and its markup."""

    key: str
    heading: str
    markup: str


def page(
    title: str, eyebrow: str, lead: str, verdict: str, parts: Sequence[Part], footer: str
) -> str:
    """The whole page, as HTML; everything but the parts' markup is plain text."""
    header = tag(
        "header",
        tag("p", escape(eyebrow), class_="eyebrow")
        + tag("h1", escape(title))
        + tag("p", escape(lead), class_="lead")
        + tag("p", escape(verdict), class_="verdict"),
    )
    style = files("gatewright.draw").joinpath("report.css").read_text(encoding="utf-8")
    head = (
        '<meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        # No network: not even for the icon that browsers ask for on their own.
        '<link rel="icon" href="data:,">' + tag("title", escape(title)) + tag("style", style)
    )
    sections = "".join(
        tag(
            "section",
            tag("h2", escape(one.heading), id=one.key) + one.markup,
            aria_labelledby=one.key,
            class_=one.key,
        )
        for one in parts
    )
    body = header + tag("main", sections) + tag("footer", escape(footer))
    return (
        "<!doctype html>\n" + tag("html", tag("head", head) + tag("body", body), lang="en") + "\n"
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


def swatch(slot: str) -> str:
    """A spot of a line's colour."""
    return tag("i", "", class_=f"swatch {slot}")
