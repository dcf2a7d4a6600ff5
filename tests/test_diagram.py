"""The diagram of a cell, measured in the SVG itself: what stands where, and what crosses what."""

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


class Kept(gw.Cell):
    """Nothing happens to it, one is set to a number, and one to a learned vector."""

    def step(self, x, h, a, b):
        return gw.state(h=h, a=0.5, b=parameter(size="hidden", name="start"))


class Odd(gw.Cell):
    """<b>&"quotes"</b> & ünïcode 漢字 ]]> in a first line that is far too long for any diagram."""

    def step(self, x, gedächtnis):
        größe_der_vergessenheit = sigmoid(linear(x, gedächtnis))
        kept = where(größe_der_vergessenheit > 0.5, gedächtnis, 0.0)
        new = tanh(linear(x)) * größe_der_vergessenheit**2 - kept / 3
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
    "kept": Kept(),
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
class Drawn:
    """What can be measured in a drawing, in the coordinates of the whole."""

    page: Box
    bodies: list[Box]
    inside: list[tuple[Box, Box, str]]
    texts: list[tuple[Box, str]]
    strokes: list[tuple[int, Box, str]]


def measured(markup: str) -> Drawn:
    root = ET.fromstring(markup)
    left, top, width, height = map(float, root.get("viewBox", "").split())
    drawn = Drawn(Box(left, top, left + width, top + height), [], [], [], [])

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
                drawn.strokes += [(value, one, role) for one in segments(child, x, y)]
            else:
                visit(child, x, y, value)

    numbers = itertools.count()
    visit(root, 0.0, 0.0, -1)
    return drawn


def text_box(element: ET.Element, x: float, y: float) -> tuple[Box, str]:
    size = float(element.get("font-size", ""))
    width = text_width(element.text or "", size)
    width += sum(text_width(one.text or "", float(one.get("font-size", ""))) for one in element)
    shift = {"start": 0.0, "middle": -width / 2, "end": -width}[element.get("text-anchor", "start")]
    left, base = x + float(element.get("x", "")) + shift, y + float(element.get("y", ""))
    # The letters of a line, from the tops of capitals to a little below the base line.
    return Box(left, base - 0.72 * size, left + width, base + 0.12 * size), "".join(
        element.itertext()
    )


def segments(path: ET.Element, x: float, y: float) -> list[Box]:
    found = []
    here = (0.0, 0.0)
    for command, numbers in re.findall(r"([MLQh])([^MLQh]*)", path.get("d", "")):
        if command == "h":
            points = [(here[0] + float(numbers), here[1])]
        else:
            pairs = [one.split(",") for one in numbers.split()]
            points = [(x + float(a), y + float(b)) for a, b in pairs]
        for point in points:
            if command != "M":
                xs, ys = sorted((here[0], point[0])), sorted((here[1], point[1]))
                found.append(Box(xs[0], ys[0], xs[1], ys[1]))
            here = point
    return found


@pytest.fixture(scope="module", params=CELLS, ids=str)
def case(request: Any) -> tuple[gw.Cell, str, Drawn]:
    cell = CELLS[request.param]
    markup = svg(cell)
    return cell, markup, measured(markup)


def test_no_two_figures_overlap(case):
    for one, other in itertools.combinations(case[2].bodies, 2):
        assert not one.meets(other, 4.0)


def test_no_wire_runs_through_or_along_a_figure(case):
    drawn = case[2]
    for _, stroke, _ in drawn.strokes:
        for body in drawn.bodies:
            inner = Box(body.left + 0.5, body.top + 0.5, body.right - 0.5, body.bottom - 0.5)
            assert not stroke.meets(inner)
            if stroke.meets(body, 6.0):  # it may come this near only to end there
                width, height = stroke.right - stroke.left, stroke.bottom - stroke.top
                beside = (
                    body.top < stroke.top < body.bottom
                    if width > height
                    else (body.left < stroke.left < body.right)
                )
                assert beside or max(width, height) < 8.0


def test_no_name_touches_a_figure_a_wire_or_a_name(case):
    drawn = case[2]
    for one, text in drawn.texts:
        assert not [body for body in drawn.bodies if one.meets(body)], text
        assert not [stroke for _, stroke, _ in drawn.strokes if one.meets(stroke, 1.0)], text
    for (one, text), (other, second) in itertools.combinations(drawn.texts, 2):
        assert not one.meets(other), (text, second)


def test_a_sign_stands_within_its_figure(case):
    for text, body, sign in case[2].inside:
        assert text.within(body), sign
    for one, other in itertools.combinations(case[2].inside, 2):
        assert not one[0].meets(other[0], -2.0), (one[2], other[2])


def test_wires_of_different_values_share_no_stretch(case):
    for one, other in itertools.combinations(case[2].strokes, 2):
        if one[0] != other[0]:
            along = min(one[1].right, other[1].right) - max(one[1].left, other[1].left)
            upright = min(one[1].bottom, other[1].bottom) - max(one[1].top, other[1].top)
            flat = one[1].top == one[1].bottom == other[1].top == other[1].bottom
            steep = one[1].left == one[1].right == other[1].left == other[1].right
            assert not (flat and along > 0 and upright == 0)
            assert not (steep and upright > 0 and along == 0)


def test_a_memory_is_one_straight_line(case):
    cell, _, drawn = case
    lines = picture(cell.equations, {}).lines
    strokes = [one for _, one, role in drawn.strokes if role == "gw-memory"]
    if lines:
        strokes = [one for one in strokes if one.right - one.left != 34.0]  # the legend's
    assert all(one.top == one.bottom for one in strokes)
    heights = {one.top for one in strokes}
    assert len(heights) == len(lines)
    for height, stations in zip(sorted(heights), lines.values(), strict=True):
        parts = sorted(one for one in strokes if one.top == height)
        assert len(parts) == len(stations) + 1
        for before, after in itertools.pairwise(parts):  # a figure stands in each gap
            middle = Box(before.right, height - 1, after.left, height + 1)
            assert [body for body in drawn.bodies if middle.within(body)]


def test_everything_is_on_the_page(case):
    drawn = case[2]
    for one in (*drawn.bodies, *(box for box, _ in drawn.texts)):
        assert one.within(drawn.page)
    assert all(one.within(drawn.page) for _, one, _ in drawn.strokes)


def test_every_reader_is_reached_once(case):
    equations = case[0].equations
    drawn = picture(equations, {})
    edges = {name: name + "t-1" for name in (equations.event, *equations.inputs, *equations.states)}
    layout = lay_out(drawn, edges)
    place = {figure: index for index, figure in enumerate(drawn.figures)}
    wanted = sorted(
        (place[one.source], place[figure], one.diagonal)
        for figure in drawn.figures
        for one in figure.inputs
    )
    found = sorted(
        (
            drawn.figures.index(wire.source),
            drawn.figures.index(wire.reader),
            wire.role == "peephole",
        )
        for wire in layout.wires
        if wire.reader is not None
    )
    assert found == wanted
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
            others = [one.way for one in layout.wires if one.source is wire.source]
            assert any(wire.way[0] in way for way in others if set(way) != points)
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
    found: set[str] = set()
    for group in ET.fromstring(markup).iter(SPACE + "g"):
        for key in ("data-name", "data-names", "data-inside"):
            found.update(group.get(key, "").split())
    constant = {n for n, one in cell.equations.names.items() if one.op in ("constant", "parameter")}
    assert set(cell.equations.names) - constant <= found


def reads(cell: gw.Cell, **options: Any) -> set[tuple[str, str, bool]]:
    """Who reads whom, by what stands on both."""

    def called(figure: Any) -> str:
        return figure.label or figure.sign

    figures = picture(cell.equations, {}).figures
    return {
        (called(one.source), called(figure), one.diagonal)
        for figure in figures
        for one in figure.inputs
    }


def test_the_lstm_is_the_lesson_s():
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
        (Kept(), {"h": []}),
    ],
    ids=lambda one: type(one).__name__,
)
def test_memories_are_found(cell, memories):
    found = picture(cell.equations, {}).lines
    assert found.keys() == memories.keys()
    for name, line in found.items():
        if name != "c" or cell.equations.name == "LSTM":
            assert [one.label or one.sign for one in line] == memories[name]


def test_names_in_the_lesson_s_words():
    texts = {text for _, text in measured(svg(LSTM(), names="lesson")).texts}
    assert {"Et", "STMt−1", "LTMt−1", "STMt", "LTMt", "learn", "forget", "remember"} <= texts
    assert "ht" not in texts


def test_what_a_cell_is_called_is_escaped():
    markup = svg(CELLS["odd"])
    root = ET.fromstring(markup)
    assert "<b>" not in markup
    assert '<b>&"quotes"</b>' in "".join(root.itertext())
    stored = CELLS["lstm"].equations.to_json()
    stored["name"] = '"><script>alert(1)</script>'
    hostile = svg(StoredCell(Equations.from_json(stored)))
    ET.fromstring(hostile)
    assert "<script" not in hostile
    stored["names"] = {f"{name}\"<&>'": one for name, one in stored["names"].items()}
    with pytest.raises(ModelError, match="expected names of values"):
        Equations.from_json(stored)


def test_ids_are_unique_on_a_page():
    pages = [svg(CELLS[name]) for name in (*CLASSIC, "odd", "outer")]
    pages += [svg(LSTM(), names="lesson"), svg(LSTM(), theme="dark"), svg(LSTM(), id="mine")]
    ids = [one for page in pages for one in re.findall(r'\bid="([^"]*)"', page)]
    assert len(ids) == len(set(ids)) == 3 * len(pages)
    assert "mine" in ids and "#mine " in pages[-1]


def test_it_can_be_read_aloud():
    root = ET.fromstring(svg(LSTM()))
    title, description = root.find(SPACE + "title"), root.find(SPACE + "desc")
    assert root.get("role") == "img"
    assert title is not None and description is not None
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert description.text == str(LSTM())


def test_a_value_tells_its_equation():
    groups = ET.fromstring(svg(LSTM())).iter(SPACE + "g")
    told = {one.get("data-name"): one.findtext(SPACE + "title") for one in groups}
    assert told["forget"] == "forget = f * c"
    assert told["f"] == "f = sigmoid(W_f [x, h] + b_f)"


def test_themes():
    automatic, light, dark = (svg(LSTM(), theme=one) for one in ("auto", "light", "dark"))
    assert "prefers-color-scheme:dark" in automatic and "var(--gw-ink)" in automatic
    for one in (light, dark):
        assert "var(" not in one and "@media" not in one
    assert light != dark


def test_a_program_that_knows_no_variables_shows_the_light_colours():
    """It leaves out what is within @supports; the rest has the colours written out."""
    automatic, light = (svg(LSTM(), theme=one, id="mine") for one in ("auto", "light"))
    plain = re.sub(r"@supports [^\n]*\{.*\}\n(?=</style>)", "", automatic, flags=re.DOTALL)
    assert plain == light


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        red, green, blue = (
            p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_text_and_wires_can_be_told_from_their_ground(theme):
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
    assert [(one.get("class"), one.get("width"), one.get("height")) for one in first] == [
        ("gw-ground", "100%", "100%")
    ]
    assert ET.fromstring(svg(LSTM())).findall(f"{SPACE}rect") == []


def test_what_is_read_together_is_called_by_its_own_name():
    figures = picture(gw.CELLS["gru_d"]().equations, {}).figures
    assert [one.sign for one in figures if one.kind == "join"] == ["[x_hat, h_hat, mask]"]


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
    ("options", "said"),
    [
        ({"names": "letters"}, "names='letters' is not known"),
        ({"theme": "blue"}, "give one of auto, light, dark"),
        ({"width": 0}, "width=0"),
        ({"id": '1"x'}, "begin with a letter"),
    ],
)
def test_bad_options_are_refused(options, said):
    with pytest.raises(gw.GatewrightError, match=re.escape(said)):
        svg(LSTM(), **options)


def test_what_no_one_could_read_is_refused():
    with pytest.raises(gw.GatewrightError, match=r"print\(cell\) shows its equations"):
        svg(Random(count=400))


def test_pictures_of_pages_have_plain_colours_as_files():
    """And a browser's day and night after them, with the same selectors, so that it wins."""
    rules, _, themed = style().partition("@supports")
    assert "var(" not in rules and ".line.n1 {" in rules and "#" in rules
    for line in rules.splitlines()[:-1]:
        assert line.partition(" {")[0] + " {" in themed
