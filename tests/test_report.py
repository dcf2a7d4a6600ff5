"""The report: a self-contained page, with pictures that show the values they were given."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from gatewright.draw.page.elements import short, ticks
from gatewright.draw.plots.confusion import confusion_section, confusion_table
from gatewright.draw.plots.curves import Curve, loss_curves, share_curves
from gatewright.draw.plots.heatmap import HeatMap, heat_map, unit_order
from gatewright.draw.plots.passage import Belief, Gate, Passage
from gatewright.draw.plots.strip import strip, strip_range
from gatewright.draw.report import Panel, Report, Row, report_page

SVG = "{http://www.w3.org/2000/svg}"
VOID = {"meta", "link", "input", "br"}


class Outline(HTMLParser):
    """The tags of a page; fails where a tag is not closed in the order of opening."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


QUANTITIES = ("train_loss", "validation_loss", "metric")


def row(title: str, test: list[float]) -> Row:
    history = [[0.9, 0.5, 0.2 + seed / 10] for seed in range(len(test))]
    histories = dict.fromkeys(QUANTITIES, history)
    return Row(title, "<about>", test, ["90.0", "80.0"], ["1,000", "3.0 ms"], histories)


def report(**changes: object) -> Report:
    factor = HeatMap("f", "forget factor", "factor", [[0.0, 1.0], [0.5, 0.25], [1.0, 0.0]])
    signed = HeatMap("remember", "memory", "signed", [[-1.0, 2.3], [0.0, 0.1], [1.0, -0.5]])
    original = Report(
        title="Two <networks> & more",
        kind="a comparison",
        about="About <the> data.",
        verdict="It came out.",
        advice=["More <data> would help."],
        metric="accuracy",
        percent=True,
        headings=["accuracy, %", "validation"],
        costs=["parameters", "a step"],
        costs_caption="A step of <training>.",
        rows=[
            row("LSTM", [0.9, 0.95, 0.97]),
            row("GRU", [0.91, 0.94, 0.99]),
            Row("majority", "<about>", [0.5], ["50.0", "50.0"], ["–", "–"], None),
        ],
        best=1,
        caption="n = 370",
        meanings=[("accuracy", "The <share> of right answers.")],
        panels=[
            Panel("train_loss", "Loss", "with <noise>", "loss"),
            Panel("validation_loss", "Loss on validation", "as used", "loss"),
            Panel("metric", "Accuracy", "as used", "share"),
            Panel("metric", "The same", "not in percent", "plain"),
        ],
        sections=[confusion_section([[9, 1], [0, 10]], ["a", "<b>"], "The best", "things")],
        passage=Passage(
            heading="One recording",
            about="One recording: the first.",
            diagram="<svg xmlns='http://www.w3.org/2000/svg'><title>cell</title></svg>",
            event=HeatMap("x", "event", "signed", [[0.0], [1.0], [2.0]]),
            gates=[Gate("forget gate", "forget = f * c", "Keeps.", [factor, signed])],
            order="most on top",
            belief=Belief([[0.5, 0.5], [0.8, 0.2], [0.9, 0.1]], ["a", "<b>"], true=0),
        ),
        method=[("data", "some < many")],
        licence="CC BY 4.0",
        made_with="Made",
    )
    return replace(original, **changes)


def test_the_page_is_well_formed_and_escapes_its_texts() -> None:
    page = report_page(report())
    assert page.startswith("<!doctype html>")
    outline = Outline(page)
    assert outline.all("html") == [{"lang": "en"}]
    assert "<networks>" not in page and "&lt;networks&gt; &amp; more" in page
    assert "<b>, the true" not in page and "some &lt; many" in page


def test_the_page_loads_nothing_from_the_network() -> None:
    page = report_page(report())
    for attribute in ("src", "href", "action", "data", "poster", "srcset"):
        for _, attributes in Outline(page).tags:
            assert (attributes.get(attribute) or "data:").startswith("data:")
    assert "@import" not in page and "url(" not in page
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) <= {"http://www.w3.org/2000/svg"}


def test_the_page_works_with_a_screen_reader() -> None:
    outline = Outline(report_page(report()))
    ids = [attributes["id"] for _, attributes in outline.tags if attributes.get("id")]
    assert len(ids) == len(set(ids))
    for section in outline.all("section"):
        assert section["aria-labelledby"] in ids
    assert all(cell.get("scope") in ("row", "col") for cell in outline.all("th"))
    assert len(outline.all("caption")) == len(outline.all("table")) == 3
    assert len(outline.all("h1")) == 1
    page = report_page(report())
    pictures = page.count('role="img"')
    assert pictures >= 9 and page.count("<title>") >= pictures


def test_light_and_dark_define_the_same_colours() -> None:
    page = report_page(report())
    light, dark = re.search(
        r":root \{(.*?)\}.*?prefers-color-scheme: dark\) \{\s*:root \{(.*?)\}", page, re.S
    ).groups()
    names = [set(re.findall(r"(--[\w-]+):", theme)) for theme in (light, dark)]
    assert names[0] == names[1]
    used = set(re.findall(r"var\((--[\w-]+)[),]", page))
    assert used - {"--line", "--share", "--step", "--steps"} <= names[0]
    # Every colour is in the two lists: a colour elsewhere would be the same in both themes.
    rest = page.replace(light, "").replace(dark, "")
    assert not re.findall(r"#[0-9a-f]{3,8}\b(?=[;\"'])", rest)


def test_advice_meanings_and_costs_are_on_the_page() -> None:
    page = report_page(report())
    assert "<li>More &lt;data&gt; would help.</li>" in page and "&lt;share&gt; of right" in page
    costs = page[page.index('<h2 id="costs"') : page.index('<h2 id="method"')]
    assert "3.0 ms" in costs and "majority" not in costs  # its costs were not measured
    assert 'id="advice"' not in report_page(report(advice=[]))


def test_without_gates_there_is_no_passage() -> None:
    page = report_page(report(passage=None))
    assert "section.passage" in page and 'id="passage"' not in page


@pytest.mark.parametrize("epochs", [1, 2])
def test_one_network_and_one_seed(epochs: int) -> None:
    history = {key: [[1.0] * epochs] for key in QUANTITIES}
    only = Row("RNN", "", [1.0], ["100.0", "100.0"], ["9", "1.0 ms"], history)
    page = report_page(report(rows=[only], best=0))
    Outline(page)
    assert "nan" not in page.lower().replace("nano", "")
    # A network that is fitted at once has no curve.
    assert ("Each line is one training" in page) == (epochs > 1)
    assert ('id="curves"' in page) == (epochs > 1)


# The pictures.
def test_curves_join_the_means_inside_a_band_of_the_extremes() -> None:
    values = [[1.0, 0.1], [1.0, 0.4]]
    drawing = ET.fromstring(loss_curves([Curve("a", "n2", values)], "loss"))
    line = drawing.find(f".//{SVG}polyline")
    assert line.get("class") == "line n2"
    heights = [float(pair.split(",")[1]) for pair in line.get("points").split()]
    band = drawing.find(f".//{SVG}polygon").get("points").split()
    ends = sorted(float(pair.split(",")[1]) for pair in band[1:3])
    assert heights[0] < ends[0] < heights[1] < ends[1]  # y grows downwards on the page
    # Logarithmic: from 0.4 to 0.1 is twice as far as from 0.2 to 0.1, so 0.25 is not midway.
    assert heights[1] - ends[0] < (ends[1] - ends[0]) / 2


def test_accuracy_of_one_is_at_the_top() -> None:
    drawing = ET.fromstring(share_curves([Curve("a", "n0", [[0.2, 0.9, 1.0]])], "accuracy"))
    assert "100\xa0%" in [text.text for text in drawing.iter(f"{SVG}text")]
    points = drawing.find(f".//{SVG}polyline").get("points").split()
    assert float(points[-1].split(",")[1]) == 12.0


def test_levels_of_factors_are_fixed_to_zero_and_one() -> None:
    narrow = HeatMap("f", "", "factor", [[0.5, 0.52], [0.48, 0.5]])
    assert narrow.levels() == [[5, 5], [5, 5]]
    assert HeatMap("f", "", "factor", [[0.0, 1.0]]).levels() == [[0, 10]]


def test_levels_of_signed_values_are_symmetric_about_zero() -> None:
    within = HeatMap("g", "", "signed", [[-1.0, 0.0, 1.0, 0.5]])
    assert within.limit == 1.0 and within.levels() == [[0, 10, 20, 15]]
    beyond = HeatMap("c", "", "signed", [[2.3, -0.25]])
    assert beyond.limit == 2.5 and beyond.levels() == [[19, 9]]
    assert HeatMap("c", "", "signed", [[0.0, 0.0]]).levels() == [[10, 10]]


def test_every_cell_of_a_map_is_covered_once_with_its_level() -> None:
    factors = HeatMap("f", "", "factor", [[0.0, 1.0], [0.5, 1.0], [0.5, 0.0], [0.5, 1.0]])
    markup = heat_map(factors)
    painted: dict[tuple[int, int], int] = {}
    for level, path in re.findall(r'<path class="s(\d+)" d="([^"]*)"', markup):
        for start, unit, width in re.findall(r"M(\d+) (\d+)h(\d+)v1H\1z", path):
            for step in range(int(start), int(start) + int(width)):
                assert (step, int(unit)) not in painted
                painted[step, int(unit)] = int(level)
    levels = factors.levels()
    assert painted == {(t, u): levels[t][u] for t in range(4) for u in range(2)}
    assert 'data-means="0.50 0.75 0.25 0.75"' in markup
    assert 'viewBox="0 0 4 2"' in markup and "units over 4 steps" in markup


def test_rows_and_steps_have_names() -> None:
    values = [[0.0] * 30, [1.0] * 30]
    named = HeatMap(
        "x", "event", "signed", values, [f"c<{row}" for row in range(30)], ["mon", "tue"]
    )
    outline = Outline(heat_map(named, rows="channels"))
    names = [item["title"] for item in outline.all("li")]
    assert names == [f"c<{row}" for row in range(30)]
    shown = re.findall(r"<li[^>]*>([^<]+)</li>", heat_map(named))
    assert shown == [f"c&lt;{row}" for row in range(0, 30, 3)]  # as many as fit
    assert '<div class="axis"><span>mon</span><span>tue</span></div>' in heat_map(named)
    plain = heat_map(HeatMap("x", "event", "signed", values))
    assert "<li" not in plain and "<span>step 1</span><span>step 2</span>" in plain


def test_a_heat_map_computes_its_limit_once() -> None:
    class Counting(list):
        passes = 0

        def __iter__(self):
            Counting.passes += 1
            return super().__iter__()

    values = Counting([[0.1 * step, -0.2] for step in range(50)])
    HeatMap("g", "", "signed", values).levels()
    assert Counting.passes == 2


def test_units_are_ordered_by_their_mean() -> None:
    assert unit_order([[0.1, 0.9, 0.5], [0.2, 0.7, 0.9]]) == [1, 2, 0]


def test_confusion_counts_are_in_their_rows() -> None:
    outline = Outline(confusion_table([[9, 1], [0, 10]], ["a", "b"], "n = 20"))
    cells = [td for td in outline.all("td") if (td.get("style") or "").startswith("--share")]
    assert [cell["style"] for cell in cells] == [
        "--share:0.900",
        "--share:0.100",
        "--share:0.000",
        "--share:1.000",
    ]
    assert [cell["class"] for cell in cells] == ["right deep", "wrong", "none", "right deep"]
    assert "9 of 10" in confusion_table([[9, 1], [0, 10]], ["a", "b"], "")
    assert "none" in confusion_table([[0, 0], [0, 1]], ["a", "b"], "")  # a class not in the part


@pytest.mark.parametrize("percent", [True, False])
@pytest.mark.parametrize("values", [[1.0], [0.96, 1.0], [0.0], [0.5, 0.5], [0.301, 0.999]])
def test_every_dot_is_on_the_strip(values: list[float], percent: bool) -> None:
    drawing = ET.fromstring(strip(values, strip_range(values, percent), "n0", percent))
    positions = [float(dot.get("cx")) for dot in drawing.iter(f"{SVG}circle")]
    assert len(positions) == len(values) and all(0 < x < 220 for x in positions)


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0.7, 1.0) == [0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0]
    assert ticks(1, 60) == [10, 20, 30, 40, 50, 60]
    assert [short(value) for value in (1.0, 0.25, 10.04)] == ["1", "0.2", "10"]
