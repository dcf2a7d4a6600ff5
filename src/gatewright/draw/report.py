"""`report.html`: one page about one comparison that needs nothing but itself.

Data in, markup out: this module knows no torch and no training. Style and script stand
beside it as `report.css` and `report.js` and are written into the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from gatewright.draw.confusion import confusion_table
from gatewright.draw.curves import Curve, accuracy_curves, loss_curves
from gatewright.draw.elements import escape, figure, tag
from gatewright.draw.passage import Passage, passage_section
from gatewright.draw.strip import strip, strip_axis, strip_range


@dataclass(frozen=True, slots=True)
class Row:
    """One network of the comparison."""

    title: str
    about: str
    test: Sequence[float]  # accuracy, one a seed
    shown_test: str  # "97.1 ± 0.4 %"
    shown_validation: str
    parameters: int
    seconds: float
    history: Mapping[str, Sequence[Sequence[float]]]  # quantity to [seed][epoch]


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page shows."""

    title: str
    about: str  # of the data
    verdict: str  # what came out, in a sentence
    rows: Sequence[Row]
    best: int  # position of the best row
    caption: str  # of the table
    classes: Sequence[str]
    confusion: Sequence[Sequence[int]]  # [true][predicted]
    confusion_caption: str
    passage: Passage | None  # none where no network has gates to show
    method: Sequence[tuple[str, str]]  # what was done, and how
    licence: str  # of the data
    made_with: str


def report_page(report: Report) -> str:
    """The whole page, as HTML."""
    sections = [
        _section("result", "What came out", _table(report)),
        _section("curves", "How they learned", _curves(report)),
        _section("confusion", "Who is taken for whom", _confusion(report)),
        passage_section(report.passage) if report.passage else "",
        _section("method", "How it was done", _method(report)),
    ]
    header = tag(
        "header",
        tag("p", "Gatewright · a comparison", class_="eyebrow")
        + tag("h1", escape(report.title))
        + tag("p", escape(report.about), class_="lead")
        + tag("p", escape(report.verdict), class_="verdict"),
    )
    head = (
        '<meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        # No network: not even for the icon that browsers ask for on their own.
        '<link rel="icon" href="data:,">'
        + tag("title", escape(report.title))
        + tag("style", _beside("report.css"))
    )
    body = header + tag("main", "".join(sections)) + tag("footer", escape(report.made_with))
    script = tag("script", _beside("report.js"))
    return (
        "<!doctype html>\n"
        + tag("html", tag("head", head) + tag("body", body + script), lang="en")
        + "\n"
    )


def _beside(name: str) -> str:
    return files("gatewright.draw").joinpath(name).read_text(encoding="utf-8")


def _section(key: str, heading: str, content: str) -> str:
    return tag("section", tag("h2", heading, id=key) + content, aria_labelledby=key, class_=key)


def _table(report: Report) -> str:
    scale = strip_range([one for row in report.rows for one in row.test])
    head = "".join(
        (
            tag("th", "network", scope="col"),
            tag("th", "test accuracy", scope="col", class_="number"),
            tag("th", "each seed, %" + strip_axis(scale), scope="col", class_="strip"),
            tag("th", "validation", scope="col", class_="number"),
            tag("th", "parameters", scope="col", class_="number"),
            tag("th", "time a seed", scope="col", class_="number"),
        )
    )
    body = "".join(
        tag(
            "tr",
            tag(
                "th",
                _swatch(slot) + escape(row.title) + tag("small", escape(row.about)),
                scope="row",
            )
            + tag("td", escape(row.shown_test), class_="number strong")
            + tag("td", strip(row.test, scale, slot), class_="strip")
            + tag("td", escape(row.shown_validation), class_="number")
            + tag("td", f"{row.parameters:,}", class_="number")
            + tag("td", f"{row.seconds:.1f} s", class_="number"),
            class_="best" if slot == report.best else None,
        )
        for slot, row in enumerate(report.rows)
    )
    table = tag(
        "table",
        tag("caption", escape(report.caption)) + tag("thead", tag("tr", head)) + tag("tbody", body),
        class_="result",
    )
    return tag("div", table, class_="scrolls", tabindex=0, role="region", aria_label="result")


def _curves(report: Report) -> str:
    def curves(quantity: str) -> list[Curve]:
        return [
            Curve(row.title, slot, row.history[quantity]) for slot, row in enumerate(report.rows)
        ]

    seeds = len(report.rows[0].test)
    legend = tag(
        "ul",
        "".join(
            tag("li", _swatch(slot) + escape(row.title)) for slot, row in enumerate(report.rows)
        ),
        class_="legend",
    )
    panels = "".join(
        figure(draw(curves(quantity), f"{title}, by epoch"), tag("b", title) + f" · {note}")
        for draw, quantity, title, note in (
            (loss_curves, "train_loss", "Loss while learning", "with noise and dropout on"),
            (loss_curves, "validation_loss", "Loss on validation", "as the network is used"),
            (accuracy_curves, "train_accuracy", "Accuracy while learning", "same noise"),
            (accuracy_curves, "validation_accuracy", "Accuracy on validation", "as it is used"),
        )
    )
    many = f"A line is the mean of {seeds} seeds, the band reaches from the lowest to the highest."
    one = "Each line is one training."
    said = tag("p", many if seeds > 1 else one)
    return said + legend + tag("div", panels, class_="panels")


def _confusion(report: Report) -> str:
    wrong = sum(
        count
        for true, row in enumerate(report.confusion)
        for predicted, count in enumerate(row)
        if true != predicted
    )
    total = sum(sum(row) for row in report.confusion)
    times = {0: "never wrong", 1: "wrong once"}.get(wrong, f"wrong {wrong} times")
    said = tag(
        "p",
        "Each row is one true class, each column what the best model took it for. "
        f"It was {times} in {total}.",
    )
    table = confusion_table(report.confusion, report.classes, escape(report.confusion_caption))
    return said + tag(
        "div", table, class_="scrolls", tabindex=0, role="region", aria_label="confusion matrix"
    )


def _method(report: Report) -> str:
    items = "".join(
        tag("dt", escape(name)) + tag("dd", escape(said)) for name, said in report.method
    )
    return tag("dl", items) + tag("p", escape(report.licence), class_="licence")


def _swatch(slot: int) -> str:
    return tag("i", "", class_=f"swatch n{slot}")
