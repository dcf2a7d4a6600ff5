"""`gatewright train`, killed at any moment, leaves a complete model or none, and nothing else.

`GATEWRIGHT_EXAMPLES=200 pytest tests/test_kills.py` kills it more often.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import pytest

import gatewright as gw
from example_count import example_count

KILLS = example_count(2)
#: Seconds after the first write within which a kill falls, most often early.
WRITING = 0.3
TEXT = "the quick brown fox jumps over the lazy dog. " * 60

pytestmark = pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")


def start(
    folder: Path, errors: int | IO[bytes] = subprocess.DEVNULL, **environment: str
) -> subprocess.Popen[bytes]:
    """A short training on a tiny text, which needs no variants and no boosting, in a process."""
    options = ["--cell", "rnn", "--hidden", "2", "--epochs", "2", "--seeds", "1", "--no-progress"]
    command = [sys.executable, "-m", "gatewright", "train", str(folder / "fox.txt")]
    return subprocess.Popen(
        [*command, *options, "--out", str(folder / "model")],
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env={**os.environ, "TMPDIR": str(folder / "temporary"), **environment},
    )


def users_files(folder: Path) -> dict[str, str]:
    """All files outside the model and outside the hidden directories it is prepared in."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and path.relative_to(folder).parts[0] != "model"
        and not path.relative_to(folder).parts[0].startswith(".model.partial-")
    }


def set_up(folder: Path) -> dict[str, str]:
    (folder / "fox.txt").write_text(TEXT)
    (folder / "mine").mkdir()
    (folder / "mine" / "model").write_text("another model")
    (folder / "temporary").mkdir()
    return users_files(folder)


def filled(path: Path) -> bool:
    """Tell whether a directory, which may be gone by now, has anything in it."""
    try:
        return bool(os.listdir(path))
    except (FileNotFoundError, NotADirectoryError):
        return False


def wait_for_writing(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until the model's directory, or the one that will become it, has files."""
    before = set(os.listdir(folder))
    # Before the training an empty directory tests the place, and is removed at once.
    while process.poll() is None:
        new = set(os.listdir(folder)) - before
        if any(filled(folder / name) for name in new):
            return
        time.sleep(0.0005)
    raise AssertionError(f"the training ended with {process.returncode} before it wrote")


@pytest.mark.slow(instead="test_train.py::test_a_model_directory_is_complete_and_describes_itself")
def test_the_training_that_is_killed_would_end_well(tmp_path: Path) -> None:
    before = set_up(tmp_path)
    with tempfile.TemporaryFile() as imports:
        # Every process prints what it imports.
        assert start(tmp_path, imports, PYTHONPROFILEIMPORTTIME="1").wait(timeout=300) == 0
        imports.seek(0)
        modules = {line.rpartition(b"|")[2].strip() for line in imports}
    assert len(list((tmp_path / "model").iterdir())) == 5
    assert users_files(tmp_path) == before
    # torch's compiler would take 1.3 s of each process, and nothing here needs it.
    assert b"torch" in modules
    assert b"torch._dynamo" not in modules


@pytest.mark.slow(instead="test_files.py::test_a_killed_writer_leaves_nothing_or_all_files")
@pytest.mark.parametrize("kill", range(KILLS))
def test_a_kill_leaves_a_whole_model_or_none(kill: int, tmp_path: Path) -> None:
    generator = random.Random(kill)
    before = set_up(tmp_path)
    process = start(tmp_path)
    if kill % 2:
        wait_for_writing(process, tmp_path)
        time.sleep(generator.uniform(0.0, WRITING) ** 2 / WRITING)
    else:
        time.sleep(generator.uniform(0.0, 8.0))
    process.kill()
    process.wait()
    assert users_files(tmp_path) == before
    model = tmp_path / "model"
    if model.exists():
        files = {path.name for path in model.iterdir() if not path.name.startswith(".")}
        assert {"config.json", "model.safetensors", "README.md", "results.json"} <= files
        assert set(gw.load(model).task.alphabet) == set(TEXT)
        card = (model / "README.md").read_text()
        assert "still to be computed" in card or "report.html" in files
