"""Printing: the equations of cells as text, in the lesson's words and as LaTeX."""

from __future__ import annotations

import operator
import re
from typing import Any

import pytest

import gatewright as gw
from by_hand import cell_of
from gatewright.cells import CELLS, GRU, LSTM, ElmanRNN, LessonLSTM, PeepholeLSTM
from gatewright.errors import ArgumentError
from gatewright.language import printing
from gatewright.language.operations import OPERATIONS

GOLDEN = {
    "elman_rnn": """
  h' = tanh(W_h [x, h] + b_h)""",
    "lstm": """
  g        = tanh(W_g [x, h] + b_g)
  i        = sigmoid(W_i [x, h] + b_i)
  f        = sigmoid(W_f [x, h] + b_f)
  o        = sigmoid(W_o [x, h] + b_o)
  learn    = i * g
  forget   = f * c
  remember = learn + forget
  use      = o * tanh(remember)
  h'       = use
  c'       = remember""",
    "lesson_lstm": """
  g        = tanh(W_g [x, h] + b_g)
  i        = sigmoid(W_i [x, h] + b_i)
  f        = sigmoid(W_f [x, h] + b_f)
  learn    = i * g
  forget   = f * c
  remember = learn + forget
  v        = sigmoid(W_v [x, h] + b_v)
  u        = tanh(W_u forget + b_u)
  use      = v * u
  h'       = use
  c'       = remember""",
    "peephole_lstm": """
  g        = tanh(W_g [x, h] + b_g)
  i        = sigmoid(W_i [x, h] + b_i + p_i * c)
  f        = sigmoid(W_f [x, h] + b_f + p_f * c)
  learn    = i * g
  forget   = f * c
  remember = learn + forget
  o        = sigmoid(W_o [x, h] + b_o + p_o * remember)
  use      = o * tanh(remember)
  h'       = use
  c'       = remember""",
    "gru": """
  r  = sigmoid(W_r [x, h] + b_r)
  z  = sigmoid(W_z [x, h] + b_z)
  n  = tanh(W_n_x x + b_n_x + r * (W_n_h h + b_n_h))
  h' = (1 - z) * n + z * h""",
}

OPTIONS: dict[str, tuple[gw.Cell, list[str]]] = {
    "relu": (ElmanRNN(nonlinearity="relu"), ["h' = relu(W_h [x, h] + b_h)"]),
    "projection": (LSTM(projection=3), ["h'       = W_h use"]),
    "before": (GRU(reset="before"), ["n  = tanh(W_n [x, r * h] + b_n)"]),
    "full": (
        PeepholeLSTM(peephole="full", gates=("f", "o"), output_reads="old"),
        ["i        = sigmoid(W_i [x, h] + b_i)", "o        = sigmoid(W_o [x, h, c] + b_o)"],
    ),
}


def right(cell: gw.Cell, name: str) -> str:
    """The right side of the printed equation of `name`."""
    for line in str(cell).splitlines()[1:]:
        left, _, form = line.partition(" = ")
        if left.strip() == name:
            return form
    raise AssertionError(f"{name} is not printed:\n{cell}")


@pytest.mark.parametrize("name", GOLDEN)
def test_every_cell_prints_its_equations(name: str):
    cell = CELLS[name]()
    title, _, equations = str(cell).partition("\n")
    assert title == f"{type(cell).__name__}: {cell.equations.about}"
    assert "\n" + equations == GOLDEN[name]


@pytest.mark.parametrize("name", OPTIONS)
def test_options_show(name: str):
    cell, lines = OPTIONS[name]
    for line in lines:
        assert f"  {line}" in str(cell).splitlines()


def test_the_lessons_words(capsys: pytest.CaptureFixture[str]):
    LessonLSTM().show(names="lesson")
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  event: E, short-term memory: STM, long-term memory: LTM",
        "  g        = tanh(W_g [E, STM] + b_g)",
        "  i        = sigmoid(W_i [E, STM] + b_i)",
        "  f        = sigmoid(W_f [E, STM] + b_f)",
        "  learn    = i * g",
        "  forget   = f * LTM",
        "  remember = learn + forget",
        "  v        = sigmoid(W_v [E, STM] + b_v)",
        "  u        = tanh(W_u forget + b_u)",
        "  use      = v * u",
        "  new STM  = use",
        "  new LTM  = remember",
    ]


def test_show_prints_the_text(capsys: pytest.CaptureFixture[str]):
    GRU().show()
    assert capsys.readouterr().out == f"{GRU()}\n"


@pytest.mark.parametrize("print_it", ["show", "latex"])
def test_other_words_are_refused(print_it: str):
    with pytest.raises(ArgumentError, match="names='poem' is not known; give \"code\" or"):
        getattr(LSTM(), print_it)(names="poem")


def test_the_lstm_in_latex():
    assert LSTM().latex().splitlines() == [
        r"\begin{aligned}",
        r"g &= \tanh\left(W_{g}\, \left[x_{t}, h_{t-1}\right] + b_{g}\right) \\",
        r"i &= \sigma\left(W_{i}\, \left[x_{t}, h_{t-1}\right] + b_{i}\right) \\",
        r"f &= \sigma\left(W_{f}\, \left[x_{t}, h_{t-1}\right] + b_{f}\right) \\",
        r"o &= \sigma\left(W_{o}\, \left[x_{t}, h_{t-1}\right] + b_{o}\right) \\",
        r"\mathrm{learn} &= i \odot g \\",
        r"\mathrm{forget} &= f \odot c_{t-1} \\",
        r"\mathrm{remember} &= \mathrm{learn} + \mathrm{forget} \\",
        r"\mathrm{use} &= o \odot \tanh\left(\mathrm{remember}\right) \\",
        r"h_{t} &= \mathrm{use} \\",
        r"c_{t} &= \mathrm{remember}",
        r"\end{aligned}",
    ]
    assert r"f \odot \mathrm{LTM}_{t-1}" in LSTM().latex(names="lesson")
    assert r"\left[E_{t}, \mathrm{STM}_{t-1}\right]" in LSTM().latex(names="lesson")


# Brackets: a form, its text and its LaTeX.
FORMS: dict[str, tuple[Any, str, str]] = {
    "a - (b - c)": (lambda a, b, c: a - (b - c), "a - (b - c)", r"a - \left(b - c\right)"),
    "a - b - c": (lambda a, b, c: a - b - c, "a - b - c", "a - b - c"),
    "a - (b + c)": (lambda a, b, c: a - (b + c), "a - (b + c)", r"a - \left(b + c\right)"),
    "a / (b * c)": (lambda a, b, c: a / (b * c), "a / (b * c)", r"\frac{a}{b \odot c}"),
    "a / b / c": (lambda a, b, c: a / b / c, "a / b / c", r"\frac{\frac{a}{b}}{c}"),
    "a / (b / c)": (lambda a, b, c: a / (b / c), "a / (b / c)", r"\frac{a}{\frac{b}{c}}"),
    "a / (b + c)": (lambda a, b, c: a / (b + c), "a / (b + c)", r"\frac{a}{b + c}"),
    "(a + b) * c": (lambda a, b, c: (a + b) * c, "(a + b) * c", r"\left(a + b\right) \odot c"),
    "c * (a - b)": (lambda a, b, c: c * (a - b), "c * (a - b)", r"c \odot \left(a - b\right)"),
    "-(a + b)": (lambda a, b, c: -(a + b), "-(a + b)", r"-\left(a + b\right)"),
    "-(-a)": (lambda a, b, c: operator.neg(-a), "-(-a)", r"-\left(-a\right)"),
    "a - (-b)": (lambda a, b, c: a - (-b), "a - (-b)", r"a - \left(-b\right)"),
    "a * (-b)": (lambda a, b, c: a * -b, "a * (-b)", r"a \odot \left(-b\right)"),
    "a * (-2)": (lambda a, b, c: a * -2, "a * (-2)", r"a \odot \left(-2\right)"),
    "-a * b": (lambda a, b, c: -a * b, "-a * b", r"-a \odot b"),
    "a ** b ** c": (lambda a, b, c: a**b**c, "a ** b ** c", "a^{b^{c}}"),
    "(a ** b) ** c": (lambda a, b, c: (a**b) ** c, "(a ** b) ** c", r"\left(a^{b}\right)^{c}"),
    "(-a) ** 2": (lambda a, b, c: (-a) ** 2, "(-a) ** 2", r"\left(-a\right)^{2}"),
    "-a ** 2": (lambda a, b, c: -(a**2), "-a ** 2", "-a^{2}"),
    "(a / b) ** c": (lambda a, b, c: (a / b) ** c, "(a / b) ** c", r"\left(\frac{a}{b}\right)^{c}"),
    "2 ** (a + b)": (lambda a, b, c: 2 ** (a + b), "2 ** (a + b)", r"2^{\left(a + b\right)}"),
    "(-2) ** a": (lambda a, b, c: (-2) ** a, "(-2) ** a", r"\left(-2\right)^{a}"),
    "where": (
        lambda a, b, c: gw.where((a < b) & ~(c >= 0) | (a == b), a, -1.5),
        "where((a < b) & ~(c >= 0) | (a == b), a, -1.5)",
        r"\mathrm{where}\left(\left(a < b\right) \wedge \neg \left(c \ge 0\right) \vee "
        r"\left(a = b\right), a, -1.5\right)",
    ),
    "& in |": (
        lambda a, b, c: gw.where(((a < b) | (b < c)) & (a != c), a, b),
        "where(((a < b) | (b < c)) & (a != c), a, b)",
        r"\mathrm{where}\left(\left(\left(a < b\right) \vee \left(b < c\right)\right) \wedge "
        r"\left(a \ne c\right), a, b\right)",
    ),
    "heads": (
        lambda a, b, c: gw.softmax(a + b, heads=2),
        "softmax(a + b; 2 heads)",
        r"\mathrm{softmax}\left(a + b;\ 2\ \text{heads}\right)",
    ),
    "abs": (lambda a, b, c: abs(a - b) * 2, "abs(a - b) * 2", r"\left|a - b\right| \odot 2"),
    "sqrt": (lambda a, b, c: gw.sqrt(a + b), "sqrt(a + b)", r"\sqrt{a + b}"),
    "relu": (lambda a, b, c: gw.relu(a), "relu(a)", r"\mathrm{relu}\left(a\right)"),
    "log_sigmoid": (
        lambda a, b, c: gw.log_sigmoid(a),
        "log_sigmoid(a)",
        r"\mathrm{log\_sigmoid}\left(a\right)",
    ),
    "max": (lambda a, b, c: gw.maximum(a, -b), "maximum(a, -b)", r"\max\left(a, -b\right)"),
    "small": (lambda a, b, c: a + 1e-6, "a + 1e-06", "a + 10^{-6}"),
    "large": (lambda a, b, c: 2.5e20 * a, "2.5e+20 * a", r"2.5 \cdot 10^{20} \odot a"),
    "small squared": (
        lambda a, b, c: a * (b * 2.5e-7),
        "a * b * 2.5e-07",
        r"a \odot b \odot 2.5 \cdot 10^{-7}",
    ),
    "infinite": (lambda a, b, c: gw.minimum(a, float("inf")), "minimum(a, inf)", r"a, \infty"),
    "noise": (lambda a, b, c: gw.noise(0.5) * a, "noise(0.5, per step) * a", r"\mathrm{noise}"),
    "two products": (
        lambda a, b, c: gw.linear(a=a, bias=False) * gw.linear(b=b),
        "W_y_a a * (W_y_b b + b_y_b)",
        r"\odot \left(W_{\mathrm{y\_b}}\, b + b_{\mathrm{y\_b}}\right)",
    ),
    "product squared": (
        lambda a, b, c: gw.linear(a=a, bias=False) ** 2,
        "(W_y a) ** 2",
        r"\left(W_{y}\, a\right)^{2}",
    ),
    "product of a sum": (
        lambda a, b, c: gw.linear(s=a + b),
        "W_y [a + b] + b_y",
        r"W_{y}\, \left[a + b\right] + b_{y}",
    ),
    "diagonal of a sum": (
        lambda a, b, c: gw.diagonal(s=a + b, k=c),
        "p_y_s * (a + b) + p_y_k * c",
        r"p_{\mathrm{y\_s}} \odot \left(a + b\right) + p_{\mathrm{y\_k}} \odot c",
    ),
}


def form_cell(form: Any) -> gw.Cell:
    def step(self: Any, x: Any, h: Any) -> Any:
        a = gw.tanh(gw.linear(h))
        b = gw.tanh(gw.linear(h))
        c = gw.tanh(gw.linear(h))
        y = form(a, b, c)
        return gw.state(h=a + b + c + y)

    return cell_of(step)


@pytest.mark.parametrize("name", FORMS)
def test_brackets_are_kept(name: str):
    form, text, latex = FORMS[name]
    cell = form_cell(form)
    assert right(cell, "y") == text
    row = next(row for row in cell.latex().splitlines() if row.startswith("y &= "))
    assert latex in row
    if name not in ("infinite", "noise", "two products"):  # these list only a part
        assert row == f"y &= {latex} \\\\"


@pytest.mark.parametrize("name", FORMS)
def test_the_printed_text_means_the_same_as_the_code(name: str):
    """Evaluating the text as Python, where it is Python, prints the same text again."""
    text = FORMS[name][1]
    if ";" in text or "_y" in text or "per" in text or "inf" in text:
        return
    space = {op: getattr(gw, op) for op in OPERATIONS if hasattr(gw, op)}
    again = form_cell(lambda a, b, c: eval(text, space, {"a": a, "b": b, "c": c}))
    assert right(again, "y") == text


def balanced(latex: str) -> bool:
    """Tell if braces close in order and every \\left has its \\right."""
    depth = 0
    for sign in latex:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        if depth < 0:
            return False
    return depth == 0 and latex.count(r"\left") == latex.count(r"\right")


@pytest.mark.parametrize("names", ["code", "lesson"])
@pytest.mark.parametrize("cell", [*(kind() for kind in CELLS.values())], ids=repr)
def test_latex_is_balanced(cell: gw.Cell, names: str):
    latex = cell.latex(names=names)
    assert balanced(latex) and latex.count("&=") == latex.count("\\\\") + 1


@pytest.mark.parametrize(
    "name", [n for n, op in OPERATIONS.items() if op.kind in ("pointwise", "row")]
)
def test_every_operation_prints_in_both_forms(name: str):
    operation = OPERATIONS[name]
    count = operation.arity
    if operation.logical:
        form = lambda a, b, c: gw.where(~(a > b) & (b > c) | (a > c), a, b)  # noqa: E731
    elif operation.boolean:
        sign = operation.text.split()[1]
        form = lambda a, b, c: gw.where(eval(f"a {sign} b"), a, b)  # noqa: E731
    elif operation.text.startswith("{}"):
        sign = operation.text.split()[1]
        form = lambda a, b, c: eval(f"a {sign} b")  # noqa: E731
    elif name == "where":
        form = lambda a, b, c: gw.where(a > b, a, c)  # noqa: E731
    else:
        called = {"abs": abs, "negative": lambda a: -a}.get(name) or getattr(gw, name)
        form = lambda a, b, c: called(*(a, b, c)[:count])  # noqa: E731
    cell = form_cell(form)
    assert name in {node.op for node in cell.equations.nodes}
    assert "{}" not in str(cell) and balanced(cell.latex())
    sign = re.sub(r"[{}(),]", " ", operation.text).split()[0]
    assert sign in right(cell, "y")


def test_greek_names_and_long_names():
    def step(self: Any, x: Any, h: Any) -> Any:
        alpha = gw.sigmoid(gw.linear(x, h))
        time_constant = gw.exp(gw.linear(x, h))
        h = alpha * h + time_constant * gw.parameter(name="beta")
        return gw.state(h=h)

    latex = cell_of(step).latex()
    assert r"\alpha &= \sigma\left(W_{\alpha}\, " in latex and r"w_{\beta}" in latex
    assert r"\mathrm{time\_constant} &= \exp" in latex


def test_an_unnamed_value_that_is_used_twice_gets_a_free_name():
    def step(self: Any, x: Any, h: Any) -> Any:
        t1 = gw.tanh(gw.linear(x, h))
        _shared = t1 * t1 + 1
        for _ in range(40):  # without names it would print in 2 ** 40 pieces
            _shared = _shared * 0.5 + _shared * _shared
        return gw.state(h=_shared)

    lines = str(cell_of(step)).splitlines()[1:]
    lefts = [line.partition(" = ")[0].strip() for line in lines]
    assert len(set(lefts)) == len(lefts) < 60
    assert lefts[:2] == ["t1", "t2"]


def test_a_long_chain_prints_in_pieces():
    def step(self: Any, x: Any, h: Any) -> Any:
        for _ in range(3000):
            h = gw.tanh(h)
        return gw.state(h=h)

    cell = cell_of(step)
    assert max(len(line) for line in str(cell).splitlines()) < 100
    assert str(cell).count("tanh(") == 3000 and balanced(cell.latex())


def test_states_that_stay_swap_or_are_numbers():
    def step(self: Any, x: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
        return gw.state(a=b, b=a, c=c, d=0.5, output=x)

    lines = [line.strip() for line in str(cell_of(step)).splitlines()[1:]]
    assert [re.sub(" +", " ", line) for line in lines] == [
        *("a' = b", "b' = a", "c' = c", "d' = 0.5", "output = x"),
    ]


def test_a_cell_in_a_cell_prints_with_its_path():
    class Outer(gw.Cell):
        inner: gw.Cell = GRU()

        def step(self, x: Any, h: Any) -> Any:
            h = self.inner(x, h)
            return gw.state(h=h)

    assert right(Outer(), "inner.r") == "sigmoid(W_inner.r [x, h] + b_inner.r)"
    assert balanced(Outer().latex())


def test_the_lessons_words_are_used_only_where_they_fit():
    def words(name: str) -> list[str]:
        printed = printing.text(gw.CELLS[name]().equations, names="lesson").splitlines()[1]
        return [part.rpartition(": ")[2] for part in printed.split(", ")]

    assert words("lstm") == words("peephole_lstm") == words("slstm") == ["E", "STM", "LTM"]
    assert words("gru") == words("elman_rnn") == ["E", "STM"]


def test_a_state_that_is_rewritten_is_not_a_long_term_memory():
    class Two(gw.Cell):
        def step(self, x, h, k):
            k = gw.tanh(gw.linear(x, k))
            return gw.state(h=gw.tanh(gw.linear(h, k)), k=k, output=k + h)

    assert printing.lesson_words(Two().equations) == {"x": "E"}
