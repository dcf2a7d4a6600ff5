"""The diagram of a cell, measured in the SVG itself: positions, overlaps and crossings."""

from __future__ import annotations

import itertools
import random
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import pytest

import gatewright as gw
from gatewright import diagonal, layer_norm, linear, noise, parameter, sigmoid, tanh, where
from gatewright.draw.diagram.cell_diagram import svg
from gatewright.draw.diagram.layout import lay_out
from gatewright.draw.diagram.measure import text_width
from gatewright.draw.diagram.picture import picture
from gatewright.draw.page.standalone import style
from gatewright.errors import ModelError
from gatewright.language.cell import StoredCell
from gatewright.language.equations import Equations
from odd_cells import CLASSIC

SPACE = "{http://www.w3.org/2000/svg}"
LSTM, GRU = gw.CELLS["lstm"], gw.CELLS["gru"]


class Glimpse(gw.Cell):
    """LSTM whose forget gate also sees the long-term memory."""

    def step(self, x, h, c):
        g = tanh(linear(x, h))
        i = sigmoid(linear(x, h))
        f = sigmoid(linear(x, h) + diagonal(c))
        o = sigmoid(linear(x, h))
        learn = i * g
        forget = f * c
        remember = learn + forget
        use = o * tanh(remember)
        return gw.state(h=use, c=remember)


class Normed(gw.Cell):
    def step(self, x, h, c):
        gain = parameter(start=1.0)
        g = tanh(gain * layer_norm(linear(x, h)))
        i = sigmoid(layer_norm(linear(x)) + layer_norm(linear(h)))
        f = sigmoid(layer_norm(linear(x, h)))
        remember = f * c + i * g
        use = sigmoid(linear(x, h)) * tanh(layer_norm(remember))
        return gw.state(h=use, c=remember)


class Decay(gw.Cell):
    sizes: ClassVar = {"s": 4, "dt": 1}

    def step(self, x, h, s, *, dt):
        rate = gw.exp(-dt * sigmoid(parameter()))
        f = sigmoid(linear(x, h))
        s = 0.9 * s + 0.1 * tanh(linear(x, h, size=4, name="slow"))
        h = f * (rate * h) + (1 - f) * tanh(linear(x, s, dt))
        return gw.state(h=h, s=s)


class Micro(gw.Cell):
    steps: int = 3

    def step(self, x, h):
        for k in range(self.steps):
            z = sigmoid(linear(x, h, name=f"z{k}"))
            n = tanh(linear(x, h, name=f"n{k}"))
            h = (1 - z) * n + z * h
        return gw.state(h=h)


class Outer(gw.Cell):
    inner: gw.Cell = LSTM()

    def step(self, x, h, c, slow):
        h, c = self.inner(x, h, c)
        rate = sigmoid(linear(h, slow))
        slow = rate * slow + (1 - rate) * h
        return gw.state(h=h, c=c, slow=slow, output=slow + h)


class OneGate(gw.Cell):
    def step(self, x, h):
        z = sigmoid(linear(x))
        return gw.state(h=z * h + (1 - z) * x)


class Stabilised(gw.Cell):
    def step(self, x, h, c, n, m):
        z = tanh(linear(x, h))
        i = linear(x, h)
        f = linear(x, h)
        o = sigmoid(linear(x, h))
        top = gw.maximum(f + m, i)
        write = gw.exp(i - top)
        keep = gw.exp(f + m - top)
        c = keep * c + write * z
        n = keep * n + write
        return gw.state(h=o * (c / n), c=c, n=n, m=top)


class Zoneout(gw.Cell):
    def step(self, x, h):
        m = noise(0.1)
        z = sigmoid(linear(x, h))
        new = z * h + (1 - z) * tanh(linear(x, h, name="n"))
        return gw.state(h=m * h + (1 - m) * new)


class Shift(gw.Cell):
    sizes: ClassVar = {"a": "input", "b": "input", "c": "input"}

    def step(self, x, a, b, c):
        y = tanh(linear(a, b, c, size="hidden"))
        return gw.state(a=x, b=a, c=b, output=y)


class Unchanged(gw.Cell):
    """A state that stays, a state set to a number, and a state set to a learned vector."""

    def step(self, x, h, a, b):
        return gw.state(h=h, a=0.5, b=parameter(size="hidden", name="start"))


class Odd(gw.Cell):
    """<b>&"quotes"</b> & ünïcode 漢字 ]]> in a first line that is far too long for any diagram."""

    def step(self, x, gedächtnis):
        größe_der_vergessenheit = sigmoid(linear(x, gedächtnis))
        rest = where(größe_der_vergessenheit > 0.5, gedächtnis, 0.0)
        new = tanh(linear(x)) * größe_der_vergessenheit**2 - rest / 3
        return gw.state(gedächtnis=new)


class Wordy(gw.Cell):
    def step(self, x, h, long_term_memory):
        what_is_new_now = tanh(linear(x, h))
        how_much_of_that_is_new = sigmoid(linear(x, h))
        what_is_written_down = what_is_new_now * how_much_of_that_is_new
        long_term_memory = long_term_memory + what_is_written_down
        what_it_says = tanh(long_term_memory)
        what_it_does_not_say = 1 - what_it_says
        what_is_left_in_the_end = sigmoid(what_it_does_not_say)
        return gw.state(h=what_is_left_in_the_end, long_term_memory=long_term_memory)


class Random(gw.Cell):
    seed: int = 0
    count: int = 40

    def step(self, x, h, c, m):
        chance = random.Random(self.seed)
        pool = [h, c, m]
        for k in range(self.count):
            a, b = chance.choice(pool[-8:]), chance.choice(pool)
            pool.append(
                chance.choice(
                    [
                        lambda a, b, k=k: sigmoid(linear(x, a=a, name=f"p{k}")),
                        lambda a, b: tanh(a),
                        lambda a, b: gw.softmax(a),
                        lambda a, b: a + b,
                        lambda a, b: a * b,
                        lambda a, b: a - b,
                        lambda a, b: where(a > b, a, 0.5 * b),
                    ]
                )(a, b)
            )
        c = c * sigmoid(pool[-3]) + pool[-4]
        return gw.state(h=pool[-1] + pool[-2], c=c, m=m + pool[-5] * pool[-6])


peephole = gw.CELLS["peephole_lstm"]
CELLS: dict[str, gw.Cell] = {
    **{name: cell() for name, cell in gw.CELLS.items()},
    "elman, relu": gw.CELLS["elman_rnn"](nonlinearity="relu"),
    "projection": LSTM(projection=4),
    "peephole, old": peephole(output_reads="old"),
    "peephole, full": peephole(peephole="full"),
    "peephole, full, old": peephole(peephole="full", output_reads="old"),
    "peephole, f": peephole(gates=("f",)),
    "peephole, none": peephole(gates=()),
    "gru, before": GRU(reset="before"),
    "glimpse": Glimpse(),
    "normed": Normed(),
    "decay": Decay(),
    "micro 3": Micro(),
    "micro 5": Micro(steps=5),
    "outer": Outer(),
    "one gate": OneGate(),
    "stabilised": Stabilised(),
    "zoneout": Zoneout(),
    "shift": Shift(),
    "unchanged": Unchanged(),
    "odd": Odd(),
    "wordy": Wordy(),
    **{f"random {seed}": Random(seed=seed, count=20 + 5 * seed) for seed in range(3)},
}


class Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box, apart: float = 0.0) -> bool:
        return (
            self.left < other.right + apart
            and other.left < self.right + apart
            and self.top < other.bottom + apart
            and other.top < self.bottom + apart
        )

    def within(self, other: Box) -> bool:
        return (
            other.left <= self.left
            and self.right <= other.right
            and other.top <= self.top
            and self.bottom <= other.bottom
        )


@dataclass
class Shapes:
    """The shapes of a drawing, in the coordinates of the page."""

    page: Box
    bodies: list[Box]
    inside: list[tuple[Box, Box, str]]
    texts: list[tuple[Box, str]]
    strokes: list[tuple[int, Box, str]]


def measured(markup: str) -> Shapes:
    root = ET.fromstring(markup)
    left, top, width, height = map(float, root.get("viewBox", "").split())
    drawn = Shapes(Box(left, top, left + width, top + height), [], [], [], [])

    def visit(element: ET.Element, x: float, y: float, value: int) -> None:
        moved = re.fullmatch(r"translate\((.+),(.+)\)", element.get("transform", ""))
        if moved:
            x, y = x + float(moved[1]), y + float(moved[2])
        kinds = element.get("class", "").split()
        if "gw-value" in kinds:
            value = next(numbers)
        body = None
        for child in element:
            if child.tag == SPACE + "rect" and "gw-cell" not in kinds:
                size = [float(child.get(key, "0")) for key in ("x", "y", "width", "height")]
                body = Box(x + size[0], y + size[1], x + size[0] + size[2], y + size[1] + size[3])
                drawn.bodies.append(body)
            elif child.tag == SPACE + "text":
                box, text = text_box(child, x, y)
                if body is not None and box.meets(body):
                    drawn.inside.append((box, body, text))
                else:
                    drawn.texts.append((box, text))
            elif child.tag == SPACE + "path":
                role = child.get("class", "")
                drawn.strokes += [(value, stroke, role) for stroke in segments(child, x, y)]
            else:
                visit(child, x, y, value)

    numbers = itertools.count()
    visit(root, 0.0, 0.0, -1)
    return drawn


def text_box(element: ET.Element, x: float, y: float) -> tuple[Box, str]:
    size = float(element.get("font-size", ""))
    width = text_width(element.text or "", size)
    width += sum(text_width(low.text or "", float(low.get("font-size", ""))) for low in element)
    shift = {"start": 0.0, "middle": -width / 2, "end": -width}[element.get("text-anchor", "start")]
    left, base = x + float(element.get("x", "")) + shift, y + float(element.get("y", ""))
    # The letters of a line, from the tops of capitals to a little below the base line.
    return Box(left, base - 0.72 * size, left + width, base + 0.12 * size), "".join(
        element.itertext()
    )


def segments(path: ET.Element, x: float, y: float) -> list[Box]:
    boxes = []
    pen = (0.0, 0.0)
    for command, numbers in re.findall(r"([MLQh])([^MLQh]*)", path.get("d", "")):
        if command == "h":
            points = [(pen[0] + float(numbers), pen[1])]
        else:
            pairs = [pair.split(",") for pair in numbers.split()]
            points = [(x + float(a), y + float(b)) for a, b in pairs]
        for point in points:
            if command != "M":
                xs, ys = sorted((pen[0], point[0])), sorted((pen[1], point[1]))
                boxes.append(Box(xs[0], ys[0], xs[1], ys[1]))
            pen = point
    return boxes


@pytest.fixture(scope="module", params=CELLS, ids=str)
def case(request: Any) -> tuple[gw.Cell, str, Shapes]:
    cell = CELLS[request.param]
    markup = svg(cell)
    return cell, markup, measured(markup)


def test_no_two_figures_overlap(case):
    for first, second in itertools.combinations(case[2].bodies, 2):
        assert not first.meets(second, 4.0)


def test_no_wire_runs_through_or_along_a_figure(case):
    drawn = case[2]
    for _, stroke, _ in drawn.strokes:
        for body in drawn.bodies:
            inner = Box(body.left + 0.5, body.top + 0.5, body.right - 0.5, body.bottom - 0.5)
            assert not stroke.meets(inner)
            if stroke.meets(body, 6.0):  # it may come this near only to end there
                width, height = stroke.right - stroke.left, stroke.bottom - stroke.top
                ends_there = (
                    body.top < stroke.top < body.bottom
                    if width > height
                    else (body.left < stroke.left < body.right)
                )
                assert ends_there or max(width, height) < 8.0


def test_no_name_touches_a_figure_a_wire_or_a_name(case):
    drawn = case[2]
    for box, text in drawn.texts:
        assert not [body for body in drawn.bodies if box.meets(body)], text
        assert not [stroke for _, stroke, _ in drawn.strokes if box.meets(stroke, 1.0)], text
    for (box, text), (other_box, other_text) in itertools.combinations(drawn.texts, 2):
        assert not box.meets(other_box), (text, other_text)


def test_a_sign_is_within_its_figure(case):
    for text, body, sign in case[2].inside:
        assert text.within(body), sign
    for first, second in itertools.combinations(case[2].inside, 2):
        assert not first[0].meets(second[0], -2.0), (first[2], second[2])


def test_wires_of_different_values_share_no_stretch(case):
    for (value, a, _), (other_value, b, _) in itertools.combinations(case[2].strokes, 2):
        if value != other_value:
            along = min(a.right, b.right) - max(a.left, b.left)
            upright = min(a.bottom, b.bottom) - max(a.top, b.top)
            flat = a.top == a.bottom == b.top == b.bottom
            steep = a.left == a.right == b.left == b.right
            assert not (flat and along > 0 and upright == 0)
            assert not (steep and upright > 0 and along == 0)


def test_a_memory_is_one_straight_line(case):
    cell, _, drawn = case
    lines = picture(cell.equations, {}).lines
    strokes = [box for _, box, role in drawn.strokes if role == "gw-memory"]
    if lines:
        strokes = [box for box in strokes if box.right - box.left != 34.0]  # without the legend
    assert all(box.top == box.bottom for box in strokes)
    heights = {box.top for box in strokes}
    assert len(heights) == len(lines)
    for height, stations in zip(sorted(heights), lines.values(), strict=True):
        parts = sorted(box for box in strokes if box.top == height)
        assert len(parts) == len(stations) + 1
        for before, after in itertools.pairwise(parts):  # a figure is in each gap
            middle = Box(before.right, height - 1, after.left, height + 1)
            assert [body for body in drawn.bodies if middle.within(body)]


def test_everything_is_on_the_page(case):
    drawn = case[2]
    for box in (*drawn.bodies, *(box for box, _ in drawn.texts)):
        assert box.within(drawn.page)
    assert all(stroke.within(drawn.page) for _, stroke, _ in drawn.strokes)


def test_every_reader_is_reached_once(case):
    equations = case[0].equations
    drawn = picture(equations, {})
    edges = {name: name + "t-1" for name in (equations.event, *equations.inputs, *equations.states)}
    layout = lay_out(drawn, edges)
    place = {figure: index for index, figure in enumerate(drawn.figures)}
    expected = sorted(
        (place[end.source], place[figure], end.diagonal)
        for figure in drawn.figures
        for end in figure.inputs
    )
    connected = sorted(
        (
            drawn.figures.index(wire.source),
            drawn.figures.index(wire.reader),
            wire.role == "peephole",
        )
        for wire in layout.wires
        if wire.reader is not None
    )
    assert connected == expected
    out = [wire.source for wire in layout.wires if wire.reader is None]
    assert len(out) == len(equations.states) + 1
    for wire in layout.wires:
        points = set(wire.way)
        ends = layout.places
        if not wire.branches:
            spot = ends.figures.get(wire.source)
            start = spot.covers() if spot else {ends.enters[wire.source]}
            assert wire.way[0] in start
        else:
            ways = [other.way for other in layout.wires if other.source is wire.source]
            assert any(wire.way[0] in way for way in ways if set(way) != points)
        if wire.reader is not None:
            assert wire.way[-1] in ends.figures[wire.reader].covers()
        else:
            assert wire.way[-1] in (*ends.leaves.values(), ends.output)


def test_it_is_the_same_every_time(case):
    cell, markup, _ = case
    stored = StoredCell(Equations.from_json(cell.equations.to_json()))
    assert svg(stored) == markup


def test_every_named_value_can_be_found(case):
    cell, markup, _ = case
    names: set[str] = set()
    for group in ET.fromstring(markup).iter(SPACE + "g"):
        for key in ("data-name", "data-names", "data-inside"):
            names.update(group.get(key, "").split())
    constant = {n for n, x in cell.equations.names.items() if x.op in ("constant", "parameter")}
    assert set(cell.equations.names) - constant <= names


def reads(cell: gw.Cell, **options: Any) -> set[tuple[str, str, bool]]:
    """The connections (source, reader, peephole), by the texts on the figures."""

    def called(figure: Any) -> str:
        return figure.label or figure.sign

    figures = picture(cell.equations, {}).figures
    return {
        (called(end.source), called(figure), end.diagonal)
        for figure in figures
        for end in figure.inputs
    }


def test_the_lstm_is_that_of_the_lesson():
    gates = {("[x, h]", gate, False) for gate in "gifo"}
    assert reads(LSTM()) == gates | {
        ("x", "[x, h]", False),
        ("h", "[x, h]", False),
        ("i", "learn", False),
        ("g", "learn", False),
        ("f", "forget", False),
        ("c", "forget", False),
        ("learn", "remember", False),
        ("forget", "remember", False),
        ("remember", "tanh", False),
        ("tanh", "use", False),
        ("o", "use", False),
    }


def test_a_peephole_is_a_wire_of_its_own():
    assert reads(peephole()) - reads(LSTM()) == {
        ("c", "i", True),
        ("c", "f", True),
        ("remember", "o", True),
    }
    full = reads(peephole(peephole="full", output_reads="old"))
    assert not any(peeps for *_, peeps in full) and ("[x, h, c]", "f", False) in full


@pytest.mark.parametrize(
    ("cell", "memories"),
    [
        (LSTM(), {"c": ["forget", "remember"]}),
        (gw.CELLS["elman_rnn"](), {}),
        (GRU(), {"h": ["×", "+"]}),
        (Stabilised(), {"c": ["×", "c"], "n": ["×", "+"], "m": ["+", "top"]}),
        (Unchanged(), {"h": []}),
    ],
    ids=lambda argument: type(argument).__name__,
)
def test_memories_are_found(cell, memories):
    lines = picture(cell.equations, {}).lines
    assert lines.keys() == memories.keys()
    for name, line in lines.items():
        if name != "c" or cell.equations.name == "LSTM":
            assert [figure.label or figure.sign for figure in line] == memories[name]


def test_names_in_the_lessons_words():
    texts = {text for _, text in measured(svg(LSTM(), names="lesson")).texts}
    assert {"Et", "STMt−1", "LTMt−1", "STMt", "LTMt", "learn", "forget", "remember"} <= texts
    assert "ht" not in texts


def test_the_name_of_a_cell_is_escaped():
    markup = svg(CELLS["odd"])
    root = ET.fromstring(markup)
    assert "<b>" not in markup
    assert '<b>&"quotes"</b>' in "".join(root.itertext())
    stored = CELLS["lstm"].equations.to_json()
    stored["name"] = '"><script>alert(1)</script>'
    hostile = svg(StoredCell(Equations.from_json(stored)))
    ET.fromstring(hostile)
    assert "<script" not in hostile
    assert "<script" not in StoredCell(Equations.from_json(stored))._repr_html_()
    stored["names"] = {f"{name}\"<&>'": node for name, node in stored["names"].items()}
    with pytest.raises(ModelError, match="expected names of values"):
        Equations.from_json(stored)


def test_a_notebook_shows_the_equations_and_the_diagram():
    class Large(gw.Cell):
        """A cell with more operations than a diagram shows."""

        def step(self, x, h):
            for _ in range(300):
                h = gw.tanh(h + x)
            return gw.state(h=h)

    lstm = gw.CELLS["lstm"]()
    shown = lstm._repr_html_()
    assert shown.startswith("<pre>LSTM: ") and shown.endswith(lstm.svg())
    large = Large()._repr_html_()
    assert large.startswith("<pre>Large: ") and large.endswith("</pre>")


def test_ids_are_unique_on_a_page():
    pages = [svg(CELLS[name]) for name in (*CLASSIC, "odd", "outer")]
    pages += [svg(LSTM(), names="lesson"), svg(LSTM(), theme="dark"), svg(LSTM(), id="mine")]
    ids = [match for page in pages for match in re.findall(r'\bid="([^"]*)"', page)]
    assert len(ids) == len(set(ids)) == 3 * len(pages)
    assert "mine" in ids and "#mine " in pages[-1]


def test_it_can_be_read_aloud():
    root = ET.fromstring(svg(LSTM()))
    title, description = root.find(SPACE + "title"), root.find(SPACE + "desc")
    assert root.get("role") == "img"
    assert title is not None and description is not None
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert description.text == str(LSTM())


def test_a_value_has_its_equation_as_a_tooltip():
    groups = ET.fromstring(svg(LSTM())).iter(SPACE + "g")
    tooltips = {group.get("data-name"): group.findtext(SPACE + "title") for group in groups}
    assert tooltips["forget"] == "forget = f * c"
    assert tooltips["f"] == "f = sigmoid(W_f [x, h] + b_f)"


def test_themes():
    automatic, light, dark = (svg(LSTM(), theme=theme) for theme in ("auto", "light", "dark"))
    assert "prefers-color-scheme:dark" in automatic and "var(--gw-ink)" in automatic
    for markup in (light, dark):
        assert "var(" not in markup and "@media" not in markup
    assert light != dark


def test_a_program_without_css_variables_shows_the_light_colours():
    """It skips @supports, and all other rules have fixed colours."""
    automatic, light = (svg(LSTM(), theme=theme, id="mine") for theme in ("auto", "light"))
    plain = re.sub(r"@supports [^\n]*\{.*\}\n(?=</style>)", "", automatic, flags=re.DOTALL)
    assert plain == light


def contrast(first: str, second: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        red, green, blue = (
            p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_text_and_wires_contrast_with_their_ground(theme):
    from gatewright.draw.diagram.palette import COLOURS

    colours = {name: pair[theme] for name, pair in COLOURS.items()}
    ground = colours["ground"]
    for fill in (ground, colours["learned"], colours["point"], colours["row"]):
        assert contrast(colours["ink"], fill) > 4.5
    assert contrast(colours["muted"], ground) > 4.5
    for name in ("wire", "memory", "learned-edge", "point-edge", "row-edge"):
        assert contrast(colours[name], ground) > 3.0


def test_a_file_has_a_ground_that_covers_it():
    first = ET.fromstring(svg(LSTM(), ground=True)).findall(f"{SPACE}rect")
    assert [(rect.get("class"), rect.get("width"), rect.get("height")) for rect in first] == [
        ("gw-ground", "100%", "100%")
    ]
    assert ET.fromstring(svg(LSTM())).findall(f"{SPACE}rect") == []


def test_joined_sources_are_called_by_their_own_names():
    figures = picture(gw.CELLS["gru_d"]().equations, {}).figures
    assert [figure.sign for figure in figures if figure.kind == "join"] == ["[x_hat, h_hat, mask]"]


def test_options():
    root = ET.fromstring(svg(LSTM(), width=640))
    assert root.get("width") == "640"
    bare = svg(LSTM(), title=False, key=False)
    test_everything_is_on_the_page((LSTM(), bare, measured(bare)))
    assert "learned" not in "".join(text for _, text in measured(bare).texts)
    assert float(ET.fromstring(bare).get("height", "")) < float(
        ET.fromstring(svg(LSTM())).get("height", "")
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"names": "letters"}, "names='letters' is not known"),
        ({"theme": "blue"}, "give one of auto, light, dark"),
        ({"width": 0}, "width=0"),
        ({"id": '1"x'}, "begin with a letter"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(gw.GatewrightError, match=re.escape(message)):
        svg(LSTM(), **options)


def test_a_diagram_that_nobody_could_read_is_refused():
    with pytest.raises(gw.GatewrightError, match=r"print\(cell\) shows its equations"):
        svg(Random(count=400))


def test_pictures_of_pages_have_plain_colours_as_files():
    """The rules for light and dark browsers come later with the same selectors, so they win."""
    rules, _, themed = style().partition("@supports")
    assert "var(" not in rules and ".line.n1 {" in rules and "#" in rules
    for line in rules.splitlines()[:-1]:
        assert line.partition(" {")[0] + " {" in themed
