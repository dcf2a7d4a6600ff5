"""`benchmarks/gpu.py` rehearsed on a CPU, so that it needs no second try where a GPU is lent."""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gatewright.backends import triton
from gatewright.backends.triton import loop
from gatewright.proving import runs

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu.py"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module; what it replaces for a rehearsal comes back afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    for module, name in ((loop, "built"), (triton, "why_no_device")):
        monkeypatch.setattr(module, name, getattr(module, name))
    monkeypatch.setattr(runs, "SIZES", ((3, 6, 3),))
    monkeypatch.setattr(runs, "STEPS", 3)
    spec = importlib.util.spec_from_file_location("gpu_script", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_script", module)
    spec.loader.exec_module(module)
    return module


def rows_of(script: ModuleType, part: str) -> list[Any]:
    """The rows of a part as a child process writes them."""
    settings = script.Settings(rehearse=True, seconds=0.0)
    rows = list(script.PARTS[part].rows(settings, 0))
    return json.loads(json.dumps(rows))  # type: ignore[no-any-return]


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("part", ["exact-torch", "compile", "times", "sanitizer", "exact-triton"])
def test_every_part_runs_and_finds_nothing_wrong(part: str, script: ModuleType):
    rows = rows_of(script, part)
    assert rows and all(row["ok"] for row in rows), [row for row in rows if not row["ok"]]
    lines = script.TABLES[part](rows)
    assert lines and not any("WRONG" in line for line in lines)
    if part == "times":
        assert set(rows[0]["ms"]) == {"cudnn", "torch", "triton", "loop"}
        assert set(rows[0]["ratios"]) == {
            "torch over cudnn",
            "triton over cudnn",
            "triton over loop",
        }


def test_a_wrong_kernel_is_noticed(script: ModuleType, monkeypatch: pytest.MonkeyPatch):
    stand_in = script.use_stand_in

    def wrong() -> None:
        stand_in()
        right: Any = loop.built
        loop.built = lambda name, text: right(name, text.replace("libdevice.tanh", "libdevice.sin"))

    monkeypatch.setattr(script, "use_stand_in", wrong)
    rows = rows_of(script, "exact-triton")
    assert not any(row["ok"] for row in rows if row["cell"] == "lstm")
    assert any("WRONG" in line for line in script.exact_table(rows))


def test_a_part_that_does_not_end_leaves_the_others(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(script.PARTS, "times", replace(script.PARTS["times"], limit=0.0))
    options = argparse.Namespace(rehearse=True, seconds=0.0)
    rows, ends = script.run_part("times", options, 60.0)
    assert rows == [] and len(ends) == 1 and ends[0].startswith("its time was over")
    results = {"parts": {"times": {"rows": rows, "ends": ends, "seconds": 0.1}}}
    assert "FAILED its time was over" in script.table(results)


@pytest.mark.slow(instead="test_every_part_runs_and_finds_nothing_wrong")
def test_it_needs_few_packages(tmp_path: Path):
    """A process without the packages of the extras runs a part and writes its rows."""
    code = """
import runpy, sys
absent = {"onnx", "onnxruntime", "onnxscript", "sklearn", "pandas", "scipy", "h5py", "keras",
          "jax", "optuna", "accelerate", "fastapi", "uvicorn", "gymnasium", "pytest", "hypothesis"}
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ImportError(f"{name} is absent")
sys.meta_path.insert(0, Absent())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    arguments = [str(SCRIPT), "--part", "times", "--rehearse", "--seconds", "0"]
    file = tmp_path / "rows"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--file", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert len(rows) == 4 and all(row["ok"] for row in rows)
