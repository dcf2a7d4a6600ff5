"""Ask the page's engine, in Node, what it computes; the tests compare it with Python."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from gatewright.deploy.page import document_of
from gatewright.page.document import to_text

#: The largest difference between the engine and Python, as a share of 1 + the value.
LIMIT = 1e-5
VIEW = Path(__file__).parent.parent / "view"
NODE = shutil.which("node")
CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
BUILDER = VIEW / "node_modules" / "esbuild"

needs_builder = pytest.mark.skipif(
    NODE is None or not BUILDER.exists(),
    reason="node or the builder is not installed: npm ci --prefix view",
)


def build_engine(folder: Path) -> Path:
    """Bundle the engine with what the tests ask it: one script, for Node and for browsers."""
    build(folder, "--tests")
    return folder / "answers.js"


def build(folder: Path, *options: str) -> None:
    """Run the page's build into a folder."""
    command = [str(NODE), "build.mjs", *options, str(folder)]
    built = subprocess.run(command, cwd=VIEW, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr


def ask(engine: Path, jobs: Sequence[dict[str, Any]], folder: Path) -> list[Any]:
    """The engine's answers to jobs, all in one process."""
    (folder / "jobs.json").write_text(json.dumps(list(jobs)))
    path = json.dumps(str(folder / "jobs.json"))
    answers: list[Any] = evaluate(
        engine, f"JSON.parse(fs.readFileSync({path}, 'utf8')).map(globalThis.answer)"
    )
    return answers


def evaluate(engine: Path, expression: str) -> Any:
    """The value, or the promised one, of JavaScript that can use `engine` and `analysis`."""
    program = (
        "const fs = require('fs'), vm = require('vm');"
        "vm.runInThisContext(fs.readFileSync(process.argv[1], 'utf8'));"
        # JSON has no infinity, and prints arrays of numbers as objects.
        "const plain = (k, v) => typeof v === 'number' && !isFinite(v) ? String(v)"
        " : ArrayBuffer.isView(v) ? Array.from(v) : v;"
        f"Promise.resolve({expression}).then((v) => console.log(JSON.stringify(v, plain)));"
    )
    command = [str(NODE), "-e", program, str(engine)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout)


def exact(module: Any) -> Any:
    """The same network in float64, with the same weights."""
    return copy.deepcopy(module).double()


def document(models: dict[str, Any], data: Any = None, **options: Any) -> str:
    """The text of a document without memory curves, which take longer than the rest."""
    return to_text(document_of(models, data, curves=False, **options))


def off(actual: Any, expected: Any) -> float:
    """The largest difference, as a share of 1 + the expected value."""
    expected = expected.detach().numpy() if isinstance(expected, Tensor) else np.asarray(expected)
    actual = np.asarray(actual, dtype=np.float64)
    assert actual.size == expected.size
    difference = np.abs(actual - expected.ravel()) / (1.0 + np.abs(expected.ravel()))
    return float(difference.max(initial=0.0))
