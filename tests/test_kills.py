"""`gatewright train`, ended at any moment, leaves a complete model or none, and can be resumed.

Resumed, it gives the bytes of a training that was not ended. `GATEWRIGHT_EXAMPLES=200 pytest
tests/test_kills.py` kills it, or a process that trains for it, more often.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO

import pytest

import gatewright as gw
from example_count import example_count
from gatewright.errors import ModelError
from resumed import without_times

KILLS = example_count(2)
#: Seconds after an event within which a kill falls, most often early.
SOON = 0.5
#: Seconds that the training lasts on a machine with other work; a kill falls within, or after it.
LASTS = 3.0
TEXT = "the quick brown fox jumps over the lazy dog. " * 60

pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX"),
    pytest.mark.usefixtures("forked_python"),
]


def start(
    folder: Path,
    *more: str,
    errors: int | IO[bytes] = subprocess.DEVNULL,
    name: str = "model",
    epochs: int = 3,
    **environment: str,
) -> subprocess.Popen[bytes]:
    """A short training on a tiny text, which needs no variants and no boosting, in a process."""
    options = ["--cell", "rnn", "--hidden", "2", "--seeds", "1", "--no-progress"]
    options += ["--epochs", str(epochs), "--checkpoint-every", "2", *more]
    command = [sys.executable, "-m", "gatewright", "train", str(folder / "fox.txt")]
    return subprocess.Popen(
        [*command, *options, "--out", str(folder / name)],
        stdout=subprocess.DEVNULL,
        stderr=errors,
        env={**os.environ, "TMPDIR": str(folder / "temporary"), **environment},
    )


def users_files(folder: Path) -> dict[str, str]:
    """All files outside the model."""
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != "model"
    }


def set_up(folder: Path) -> dict[str, str]:
    (folder / "fox.txt").write_text(TEXT)
    (folder / "mine").mkdir()
    (folder / "mine" / "model").write_text("another model")
    (folder / "temporary").mkdir()
    return users_files(folder)


def wait_for(process: subprocess.Popen[bytes], path: Path) -> None:
    """Wait until a file is there, or the process has ended."""
    while process.poll() is None and not path.exists():
        time.sleep(0.0005)


def checkpoints(folder: Path) -> list[Path]:
    return list((folder / "model" / "unfinished").glob("*.safetensors"))


def contents(folder: Path) -> set[bytes]:
    """The contents of all checkpoints."""
    return {path.read_bytes() for path in checkpoints(folder)}


def child_of(process: subprocess.Popen[bytes]) -> int | None:
    """The process that trains for a training, once there is one."""
    while process.poll() is None:
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = status.read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            if fields[1] == str(process.pid):
                return int(status.parent.name)
        time.sleep(0.01)
    return None


def results_of(model: Path) -> dict[str, object]:
    """The bytes of a model, and its results without measured times."""
    results = json.loads((model / "results.json").read_text())
    weights, config = (
        (model / "model.safetensors").read_bytes(),
        (model / "config.json").read_text(),
    )
    return {"results": without_times(results), "weights": weights, "config": config}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The results of the training that is not ended."""
    folder = tmp_path_factory.mktemp("whole")
    before = set_up(folder)
    with tempfile.TemporaryFile() as imports:
        # Every process prints what it imports.
        assert start(folder, errors=imports, PYTHONPROFILEIMPORTTIME="1").wait(timeout=120) == 0
        imports.seek(0)
        modules = {line.rpartition(b"|")[2].strip() for line in imports}
    # torch's compiler would take 1.3 s of each process, and nothing here needs it.
    assert b"torch" in modules and b"torch._dynamo" not in modules
    assert len(list((folder / "model").iterdir())) == 5
    assert users_files(folder) == before
    return results_of(folder / "model")


@pytest.mark.slow(
    instead="test_resume.py::test_a_training_that_is_killed_at_any_moment_goes_on_to_the_bit"
)
@pytest.mark.parametrize("kill", range(KILLS))
def test_a_kill_leaves_a_whole_model_or_none_and_what_resumes_it(
    kill: int, tmp_path: Path, whole: dict[str, object]
) -> None:
    generator = random.Random(kill)
    before, model = set_up(tmp_path), tmp_path / "model"
    process = start(tmp_path)
    if kill % 3 == 2:  # while the model is written
        wait_for(process, model / "README.md")
        time.sleep(generator.uniform(0.0, SOON) ** 2 / SOON)
    elif kill % 3 == 1:  # the process that trains, of which the other notices the end
        child = child_of(process)
        time.sleep(generator.uniform(0.0, LASTS))
        try:
            os.kill(child or process.pid, signal.SIGKILL)
        except ProcessLookupError:  # it had ended
            child = None
        assert process.wait(timeout=120) in ((0, 2) if child else (0, -9))
    else:
        wait_for(process, model / "unfinished" / "run.json")
        time.sleep(generator.uniform(0.0, LASTS))
    process.kill()
    process.wait()
    assert users_files(tmp_path) == before
    check_whole_or_unfinished(model)
    if not (model / "config.json").exists() or (model / "unfinished").exists():
        assert start(tmp_path, "--resume").wait(timeout=120) == 0
    # Killed during the report, after the checkpoints were removed, nothing is left to do.
    assert not (model / "unfinished").exists()
    assert results_of(model) == whole
    assert len(list(model.iterdir())) == 5


def check_whole_or_unfinished(model: Path) -> None:
    """A directory with config.json loads; the others are refused with the way to go on."""
    if (model / "config.json").exists():
        files = {path.name for path in model.iterdir() if not path.name.startswith(".")}
        assert {"model.safetensors", "README.md", "results.json"} <= files
        assert set(gw.load(model).task.alphabet) == set(TEXT)
        card = (model / "README.md").read_text()
        assert "still to be computed" in card or "report.html" in files
    elif (model / "unfinished").exists():
        with pytest.raises(ModelError, match="holds an unfinished training"):
            gw.load(model)


@pytest.mark.slow(instead="test_resume.py::test_the_time_limit_ends_a_run_before_it_measures")
def test_signals_and_the_time_limit_end_with_a_checkpoint_and_the_way_to_resume(
    tmp_path: Path,
) -> None:
    """SIGTERM to all processes, as schedulers send it, and the time limit, one on the other."""
    set_up(tmp_path)
    model, seen = tmp_path / "model", set[bytes]()
    for end, code in (("signal", 143), ("limit", 75)):
        limit = ["--time-limit", "0.2s"] if end == "limit" else []
        with tempfile.TemporaryFile() as errors:
            process = start(tmp_path, "--resume", *limit, errors=errors, epochs=100_000)
            if end != "limit":
                while (
                    process.poll() is None
                    and {p.read_bytes() for p in checkpoints(tmp_path)} <= seen
                ):
                    time.sleep(0.01)
                child = child_of(process)
                if child is not None:
                    os.kill(child, signal.SIGTERM)
                process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=120) == code
            errors.seek(0)
            last = errors.read().decode().splitlines()[-1]
        assert last.endswith(f"Resume with: gatewright train --resume {model}")
        assert len(checkpoints(tmp_path)) == 1 and not (model / "config.json").exists()
        seen |= contents(tmp_path)
