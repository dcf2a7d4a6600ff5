"""The command line: its output, and bad requests end in exit code 2 and change nothing."""

from __future__ import annotations

import ast
import io
import json
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import llvmlite.binding as llvm
import pytest
import typer
from llvmlite import ir

from gatewright import cli
from gatewright.backends.llvm import build
from gatewright.backends.llvm.kernel import emit
from gatewright.backends.llvm.library import Kernels
from gatewright.backends.llvm.listing import kernel_text as llvm_text
from gatewright.backends.llvm.target import target
from gatewright.cells import CELLS
from gatewright.cli.options import arguments
from gatewright.errors import ArgumentError, DataError
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
    for command in ("cells", "compare", "train", "predict", "sample", "serve", "stream"):
        assert command in done.stdout
    order = [
        done.stdout.index(f"│ {command} ") for command in ("train", "predict", "cells", "bench")
    ]
    assert order == sorted(order)  # a newcomer trains first
    taken = after.children_user + after.children_system
    taken -= before.children_user + before.children_system
    assert taken < 0.8  # it takes 0.2 s; with torch it would take over a second


@pytest.mark.parametrize("command", sorted(typer.main.get_command(cli.app).commands))
def test_every_command_has_help(command):
    done = gatewright(command, "--help")
    assert done.returncode == 0 and "--json" in done.stdout
    assert re.search(r"--json +Print JSON", done.stdout)  # not <bool>: a flag takes no value


def test_the_help_has_every_word_of_the_descriptions():
    # Rich would take [tune] for a style, and leave it out.
    group = typer.main.get_command(cli.app)
    for name, command in group.commands.items():
        shown = " ".join(re.sub(r"[│╭╮╰╯─]", " ", gatewright(name, "--help").stdout).split())
        assert " ".join(command.help.split()) in shown, name


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "yes", "", "9" * 5000])
def test_the_steps_of_recompute_are_checked(text):
    with pytest.raises(ArgumentError, match=r"--recompute is .*; expected a number of steps"):
        arguments({"recompute": text})
    assert arguments({"recompute": "auto"}) == {"recompute": True}
    assert arguments({"recompute": "12"}) == {"recompute": 12}


def test_version():
    assert re.fullmatch(r"gatewright \d+\.\d+\.\d+\n", gatewright("--version").stdout)


def test_cells_lists_every_cell_once_in_its_family():
    done = gatewright("cells")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    for name, kind in CELLS.items():
        [row] = [k for k, line in enumerate(lines) if line.split()[:1] == [name]]
        assert lines[row].split(None, 1)[1] == kind().equations.about
        assert lines[row + 1].strip()  # its source
        heading = next(line for line in reversed(lines[:row]) if line[:1].strip())
        assert heading == sys.modules[kind.__module__].__doc__.split("\n")[0]


def test_one_cell_is_shown_in_full():
    shown = gatewright("cells", "lstm").stdout
    assert shown.startswith(f"{CELLS['lstm']()}\n")
    assert "Source: Hochreiter and Schmidhuber 1997" in shown and "projection: A smaller" in shown


def test_lesson_names():
    done = gatewright("cells", "lstm", "--names", "lesson")
    assert done.returncode == 0, done.stderr
    for word in ("learn", "forget", "remember", "use", "STM", "LTM"):
        assert word in done.stdout


def test_cells_for_machines():
    described = json.loads(gatewright("cells", "--json").stdout)
    assert [cell["name"] for cell in described] == list(CELLS)
    for cell in described:
        assert all(cell[key] for key in ("about", "family", "source", "equations", "latex")), cell


def test_cells_as_latex():
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
        (["train", "vowels", "--cell", "window", "--page"], "the window network has none"),
        (["look", "nothing"], "there is no directory and no cell nothing; expected MODEL"),
        (["look", "lstm", "--port", "99999"], "65535"),
        (["train", "vowels", "--cell", "my.py:Mine"], "there is no file my.py"),
        (["train", "vowels", "--horizon", "3"], "no horizon"),
        (["predict", "nowhere", "vowels"], "nowhere is no directory"),
        (["sample", "nowhere"], "nowhere is no directory"),
        (["compare"], "data"),
        (["compare", "vowels", "--out", "new", "--seeds", "0"], "--seeds"),
        (["compare", "nothing", "--out", "new"], "nothing"),
        (["compare", "vowels", "--out", "new", "--cells", "lstn"], "lstn"),
        (["compare", "vowels", "--out", "new", "--cells", ","], "error"),
        (["compare", "vowels", "--out", "new", "--parameters", "1"], "parameters"),
    ],
    ids=" ".join,
)
def test_bad_arguments(arguments, word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(gatewright(*arguments), word)
    assert list(tmp_path.iterdir()) == []  # no file was written


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
    ("message", "expected"),
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
        ("give resume=True to go on", "give --resume to go on"),
        ("gw.train(data, ..., resume=True)", "gw.train(data, ..., resume=True)"),
        ("gw.Recurrent(cell, ...)(x, name=...); x.time='1'", None),
    ],
)
def test_our_errors_become_one_message_in_options(message, expected, monkeypatch, capsys):
    monkeypatch.setattr(cli, "app", stop(DataError(message)))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr() == ("", f"error: {expected or message}\n")


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
def test_an_output_that_is_full_is_reported(arguments: tuple[str, ...]):
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


# One vocabulary: the same names everywhere, and the nearest name for one that is not known.
COMMANDS = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


def test_an_option_has_the_same_names_in_every_command():
    names: dict[tuple[str, ...], set[str]] = {}
    for command in COMMANDS.values():
        for option in command.params:
            for name in option.opts:
                if name.startswith("--"):
                    names.setdefault((name,), set()).add(option.name)
    # --cell and --cells are one option, of one or several cells; the others have one meaning.
    ambiguous = {name for (name,), meanings in names.items() if len(meanings) > 1}
    assert ambiguous == {"--cell", "--cells"}


def test_every_command_with_cells_takes_both_names():
    memory = gatewright("memory", "runs/model", "vowels", "--networks", "rnn")
    refused(memory, "--cells goes with the lesson's comparison")  # the earlier name still works
    with_cells = {
        name
        for name, command in COMMANDS.items()
        if any({"--cell", "--cells"} <= set(option.opts) for option in command.params)
    }
    assert with_cells == {"bench", "compare", "doctor", "memory", "train", "tune"}


class Reached(Exception):
    """The library was called."""


@pytest.mark.parametrize("option", ["--cell", "--cells"])
@pytest.mark.parametrize("name", ["rnn", "elman_rnn"])
@pytest.mark.parametrize(
    ("command", "work"),
    [
        (("train", "vowels"), "gatewright.training.experiment.perform_all"),
        (("compare", "vowels"), "gatewright.training.experiment.perform_all"),
        (("bench",), "gatewright.bench.layers.in_process"),
        (("bench", "--what", "build"), "gatewright.bench.building._imports"),
        (("bench", "--what", "memory"), "gatewright.bench.memory.in_process"),
        (("bench", "--what", "stream"), "gatewright.bench.stream.in_process"),
        (("memory",), "gatewright.memory.compare._performed"),
    ],
    ids=str,
)
def test_a_cell_has_the_same_names_in_every_command(
    command, work, name, option, monkeypatch, tmp_path
):
    def reached(*arguments: object, **options: object) -> None:
        raise Reached

    monkeypatch.setattr(work, reached)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Reached):
        gatewright(*command, option, name, "--no-progress")


def test_both_names_show_the_same_cell():
    assert gatewright("cells", "rnn").stdout == gatewright("cells", "elman_rnn").stdout != ""


def test_one_cell_is_trained_at_a_time():
    refused(gatewright("train", "vowels", "--cells", "rnn,gru"), "compare takes several")


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        ("train vowls", "did you mean vowels?"),
        ("train vowels --cell lstn", "did you mean lstm or"),
        ("train vowels --cell Gru", "did you mean gru or"),
        ("compare vowels --cells lstm,gruu", "did you mean gru"),
        ("cells lstn", "did you mean lstm or"),
        ("cells lstm --kernel trion", "did you mean triton?"),
        ("cells lstm --svg new --theme drak", "did you mean dark?"),
        ("memory --cells chrono", "did you mean chrono_lstm?"),
        ("train weather --task forcast", "did you mean forecast?"),
        ("train weather --target precip", "Did you mean precipitation?"),
        ("train weather --ignore wnid", "Did you mean wind?"),
        ("train weather --fill linaer", "did you mean linear?"),
        ("train prose --text bites", "did you mean bytes?"),
        ("bench --backend refrence", "did you mean reference?"),
        ("bench --peers torhc", "did you mean torch?"),
        ("bench --cells lstn", "did you mean lstm or"),
        ("bench --what laeyrs", "did you mean layers?"),
        ("trian vowels", "Did you mean 'train'?"),
        ("train vowels --seds 3", "--seeds"),
        ("compare vowels --cels rnn", "--cells"),
    ],
)
def test_an_unknown_name_gets_the_nearest(arguments: str, suggestion: str, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    refused(gatewright(*arguments.split()), suggestion)
    assert list(tmp_path.iterdir()) == []


# Kernels.
@pytest.mark.parametrize("backward", [False, True], ids=["inference", "backward"])
@pytest.mark.parametrize("form", ["llvm", "asm", "triton"])
@pytest.mark.parametrize("name", ["lstm", "min_gru", "layer_norm_lstm"])
def test_the_kernel_of_a_cell_is_printed_with_comments(name: str, form: str, backward: bool):
    done = gatewright("cells", name, "--kernel", form, *["--backward"] * backward)
    assert done.returncode == 0, done.stderr
    mark = ";" if form == "llvm" else "#"
    header = [line for line in done.stdout.splitlines() if line.startswith(mark)]
    assert f"{CELLS[name].__name__}, {'backward pass' if backward else 'inference'}" in header[0]
    equations = {line.strip() for line in str(CELLS[name]()).splitlines()}
    assert equations <= {line[1:].strip() for line in header}
    # The buffers are explained, those of the table or those that are arguments.
    assert any("known for all steps before" in line for line in header)


@pytest.mark.parametrize("backward", [False, True], ids=["inference", "backward"])
@pytest.mark.parametrize("name", ["gru", "layer_norm_lstm"])
def test_the_printed_kernel_is_the_one_that_is_built(name: str, backward: bool):
    """The text is a module of LLVM's with every function of the emitter, and nothing else."""
    graph = CELLS[name]().graph
    printed = llvm.parse_assembly(llvm_text(graph, backward=backward))
    printed.verify()
    kind = "loop_backward" if backward else "loop_inference"
    plan = Kernels(graph, ((), (), False), build.numbers(32)).plans[kind]
    module = ir.Module()
    module.triple = target().triple
    emit(module, kind, plan, target().numbers(32), target().registers)
    emitted = llvm.parse_assembly(str(module))
    functions = {function.name: str(function) for function in printed.functions}
    assert functions == {function.name: str(function) for function in emitted.functions}


def test_the_kernel_for_gpus_depends_on_the_size_and_needs_no_triton(monkeypatch):
    monkeypatch.setitem(sys.modules, "triton", None)
    text = gatewright("cells", "lstm", "--kernel", "triton", "--hidden", "48").stdout
    assert "hidden 48" in text and "u48 < 48" in text
    ast.parse(text)


def test_a_cell_of_the_users_is_shown_and_printed_as_a_kernel(tmp_path):
    path = tmp_path / "my.py"
    path.write_text(
        "import gatewright as gw\n\nclass Mine(gw.Cell):\n"
        "    def step(self, x, h):\n        return gw.state(h=gw.tanh(gw.linear(x, h, name='h')))\n"
    )
    assert "h' = tanh(W_h [x, h] + b_h)" in gatewright("cells", f"{path}:Mine").stdout
    assert "Mine, inference" in gatewright("cells", f"{path}:Mine", "--kernel", "llvm").stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("--kernel llvm", "name the cell"),
        ("lstm --kernel llvm --hidden 3", "--hidden goes with --kernel triton"),
        ("lstm --backward", "--backward goes with --kernel"),
        ("lstm --hidden 3", "--hidden goes with --kernel"),
        ("lstm --kernel llvm --json", "--kernel and --json exclude each other"),
        ("lstm --kernel llvm --names lesson", "--names"),
    ],
)
def test_options_of_kernels_that_do_not_fit_are_refused(arguments: str, word: str):
    refused(gatewright("cells", *arguments.split()), word)
