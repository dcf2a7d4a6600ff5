"""Processes of our own run our code, whatever files the current directory holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gatewright.processes import ROOT, module_command, module_environment

#: Modules that the standard library, torch and the worker processes import early.
SHADOWS = ("json", "queue", "torch", "base64", "pickle", "random", "gatewright")

TRAINS = """
import sys
sys.path[:] = [entry for entry in sys.path if entry not in ("", sys.argv[1])]
from dataclasses import replace
import numpy as np
from gatewright.data import Recordings
from gatewright.training.recipe import VOWELS
from gatewright.training.job import TrainingJob
from gatewright.tasks.classify import Classify
from gatewright.training.processes.pool import perform_all

generator = np.random.default_rng(0)
sequences = tuple(generator.normal(size=(6, 2)).astype(np.float32) for _ in range(24))
data = Recordings(sequences, np.arange(24) % 2, ("a", "b"))
job = TrainingJob(Classify.of(data), "rnn", 3, 0, replace(VOWELS, epochs=1))
(outcome,) = perform_all([job], data, processes=1)
print(len(outcome.history.train_loss))
"""

CLIMBS = """
import sys
sys.path[:] = [entry for entry in sys.path if entry not in ("", sys.argv[1])]
from gatewright.memory.compare import _pool

if __name__ == "__main__":
    with _pool(2) as pool:
        print(pool.submit(len, "three").result())
"""


@pytest.fixture
def shadowed(tmp_path: Path) -> Path:
    """A directory whose files would be imported in place of the modules they are named for."""
    for name in SHADOWS:
        (tmp_path / f"{name}.py").write_text(
            f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})\nraise SystemExit(3)\n"
        )
    return tmp_path


# An empty entry of PYTHONPATH is the current directory; our own command leaves it out.
@pytest.mark.slow(instead="test_the_environment_leads_to_this_package_and_not_to_the_directory")
@pytest.mark.parametrize(
    ("program", "path"),
    [(TRAINS, f"{ROOT}{os.pathsep}"), (CLIMBS, ROOT)],
    ids=["train", "memory"],
)
def test_files_of_the_current_directory_are_not_run(
    program: str, path: str, shadowed: Path, tmp_path: Path
):
    script = tmp_path / "elsewhere" / "program.py"
    script.parent.mkdir()
    script.write_text(program)
    done = subprocess.run(
        [sys.executable, "-P", str(script), str(shadowed)],
        cwd=shadowed,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert not (shadowed / "ran").exists()


def test_the_environment_leads_to_this_package_and_not_to_the_directory():
    environment = module_environment(OMP_NUM_THREADS="1")
    entries = environment["PYTHONPATH"].split(os.pathsep)
    assert entries[0] == ROOT and "" not in entries
    assert environment["OMP_NUM_THREADS"] == "1" and "-P" in module_command("gatewright")
