"""The command line: what it prints, and that bad requests end in exit code 2, unchanged."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from gatewright import cli
from gatewright.errors import DataError
from gatewright.training import experiment


def gatewright(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in this process: most of a process of its own is the start of torch."""
    command = ["gatewright", *map(str, arguments)]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", command)
        try:
            cli.main()
        except SystemExit as ended:
            code = ended.code or 0
    return subprocess.CompletedProcess(command, code, out.getvalue(), err.getvalue())


def in_a_process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, as a user runs it."""
    return subprocess.run(
        [sys.executable, "-m", "gatewright", *map(str, arguments)],
        capture_output=True,
        text=True,
    )


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2, a message with these words, no traceback, nothing on stdout."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_help_is_instant_and_names_the_commands():
    before = os.times()
    done = in_a_process("--help")
    after = os.times()  # of the processor: the tests run side by side
    assert done.returncode == 0
    for command in ("cells", "compare", "train", "predict", "sample"):
        assert command in done.stdout
    taken = after.children_user + after.children_system
    taken -= before.children_user + before.children_system
    assert taken < 0.8  # it takes 0.2 s; with torch it would take over a second


@pytest.mark.parametrize(
    "command", ["cells", "compare", "bench", "memory", "train", "predict", "sample"]
)
def test_every_command_has_help(command):
    done = gatewright(command, "--help")
    assert done.returncode == 0 and "--json" in done.stdout


def test_version():
    assert re.fullmatch(r"gatewright \d+\.\d+\.\d+\n", gatewright("--version").stdout)


def test_cells_lists_every_cell_once_in_its_family():
    from gatewright.cells import CELLS

    done = gatewright("cells")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for name, kind in CELLS.items():
        [at] = [k for k, line in enumerate(lines) if line.split()[:1] == [name]]
        assert lines[at].split(None, 1)[1] == kind().equations.about
        assert lines[at + 1].strip()  # where it is from
        heading = next(line for line in reversed(lines[:at]) if line[:1].strip())
        assert heading == sys.modules[kind.__module__].__doc__.split("\n")[0]


def test_one_cell_is_shown_in_full():
    from gatewright.cells import CELLS

    shown = gatewright("cells", "lstm").stdout
    assert shown.startswith(f"{CELLS['lstm']()}\n")
    assert "Source: Hochreiter and Schmidhuber 1997" in shown and "projection: A smaller" in shown


def test_lesson_names():
    done = gatewright("cells", "lstm", "--names", "lesson")
    assert done.returncode == 0, done.stderr
    for word in ("learn", "forget", "remember", "use", "STM", "LTM"):
        assert word in done.stdout


def test_cells_for_machines():
    from gatewright.cells import CELLS

    described = json.loads(gatewright("cells", "--json").stdout)
    assert [cell["name"] for cell in described] == list(CELLS)
    for cell in described:
        assert all(cell[key] for key in ("about", "family", "source", "equations", "latex")), cell


def test_cells_as_latex():
    from gatewright.cells import CELLS

    assert gatewright("cells", "gru", "--latex").stdout == f"{CELLS['gru']().latex()}\n"


def test_diagrams_go_into_a_new_directory(tmp_path):
    out = tmp_path / "diagrams"
    assert gatewright("cells", "lstm", "--svg", out).returncode == 0
    assert [path.name for path in out.iterdir()] == ["lstm.svg"]
    assert (out / "lstm.svg").read_text(encoding="utf-8").lstrip().startswith("<svg")
    refused(gatewright("cells", "gru", "--svg", out), "not empty")
    assert [path.name for path in out.iterdir()] == ["lstm.svg"]


def test_a_process_ends_as_it_should():
    refused(in_a_process("cells", "lstn"), "there is no cell 'lstn'")
    assert in_a_process("cells", "lstm").stdout == gatewright("cells", "lstm").stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["cells", "lstn"], "there is no cell 'lstn'; did you mean lstm"),
        (["cells", "--names", "french"], "expected lesson"),
        (["cells", "--latex", "--json"], "exclude each other"),
        (["cells", "--names", "lesson", "--json"], "--names"),
        (["train"], "data"),
        (["train", "nothing.csv"], "there is no file 'nothing.csv'"),
        (["train", "vowels", "--cell", "lstn"], "lstn"),
        (["train", "vowels", "--cell", "my.py:Mine"], "there is no file my.py"),
        (["train", "vowels", "--horizon", "3"], "no horizon"),
        (["predict", "nowhere", "vowels"], "nowhere is no directory"),
        (["sample", "nowhere"], "nowhere is no directory"),
        (["compare"], "data"),
        (["compare", "vowels", "--out", "new", "--seeds", "0"], "--seeds"),
        (["compare", "nothing", "--out", "new"], "nothing"),
        (["compare", "vowels", "--out", "new", "--cells", "lstn"], "lstn"),
        (["compare", "vowels", "--out", "new", "--cells", ","], "error"),
        (["compare", "vowels", "--out", "new", "--budget", "1"], "budget"),
    ],
    ids=" ".join,
)
def test_bad_arguments(arguments, word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(gatewright(*arguments), word)
    assert list(tmp_path.iterdir()) == []  # nothing was made


@pytest.mark.parametrize("kind", ["full directory", "file"])
def test_an_output_that_exists_is_left_alone(kind, tmp_path, monkeypatch):
    monkeypatch.delattr(experiment, "perform_all")  # refused before anything is computed
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    refused(gatewright("compare", "vowels", "--out", out), str(out))
    assert sorted(tmp_path.rglob("*")) == before


def stop(error: BaseException):
    def app() -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("the file is damaged", "the file is damaged"),
        (
            "write a number, or say fill='linear', 'previous' or 'drop'",
            "write a number, or say --fill linear, previous or drop",
        ),
        (
            "label='a b' goes with id=, or ignore= it",
            "--label 'a b' goes with --id, or --ignore it",
        ),
        ("take memory=68, or hidden_size=3", "take --memory 68, or --hidden 3"),
        ("a.csv exists; say overwrite=True", "a.csv exists; say --overwrite"),
        ("gw.Recurrent(cell, ...)(x, name=...); x.time='1'", None),
    ],
)
def test_our_errors_become_one_message_in_options(given, said, monkeypatch, capsys):
    monkeypatch.setattr(cli, "app", stop(DataError(given)))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr() == ("", f"error: {said or given}\n")


def test_ctrl_c_ends_with_130(monkeypatch, capsys):
    monkeypatch.setattr(cli, "app", stop(KeyboardInterrupt()))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_is_not_hidden(monkeypatch):
    monkeypatch.setattr(cli, "app", stop(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
@pytest.mark.parametrize("arguments", [("cells",), ("cells", "--json"), ("cells", "lstm")])
def test_an_output_that_takes_no_more_is_said(arguments: tuple[str, ...]):
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "gatewright", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: cannot write the output: No space left on device\n"


def test_themes_of_diagrams(tmp_path: Path):
    done = gatewright("cells", "lstm", "--svg", tmp_path / "dark", "--theme", "dark")
    assert done.returncode == 0 and "var(" not in (tmp_path / "dark" / "lstm.svg").read_text()
    refused(gatewright("cells", "lstm", "--theme", "dark"), "--svg")
    refused(gatewright("cells", "lstm", "--svg", tmp_path / "x", "--theme", "blue"), "theme")
