"""The page in a real browser: every view, driven as people drive it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import torch

import gatewright as gw
from gatewright.data import Recordings, Text
from gatewright.deploy.page import document_of
from gatewright.designs.design import PLAIN
from gatewright.page.document import to_text
from gatewright.page.html import DOCUMENT_ID, write_page
from gatewright.tasks.classify import Classify
from gatewright.tasks.text.task import NextSymbol
from gatewright.training.model import Model
from gatewright.training.networks import NETWORKS

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
AXE = Path(__file__).parent.parent / "view" / "node_modules" / "axe-core" / "axe.min.js"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="the browser chromium is not installed")

STEPS = 14
#: A label that would be markup if it were not treated as text.
HOSTILE = "<img src=x onerror=document.title='taken'>"
PASSAGE = "a network reads a text one symbol at a time, and each gate lets a part of it through. "


def recordings(count: int = 8) -> Recordings:
    draw = np.random.Generator(np.random.PCG64(0))
    labels = np.arange(count) % 2
    sequences = tuple(
        (label * 2.0 - 1.0 + draw.normal(size=(STEPS, 2))).astype(np.float32) for label in labels
    )
    return Recordings(sequences, labels, ("no", HOSTILE))


def model_of(task: Any, data: Any, cell: str) -> Model:
    torch.manual_seed(0)
    model = Model(task, cell, NETWORKS[cell].build(task, 6, PLAIN))
    model.fit_scaling(data)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.6)
    return model.eval()


def classifier(cell: str) -> Model:
    return model_of(Classify.of(recordings()), recordings(), cell)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The pages by name, each written when it is visited first."""
    folder = tmp_path_factory.mktemp("pages")
    text = Text.from_string(PASSAGE * 8)
    documents = {
        "pair": lambda: document_of(
            {"lstm": classifier("lstm"), "rnn": classifier("rnn")},
            recordings(),
        ),
        "text": lambda: document_of(
            {"text": model_of(replace(NextSymbol.of(text), counted=False), text, "lstm")}, text
        ),
        "gru": lambda: document_of({"gru": gw.GRU(2, 5)}),
    }

    @cache
    def written(name: str) -> Path:
        path = folder / f"{name}.html"
        path.write_text(write_page(documents[name]()).html)
        return path

    return written


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as play:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-quic"]
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield chromium
        chromium.close()


class Visit:
    """A page that is open, with everything that it complained about or requested."""

    def __init__(self, browser: Any, path: Path, address: str = "", **options: Any) -> None:
        self.path = path
        self.page = browser.new_page(**{"viewport": {"width": 1300, "height": 900}, **options})
        self.page.set_default_timeout(10_000)
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page.on(
            "console",
            lambda message: (
                message.type in ("error", "warning") and self.problems.append(message.text)
            ),
        )
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(f"file://{self.path}#{address}")
        self.wait_for_views()

    def go(self, address: str) -> None:
        """Open the page anew at an address of it."""
        self.page.goto(f"file://{self.path}#{address}")
        self.page.reload()  # a new address by itself loads nothing
        self.wait_for_views()

    def wait_for_views(self) -> None:
        self.page.wait_for_selector("#tracks canvas")
        self.settle()

    def settle(self) -> None:
        """Wait until all numbers are there and drawn."""
        # A press of a button reaches the page before the next frame of it does.
        self.page.evaluate("new Promise(done => requestAnimationFrame(done))")
        self.page.wait_for_selector("html[data-working=false]")

    def wait_for(self, part: str) -> None:
        """Wait until the address has a part."""
        for _ in range(100):
            if part in self.page.evaluate("location.hash + '&'"):
                break
            self.page.wait_for_timeout(50)
        self.settle()

    @property
    def address(self) -> dict[str, str]:
        text = self.page.evaluate("location.hash").removeprefix("#")
        return dict(part.split("=", 1) for part in text.split("&") if part)

    def text(self, selector: str) -> str:
        content: str = self.page.inner_text(selector)
        return content

    def click(self, selector: str) -> None:
        self.page.click(selector)
        self.settle()

    def share(self) -> float:
        """The first probability, in percent."""
        return float(self.text("#prediction .number").split()[0])

    def close(self) -> None:
        self.page.close()
        assert self.problems == []
        loaded = [
            url for url in self.requests if not url.startswith(("data:", f"file://{self.path}"))
        ]
        assert loaded == []


@pytest.fixture
def visit(browser: Any, pages: Callable[[str], Path]) -> Iterator[Any]:
    visits: list[Visit] = []

    def start(name: str, address: str = "", **options: Any) -> Visit:
        visits.append(Visit(browser, pages(name), address, **options))
        return visits[-1]

    yield start
    for opened in visits:
        opened.close()


def test_a_page_shows_all_views_and_takes_labels_as_text(visit: Any) -> None:
    page = visit("pair")
    for panel in ("input", "tracks", "prediction", "zoom", "hold", "influence", "units", "search"):
        assert page.page.is_visible(f"#{panel}")
    assert page.page.is_visible("#memory")
    assert HOSTILE in page.text("#prediction")
    assert page.page.title() == "lstm and rnn · Gatewright"
    assert page.page.locator("#tracks canvas").count() == 8


@pytest.mark.quick
def test_all_views_in_short(visit: Any) -> None:
    """Each control once, for --quick: the other tests look at each of them closely."""
    page = visit("pair", "tour=1&zoom=model&threshold=-1", viewport={"width": 390, "height": 900})
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
    page.page.keyboard.press("ArrowRight")
    page.settle()
    assert page.page.is_visible(".tour .done")
    before = page.share()
    page.page.select_option("#hold select >> nth=0", label="f")
    page.settle()
    page.click("text=Close it: hold at 0")
    assert page.share() != before and "hold" in page.address
    address = page.page.evaluate("location.hash").removeprefix("#")
    page.go(f"{address}&span=2-4&pair=1")
    assert "is held at 0" in page.text("#hold")
    assert page.page.locator("#tracks canvas").count() == 9
    assert page.page.locator("#search .found button").count() > 0
    for key in "1234":
        page.page.keyboard.press(key)
        page.settle()
    assert page.page.is_visible("#zoom .formula")
    assert grave_faults(page) == []


def grave_faults(page: Visit) -> list[Any]:
    """The faults of the present view that axe-core calls serious or critical."""
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm ci --prefix view")
    # As an evaluated expression, since the page's policy forbids further scripts.
    page.page.evaluate(AXE.read_text())
    return [
        (rule["id"], [node["html"][:200] for node in rule["nodes"][:3]])
        for rule in page.page.evaluate("axe.run()")["violations"]
        if rule["impact"] in ("serious", "critical")
    ]


def test_the_numbers_of_the_page_are_those_of_the_model(visit: Any) -> None:
    page = visit("pair", "time=5&unit=2&name=l0.f&zoom=formula")
    model, data = classifier("lstm"), recordings()
    text = page.path.read_text().split(f'id="{DOCUMENT_ID}">')[1].split("</script>")[0]
    position = int(json.loads(text)["data"][0]["id"])
    probabilities = model.predict(data)[position]
    assert page.share() == pytest.approx(100 * probabilities.max(), abs=0.051)
    layer = model.recurrent
    events = (torch.from_numpy(data.sequences[position]) - model.mean) / model.scale
    gate = float(layer.trace(events[:, None])["f"][5, 0, 2])
    formula = page.text("#zoom .formula strong").replace("\u2212", "-")
    assert float(formula) == pytest.approx(gate, abs=0.0051)


@pytest.mark.slow(instead="test_all_views_in_short")
def test_the_influence_of_a_whole_sequence_counts_all_steps(visit: Any) -> None:
    page = visit("pair")
    page.page.wait_for_selector("#influence .influence-bars")
    page.settle()
    page.click("#influence summary")
    rows = page.page.locator("#influence tbody tr").all_inner_texts()
    sizes = [abs(float(row.split()[1].replace("\u2212", "-"))) for row in rows]
    last = next(k for k in range(1, STEPS + 1) if sum(sizes[-k:]) >= sum(sizes) / 2)
    words = "the last step." if last == 1 else f"the last {last} steps."
    assert f"Half of all influence comes from {words}" in page.text("#influence")


@pytest.mark.slow(instead="test_all_views_in_short")
def test_an_edited_value_changes_the_answer_and_can_be_undone(visit: Any) -> None:
    page = visit("pair")
    before = page.share()
    chart = page.page.locator("#input .timeline").bounding_box()
    place = (chart["x"] + chart["width"] * 0.5, chart["y"] + chart["height"] * 0.5)
    page.page.mouse.move(*place)
    page.page.mouse.down()
    page.page.mouse.move(place[0], chart["y"] + 2)
    page.page.mouse.move(place[0], chart["y"] + 1)
    page.page.mouse.up()
    page.settle()
    assert "edits" in page.address
    assert page.share() != before
    page.click("text=Undo all changes")
    assert "edits" not in page.address
    assert page.share() == before
    # A drawn stroke changes every step that it passes.
    page.click("text=Draw freely")
    page.page.mouse.move(chart["x"] + 5, chart["y"] + 40)
    page.page.mouse.down()
    page.page.mouse.move(chart["x"] + chart["width"] - 5, chart["y"] + 60)
    page.page.mouse.up()
    page.settle()
    assert len(page.address["edits"].split("%2C")) == STEPS


@pytest.mark.slow(instead="test_all_views_in_short")
def test_typed_text_is_read_at_once(visit: Any) -> None:
    page = visit("text")
    page.page.fill("textarea", "a network")
    page.wait_for("text=a")
    assert page.text("#input .tokens") == "a network"
    assert "after step 8" in page.text("#prediction")
    page.page.fill("textarea", "a ñetwork")
    page.wait_for("%C3%B1")
    assert "never seen “ñ”" in page.text("#input")
    page.page.fill("textarea", "")
    page.wait_for("text=&")
    assert page.page.locator("#input .tokens span").count() == 1


@pytest.mark.slow(instead="test_all_views_in_short")
def test_a_closed_gate_is_forgotten_until_it_is_released(visit: Any) -> None:
    page = visit("pair", "zoom=cell&unit=1&name=l0.f&time=9")
    before = page.share()
    page.click("text=Close it: hold at 0")
    assert page.address["hold"] == quote("l0.f:all:0:0-13", safe="")
    assert page.share() != before
    forget = page.page.locator("#tracks .track", has_text="forget").first.inner_text()
    assert "unit 1: 0 " in forget
    page.click("text=Release")
    assert page.share() == before
    page.click("text=Cut out the input of step 9")
    assert page.address["cut"] == "9"
    assert page.share() != before
    page.click("text=Restore")
    assert page.share() == before


@pytest.mark.slow(instead="test_all_views_in_short")
def test_a_selected_span_is_searched_in_all_examples(visit: Any) -> None:
    page = visit("pair", "name=l0.h&threshold=0.1")
    box = page.page.locator("#tracks .timeline").bounding_box()
    step = box["width"] / STEPS
    page.page.mouse.move(box["x"] + 3.5 * step, box["y"] + 40)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + 4.5 * step, box["y"] + 40)
    page.page.mouse.move(box["x"] + 5.5 * step, box["y"] + 40)
    page.page.mouse.up()
    page.page.wait_for_timeout(300)
    page.settle()
    assert page.address["span"] == "3-5"
    matches = page.page.locator("#search .found button")
    assert matches.count() > 0
    matches.first.click()
    page.settle()
    assert page.address["span"] != "3-5" or "example" in page.address


@pytest.mark.slow(instead="test_all_views_in_short")
def test_two_models_are_read_side_by_side(visit: Any) -> None:
    page = visit("pair")
    page.click("text=Side by side")
    assert page.page.locator("#tracks canvas").count() == 9
    assert page.page.locator("#prediction h3").all_inner_texts() == ["lstm", "rnn"]
    page.click('.top button:text-is("rnn")')
    assert page.page.locator("#tracks canvas").count() == 1
    assert "no gates" in page.text("#units")


@pytest.mark.slow(instead="test_all_views_in_short")
def test_the_zoom_leads_from_the_model_to_a_formula(visit: Any) -> None:
    page = visit("pair", "zoom=model&time=4")
    assert "Read-out" in page.text("#zoom")
    page.click("#zoom button.stage")
    assert page.address["zoom"] == "layer"
    page.click("#zoom .box[aria-current]")
    assert page.page.is_visible("#zoom svg.gatewright-cell")
    live = page.page.locator("#zoom .live text").all_inner_texts()
    assert len(live) >= 8
    page.page.locator('#zoom [data-name="f"] rect').first.dispatch_event("click")
    page.settle()
    assert page.address["zoom"] == "formula" and page.address["name"] == "l0.f"
    assert "sigmoid(" in page.text("#zoom .formula")


@pytest.mark.slow(instead="test_all_views_in_short")
def test_keys_move_the_cursor_the_unit_and_the_zoom(visit: Any) -> None:
    page = visit("pair", "time=4&unit=0&order=number")
    for key, field, value in [
        ("ArrowRight", "time", "5"),
        ("ArrowLeft", "time", "4"),
        ("End", "time", "13"),
        ("ArrowDown", "unit", "1"),
        ("1", "zoom", "model"),
        ("4", "zoom", "formula"),
    ]:
        page.page.keyboard.press(key)
        page.settle()
        assert page.address[field] == value
    name = page.address["name"]
    page.page.keyboard.press("[")
    page.settle()
    assert page.address["name"] != name
    page.page.keyboard.press("Home")
    page.page.keyboard.press(" ")
    page.page.wait_for_timeout(900)
    assert int(page.address.get("time", "0")) > 0


@pytest.mark.slow(instead="test_all_views_in_short")
def test_every_state_is_an_address(visit: Any) -> None:
    address = (
        "example=1&edits=0%3A3%3A1.5&time=6&name=l0.c&unit=3&zoom=formula&order=similarity&lines=1"
        "&span=2-4&threshold=0.2&hold=l0.f%3A2%3A1%3A0-5&cut=1&channel=1&output=1&lesson=1"
    )
    page = visit("pair", address)
    first = {panel: page.text(f"#{panel}") for panel in ("prediction", "zoom", "hold", "search")}
    assert "is held at 1" in first["hold"] and "cut out" in first["hold"]
    page.click("text=Tour")
    page.click("text=End the tour")
    page.go(address)
    again = {panel: page.text(f"#{panel}") for panel in first}
    assert again == first
    # What it cannot be read as is left out.
    page.go(
        "example=99&time=1e9&unit=-1&name=<b>&zoom=none&hold=x&edits=NaN&span=9-1&cut=a&%E0%A4%A"
    )
    assert page.page.is_visible("#tracks canvas")


@pytest.mark.slow(instead="test_all_views_in_short")
def test_back_returns_to_the_place_before(visit: Any) -> None:
    page = visit("pair", "zoom=model")
    page.page.keyboard.press("3")
    page.settle()
    page.page.go_back()
    page.settle()
    assert page.address["zoom"] == "model"


TOUR = [
    ("key", "ArrowRight"),
    ("text", "The short-term memory h"),
    ("largest", ""),
    ("text", "Close it: hold at 0"),
    ("sum", ""),
    ("hold o", ""),
    ("text", "The output gate"),
    ("text", "It stays as it was"),
    ("answer", "0.028"),
    ("answer", "0.37"),
]


@pytest.mark.slow(instead="test_all_views_in_short")
def test_the_tour_can_be_done_step_by_step(visit: Any) -> None:
    page = visit("pair", "unit=1")
    page.click("text=Tour")
    for number, (kind, what) in enumerate(TOUR, start=1):
        assert f"{number} of 10" in page.text(".tour h2")
        assert page.address["tour"] == str(number)
        assert not page.page.is_visible(".tour .done")
        if kind == "key":
            page.page.keyboard.press(what)
        elif kind == "text":
            buttons = page.page.locator("#hold button" if number == 4 else ".tour button")
            buttons.filter(has_text=what).click()
        elif kind == "answer":
            page.page.fill(".tour input", "17")
            page.page.click("text=Check")
            page.settle()
            assert page.page.is_visible(".tour .missed")
            page.page.fill(".tour input", what)
            page.page.click("text=Check")
        elif kind == "sum":
            learn, forget = (
                float(word.rstrip(".").replace("\u2212", "-"))
                for word in page.text(".tour")
                .split("learn is ")[1]
                .split("\n")[0]
                .split(" and forget is ")
            )
            page.page.fill(".tour input", f"{learn + forget:.3f}")
            page.page.click("text=Check")
        elif kind == "hold o":
            page.page.select_option("#hold select >> nth=0", label="o")
            page.settle()
            page.page.click("text=Close it: hold at 0")
        else:
            for step in range(STEPS):
                page.page.keyboard.press("Home") if step == 0 else page.page.keyboard.press(
                    "ArrowRight"
                )
                page.settle()
                if page.page.is_visible(".tour .done"):
                    break
        page.settle()
        assert page.page.is_visible(".tour .done"), (number, page.text(".tour"))
        label = "Finish" if number == len(TOUR) else "Next"
        page.page.click(f'.tour button:text-is("{label}")')
        page.settle()
    assert not page.page.is_visible(".tour")


@pytest.mark.slow(instead="test_all_views_in_short")
@pytest.mark.parametrize("name", ["text", "gru"])
def test_each_step_of_the_tour_has_a_task_for_every_model(visit: Any, name: str) -> None:
    page = visit(name)
    for number in range(1, 11):
        page.go(f"tour={number}")
        assert f"{number} of 10" in page.text(".tour h2")
        assert page.text(".tour .task")


@pytest.mark.slow(instead="test_all_views_in_short")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1300])
def test_the_page_fits_and_is_accessible(visit: Any, scheme: str, width: int) -> None:
    page = visit(
        "pair",
        "tour=4&span=2-4&threshold=-1",
        color_scheme=scheme,
        viewport={"width": width, "height": 900},
    )
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.page.evaluate("document.documentElement.dataset.theme") == scheme
    for level in "1234":
        page.page.keyboard.press(level)
        page.settle()
        assert grave_faults(page) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace('"version":1', '"version":7', 1), "version 7"),
        (lambda text: text[: len(text) // 2], "damaged"),
        (lambda text: text.replace('"gatewright-page"', '"other"', 1), "format"),
    ],
)
def test_a_damaged_document_is_refused_with_a_message(
    browser: Any, tmp_path: Path, change: Any, words: str
) -> None:
    document = document_of({"gru": gw.GRU(2, 3)})
    whole = write_page(document).html
    text = to_text(document)
    assert text in whole
    path = tmp_path / "damaged.html"
    path.write_text(whole.replace(text, change(text)))
    page = browser.new_page()
    page.goto(f"file://{path}")
    page.wait_for_selector("[role=alert]")
    assert words in page.inner_text("[role=alert]")
    assert json.dumps(page.inner_text("body")).count("undefined") == 0
    page.close()
