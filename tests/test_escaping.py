"""Text from data and models has no effect on a terminal, in HTML, SVG or Markdown."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console
from rich.table import Table

import gatewright as gw
from gatewright.draw.page.elements import escape
from gatewright.escaping import markdown, printable, terminal_text
from gatewright.memory.examine import examine
from gatewright.memory.units import Channel
from gatewright.training.train import train
from in_process import training_here
from test_cli import gatewright

#: A column's name with everything that a terminal, a page or a table may interpret.
EVIL = "speed [/s] [red] \x1b[2J\x07 <script>alert(1)</script> | [a](javascript:b) `c` *d* \u202e"


def test_control_characters_are_written_out():
    assert printable("a\x1b[2J\nb\x9b\u202ec\ud800é 日本") == r"a\x1b[2J\nb\x9b\u202ec\ud800é 日本"
    assert printable("a\nb\t", keep="\n") == "a\nb\\t"


def test_markup_of_a_terminal_does_not_act():
    table = Table()
    table.add_column(terminal_text("speed [/s]"))
    table.add_row(terminal_text("[bold]speed[/bold] [m/s] \x1b[2J"))
    out = io.StringIO()
    Console(file=out, width=80).print(table)
    assert "speed [/s]" in out.getvalue() and "[bold]speed[/bold] [m/s]" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_markdown_and_html_are_text():
    escaped = markdown(EVIL)
    assert "<" not in escaped and "\x1b" not in escaped and "\n" not in markdown("a\n# b")
    assert all(f"\\{sign}" in escaped for sign in "|[]`*")
    ElementTree.fromstring(f"<a b='{escape(EVIL)}'>{escape(EVIL)}</a>")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A table whose names are hostile, and the directory of a model of it."""
    folder = tmp_path_factory.mktemp("hostile")
    data = folder / "wind <b>[m].csv"
    lines = [f'day,"{EVIL}",plain']
    lines += [f"{day},{day % 7}.5,{day % 5}" for day in range(70)]
    data.write_text("\n".join(lines) + "\n", encoding="utf-8")
    with training_here():
        train(
            data,
            cell="rnn",
            out=folder / "model",
            hidden_size=4,
            epochs=1,
            window=8,
            horizon=2,
            progress=False,
        )
    return folder / "model", data


def test_names_of_columns_do_nothing_in_a_model_directory(trained: tuple[Path, Path]):
    model, _ = trained
    card = (model / "README.md").read_text(encoding="utf-8")
    page = (model / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in card and "<script>alert" not in page and "<b>" not in card
    assert "\x1b" not in card + page and "\\[/s\\]" in card


def test_names_of_columns_do_nothing_on_a_terminal(trained: tuple[Path, Path], tmp_path: Path):
    model, data = trained
    examination = examine(model, data, out=tmp_path / "memory")
    # The forecast is its base after so short a training: then no channel has a share.
    names = gw.load(model).task.seen.channels
    channels = tuple(Channel(name, 0.5, 1.0) for name in names)
    examination = replace(examination, channels=channels)
    out = io.StringIO()
    Console(file=out, width=200).print(*examination.tables())
    assert "speed [/s] [red]" in out.getvalue() and "\x1b" not in out.getvalue()
    page = (tmp_path / "memory" / "memory.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "\x1b" not in page


def test_the_command_line_prints_no_control_characters(trained: tuple[Path, Path], tmp_path: Path):
    model, _ = trained
    other = tmp_path / "other.csv"
    other.write_text("day,a\x1b[2J\n1,2\n2,3\n")
    done = gatewright("predict", model, other)
    assert done.returncode == 2 and "\x1b" not in done.stderr and "error: " in done.stderr


def test_the_name_of_a_cell_is_one_line_of_bounded_length():
    kind = type(
        "A\x1b\n" + "b" * 10_000, (gw.CELLS["mgu"],), {"__doc__": "One.\x1b[2J " + "c" * 9999}
    )
    layer = gw.Recurrent(kind(), 2, 3)
    drawn = layer.cell.svg()
    ElementTree.fromstring(drawn)
    for text in (str(layer.cell), drawn):
        assert "\x1b" not in text and len(text.splitlines()[0]) < 2000


def test_names_of_ten_thousand_letters_are_refused():
    long = "a" * 10_000
    source = (
        "def step(self, x, h):\n"
        f"    {long} = gw.tanh(gw.linear(x, h))\n"
        f"    return gw.state(h={long})\n"
    )
    scope: dict[str, object] = {"gw": gw}
    exec(source, scope)
    kind = type("Long", (gw.Cell,), {"step": scope["step"]})
    with pytest.raises(gw.CellError, match="has 10000 letters"):
        kind()
