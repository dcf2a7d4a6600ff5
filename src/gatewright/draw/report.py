"""`report.html`: one page about one comparison that needs nothing but itself.

Data in, markup out: this module knows no torch and no training. The script stands beside it
as `report.js` and is written into the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gatewright.draw.page.elements import escape, figure, scrolling, tag
from gatewright.draw.page.page import Section, beside, legend, page, swatch
from gatewright.draw.plots.curves import Curve, loss_curves, plain_curves, share_curves
from gatewright.draw.plots.passage import Passage, passage_section
from gatewright.draw.plots.strip import strip, strip_axis, strip_range

#: How many line colours the page's style has: n0, n1, ...
LINES = 8


@dataclass(frozen=True, slots=True)
class Row:
    """One network of the comparison, or a baseline."""

    title: str
    about: str
    test: Sequence[float]  # the metric that decides, one a seed
    shown: Sequence[str]  # the cells of the table, without the title
    history: Mapping[str, Sequence[Sequence[float]]] | None  # quantity to [seed][epoch]


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of learning curves."""

    quantity: str  # which of the history
    title: str
    note: str
    scale: Literal["loss", "share", "plain"]


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page shows."""

    title: str
    about: str  # of the data
    verdict: str  # what came out, in a sentence
    metric: str  # the title of what decides
    percent: bool  # whether that is a share
    headings: Sequence[str]  # of the table's columns, without the first
    rows: Sequence[Row]  # networks first, then baselines
    best: int  # position of the best row
    caption: str  # of the table
    panels: Sequence[Panel]
    sections: Sequence[Section]
    passage: Passage | None  # none where no network has gates to show
    method: Sequence[tuple[str, str]]  # what was done, and how
    licence: str  # of the data
    made_with: str


def report_page(report: Report) -> str:
    """The whole page, as HTML."""
    sections = [
        Section("result", "What came out", _table(report)),
        Section("curves", "How they learned", _curves(report)),
        *report.sections,
        *([passage_section(report.passage)] if report.passage else []),
        Section("method", "How it was done", _method(report)),
    ]
    return page(
        report.title,
        "Gatewright · a comparison",
        report.about,
        report.verdict,
        sections,
        report.made_with,
        script=beside("report.js"),
    )


def _table(report: Report) -> str:
    scale = strip_range([one for row in report.rows for one in row.test], report.percent)
    first, *others = report.headings
    unit = ", %" if report.percent else ""
    head = "".join(
        (
            tag("th", "network", scope="col"),
            tag("th", escape(first), scope="col", class_="number"),
            tag(
                "th",
                f"each seed{unit}" + strip_axis(scale, report.percent),
                scope="col",
                class_="strip",
            ),
            *(tag("th", escape(one), scope="col", class_="number") for one in others),
        )
    )
    body = "".join(_row(slot, row, report, scale) for slot, row in enumerate(report.rows))
    table = tag(
        "table",
        tag("caption", escape(report.caption)) + tag("thead", tag("tr", head)) + tag("tbody", body),
        class_="result",
    )
    return scrolling(table, "result")


def _row(at: int, row: Row, report: Report, scale: tuple[float, float]) -> str:
    slot = line_slot(at) if row.history is not None else "base"
    first, *others = row.shown
    title = swatch(slot) + escape(row.title) + tag("small", escape(row.about))
    return tag(
        "tr",
        tag("th", title, scope="row")
        + tag("td", escape(first), class_="number strong")
        + tag("td", strip(row.test, scale, slot, report.percent), class_="strip")
        + "".join(tag("td", escape(one), class_="number") for one in others),
        class_="best" if at == report.best else None,
    )


def _curves(report: Report) -> str:
    networks = [(at, row) for at, row in enumerate(report.rows) if row.history is not None]

    def curves(quantity: str) -> list[Curve]:
        return [
            Curve(row.title, line_slot(at), row.history[quantity])
            for at, row in networks
            if row.history is not None
        ]

    draw = {"loss": loss_curves, "share": share_curves, "plain": plain_curves}
    panels = "".join(
        figure(
            draw[panel.scale](curves(panel.quantity), f"{panel.title}, by epoch"),
            tag("b", escape(panel.title)) + f" · {escape(panel.note)}",
        )
        for panel in report.panels
    )
    seeds = max(len(row.test) for _, row in networks)
    many = "A line is the mean over the seeds, the band reaches from the lowest to the highest."
    said = tag("p", many if seeds > 1 else "Each line is one training.")
    names = legend((line_slot(at), row.title) for at, row in networks)
    return said + names + tag("div", panels, class_="panels")


def _method(report: Report) -> str:
    items = "".join(
        tag("dt", escape(name)) + tag("dd", escape(said)) for name, said in report.method
    )
    return tag("dl", items) + tag("p", escape(report.licence), class_="licence")


def line_slot(at: int) -> str:
    """Which of the page's line colours the row at this position has."""
    return f"n{at % LINES}"
