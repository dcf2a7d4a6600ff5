"""From a trained model to the programs in `docs/programs.md`: the same classes for real data."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import gatewright as gw
from exported import GCC, NODE
from gatewright.cli import main
from gatewright.designs.design import DESIGNS, Design
from gatewright.tasks.classify import Classify
from gatewright.training.ensemble import Ensemble
from gatewright.training.job import fit
from gatewright.training.model import Model
from gatewright.training.networks import NETWORKS
from gatewright.training.recipe import RECIPES
from whole_models import model_of

PAGE = (Path(__file__).parent.parent / "docs" / "programs.md").read_text(encoding="utf-8")
ARM = shutil.which("arm-none-eabi-gcc")


def blocks(language: str) -> list[str]:
    """The programs of the page in a language, in order."""
    return re.findall(rf"(?s)```{language}\n(.*?)```", PAGE)


def commands(start: str) -> list[list[str]]:
    """The commands of the page that begin with a word, without their comments."""
    lines = [line.partition("#")[0] for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith(start)]


def trained(data: Any, design: Design, epochs: int) -> Model:
    task = Classify.of(data)
    recipe = replace(RECIPES["classify"], epochs=epochs, design=design)

    def build(part: Any) -> Model:
        return Model(task, "gru", NETWORKS["gru"].build(task, 6, design))

    return fit(task.parts(data, 0.2, 0), build, recipe, seed=0)[0]


@pytest.fixture(scope="module")
def vowels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A folder with exported programs and the test recordings; the classes of `predict`."""
    reading = gw.read("vowels")
    members = [trained(reading.data, DESIGNS[name], 2) for name in ("both-ways", "untrained")]
    model = Ensemble(members)
    folder = tmp_path_factory.mktemp("vowels")
    gw.save(model, folder / "vowels")
    (folder / "package.json").write_text('{"type": "module"}')
    recordings = reading.test.sequences
    text = "".join(f"{len(x)}\n{' '.join(map(repr, x.ravel().tolist()))}\n" for x in recordings)
    (folder / "recordings.txt").write_text(text)
    (folder / "recordings.json").write_text(json.dumps([x.tolist() for x in recordings]))
    answers = model.predict(reading.test).argmax(1)
    assert (answers == reading.test.labels).mean() > 0.8
    assert len(answers) == 370
    return folder, [model.task.classes[k] for k in answers]


def exported(folder: Path, language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the page's command that exports a language."""
    monkeypatch.chdir(folder)
    (command,) = [c for c in commands("gatewright export vowels") if c[-1] == language]
    assert exit_code(command, monkeypatch) == 0


def exit_code(command: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> object:
    """Run a command of the package in this process."""
    monkeypatch.setattr(sys, "argv", list(command))
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def printed(command: Sequence[str], folder: Path, **options: Any) -> list[str]:
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, **options)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


@pytest.mark.slow(instead="test_exports.py::test_every_cell_as_c")
@pytest.mark.skipif(GCC is None, reason="gcc is not installed")
def test_c(vowels: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, classes = vowels
    exported(folder, "c", monkeypatch)
    (folder / "classify.c").write_text(blocks("c")[0])
    (build,) = commands("cc ")
    printed([str(GCC), "-Wall", "-Wextra", "-Werror", *build[1:]], folder)
    with (folder / "recordings.txt").open() as recordings:
        assert printed(["./classify"], folder, stdin=recordings) == classes


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_javascript(vowels: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, classes = vowels
    exported(folder, "js", monkeypatch)
    (folder / "classify.js").write_text(blocks("js")[0])
    assert printed([str(NODE), "classify.js"], folder) == classes


def test_numpy(vowels: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, classes = vowels
    exported(folder, "python", monkeypatch)
    (folder / "classify.py").write_text(blocks("python")[0])
    assert printed([sys.executable, "classify.py"], folder) == classes


@pytest.mark.skipif(ARM is None, reason="no cross-compiler of Arm is installed")
def test_the_microcontroller(tmp_path: Path) -> None:
    """The command of the page compiles a streaming model, and its loop fits the header."""
    gw.export(model_of("classify"), tmp_path / "wake_word.c")
    (build,) = commands("arm-none-eabi-gcc")
    printed(build, tmp_path)
    (tmp_path / "listen.c").write_text(blocks("c")[1])
    printed([*build[:-1], "-Wall", "-Wextra", "-Werror", "listen.c"], tmp_path)


@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_the_stream_of_the_page(tmp_path: Path) -> None:
    gw.export(model_of("classify"), tmp_path / "wake_word.js")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    events = "const events = [[1, 2], [3, 4]];\n"
    program = blocks("js")[1].replace("const stream", f"{events}const stream")
    (tmp_path / "stream.js").write_text(program + "console.log(stream.step([1, 2]).length);\n")
    assert printed([str(NODE), "stream.js"], tmp_path) == ["2"]


def test_a_text_with_counts_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gw.save(model_of("counted text"), tmp_path / "prose")
    command = ["gatewright", "export", str(tmp_path / "prose"), "--to", "c"]
    assert exit_code(command, monkeypatch) == 2
    assert "error: the model of a text is mixed with counts" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["prose"]
    assert exit_code([*command, "--network-only"], monkeypatch) == 0
    assert capsys.readouterr().out.split() == [f"{tmp_path}/prose.h", f"{tmp_path}/prose.c"]
