"""`report.html`: one self-contained page about a comparison.

It turns plain data into markup and needs neither torch nor training. The script
`page/report.js` is written into the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from gatewright.draw.page.elements import escape, figure, scrolling, tag
from gatewright.draw.page.page import Section, asset, legend, page, swatch, table
from gatewright.draw.plots.curves import Curve, loss_curves, plain_curves, share_curves
from gatewright.draw.plots.passage import Passage, passage_section
from gatewright.draw.plots.strip import strip, strip_axis, strip_range

#: Line colours in the style sheet of the page: n0, n1, ...
LINE_COLOURS = 8


@dataclass(frozen=True, slots=True)
class Row:
    """A network of the comparison, or a baseline."""

    title: str
    about: str
    test: Sequence[float]  # the deciding metric of each seed
    cells: Sequence[str]  # of the table of results, without the title
    costs: Sequence[str]  # of the table of costs, without the title
    history: Mapping[str, Sequence[Sequence[float]]] | None  # by quantity, [seed][epoch]


@dataclass(frozen=True, slots=True)
class Panel:
    """A picture of learning curves."""

    quantity: str  # a key of the history
    title: str
    note: str
    scale: Literal["loss", "share", "plain"]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the page shows."""

    title: str
    kind: str  # of the page: "a comparison"
    about: str  # of the data
    verdict: str  # the result in a sentence
    advice: Sequence[str]  # sentences on what would help
    metric: str  # the name of the deciding metric
    percent: bool  # show the metric in percent
    headings: Sequence[str]  # of the columns of results, without the first
    costs: Sequence[str]  # the headings of the costs
    costs_caption: str
    rows: Sequence[Row]  # networks first, then baselines
    best: int  # position of the best row
    caption: str  # of the table of results
    meanings: Sequence[tuple[str, str]]  # of its columns: names and explanations
    panels: Sequence[Panel]
    sections: Sequence[Section]
    passage: Passage | None  # None if no network has gates
    method: Sequence[tuple[str, str]]  # terms and their descriptions
    licence: str  # of the data
    made_with: str


def report_page(report: Report) -> str:
    """The page as HTML."""
    networks = [row for row in report.rows if row.history is not None]
    learned = "How it learned" if len(networks) == 1 else "How they learned"
    sections = [
        Section("result", "Results", _table(report) + _terms(report.meanings)),
        *([Section("advice", "What would help", _advice(report))] if report.advice else []),
        *([Section("curves", learned, _curves(report))] if _has_curves(report) else []),
        *report.sections,
        *([passage_section(report.passage)] if report.passage else []),
        Section("costs", "Costs", _costs(report)),
        Section("method", "How it was done", _method(report)),
    ]
    return page(
        report.title,
        f"Gatewright · {report.kind}",
        report.about,
        report.verdict,
        sections,
        report.made_with,
        script=asset("report.js"),
    )


def _table(report: Report) -> str:
    scale = strip_range([score for row in report.rows for score in row.test], report.percent)
    first, *further = report.headings
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
            *(tag("th", escape(text), scope="col", class_="number") for text in further),
        )
    )
    body = "".join(_row(index, row, report, scale) for index, row in enumerate(report.rows))
    markup = tag(
        "table",
        tag("caption", escape(report.caption)) + tag("thead", tag("tr", head)) + tag("tbody", body),
        class_="result",
    )
    return scrolling(markup, "result")


def _row(index: int, row: Row, report: Report, scale: tuple[float, float]) -> str:
    slot = line_slot(index) if row.history is not None else "base"
    first, *further = row.cells
    title = swatch(slot) + escape(row.title) + tag("small", escape(row.about))
    return tag(
        "tr",
        tag("th", title, scope="row")
        + tag("td", escape(first), class_="number strong")
        + tag("td", strip(row.test, scale, slot, report.percent), class_="strip")
        + "".join(tag("td", escape(text), class_="number") for text in further),
        class_="best" if index == report.best else None,
    )


def _advice(report: Report) -> str:
    return tag("ul", "".join(tag("li", escape(sentence)) for sentence in report.advice))


def _costs(report: Report) -> str:
    """The table of the parameters and of the time and memory of training, where known."""
    rows = [
        [escape(row.title), *map(escape, row.costs)]
        for row in report.rows
        if set(row.costs) != {"–"}
    ]
    return table(["network", *map(escape, report.costs)], rows, report.costs_caption, "costs")


def _has_curves(report: Report) -> bool:
    """True if a network learned for more than one epoch; one that is fitted at once has none."""
    histories = [row.history for row in report.rows if row.history is not None]
    return any(len(losses) > 1 for history in histories for losses in history["train_loss"])


def _curves(report: Report) -> str:
    networks = [(k, row) for k, row in enumerate(report.rows) if row.history is not None]

    def curves(quantity: str) -> list[Curve]:
        return [
            Curve(row.title, line_slot(index), row.history[quantity])
            for index, row in networks
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
    several = "A line is the mean over the seeds, the band extends from the lowest to the highest."
    words = tag("p", several if seeds > 1 else "Each line is one training.")
    names = legend((line_slot(index), row.title) for index, row in networks)
    return words + names + tag("div", panels, class_="panels")


def _method(report: Report) -> str:
    return _terms(report.method) + tag("p", escape(report.licence), class_="licence")


def _terms(terms: Sequence[tuple[str, str]]) -> str:
    """A list of terms and their descriptions."""
    return tag(
        "dl", "".join(tag("dt", escape(term)) + tag("dd", escape(text)) for term, text in terms)
    )


def line_slot(index: int) -> str:
    """The line colour of the row at this position."""
    return f"n{index % LINE_COLOURS}"
