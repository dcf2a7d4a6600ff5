"""The start of a command: what it imports. A number of modules is the same on every machine."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import gatewright
from gatewright.training import train as train_module
from gatewright.training.plan import ExperimentPlan

#: Packages that take a tenth of a second and more to import.
HEAVY = {"llvmlite", "narwhals", "numpy", "optuna", "pandas", "safetensors", "sklearn", "torch"}


def imported_by(*command: str) -> set[str]:
    """The modules that a Python imports in addition to those that it starts with."""
    run = [sys.executable, "-X", "importtime", *command]
    done = subprocess.run(run, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    modules = {line.rpartition("|")[2].strip() for line in lines[1:]}  # the first is the heading
    bare = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", ""], capture_output=True, text=True, check=True
    )
    return modules - {line.rpartition("|")[2].strip() for line in bare.stderr.splitlines()}


def heavy(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules} & HEAVY


def test_the_help_imports_few_modules() -> None:
    modules = imported_by("-m", "gatewright", "--help")
    assert not heavy(modules)
    own = {module for module in modules if module.partition(".")[0] == "gatewright"}
    # The command line, its errors and words: 21 modules. The language and the cells are 40 more.
    assert "gatewright.cli.training" in own and len(own) <= 24, sorted(own)
    # 300 of all, most of them typer's and rich's. The version's package has 25 of them and is not
    # needed, as nobody asked for the version.
    assert len(modules) <= 340 and "importlib.metadata" not in modules, len(modules)


def test_the_list_of_cells_imports_the_language_only() -> None:
    modules = imported_by("-m", "gatewright", "cells", "--json")
    assert not heavy(modules)
    assert not any(module.startswith("gatewright.layers") for module in modules)


@pytest.mark.parametrize("command", ["train", "compare", "tune"])
def test_a_mistyped_file_is_refused_before_torch_is_imported(command: str) -> None:
    run = [sys.executable, "-X", "importtime", "-m", "gatewright", command, "wether"]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 2 and "no file 'wether'" in done.stderr
    assert "did you mean weather?" in done.stderr and " torch\n" not in done.stderr


def test_the_package_imports_nothing_of_its_own() -> None:
    modules = imported_by("-c", "import gatewright")
    assert {module for module in modules if module.startswith("gatewright")} == {"gatewright"}


def test_doctor_can_start_its_self_test_before_it_imports_torch() -> None:
    assert not heavy(imported_by("-c", "import gatewright.doctor"))


def test_the_names_are_those_that_type_checkers_see() -> None:
    """`__getattr__` has a table of its own, which must name what `if TYPE_CHECKING:` imports."""
    tree = ast.parse(Path(gatewright.__file__).read_text(encoding="utf-8"))
    (seen,) = [node for node in tree.body if isinstance(node, ast.If)]
    checked: dict[str, str] = {}
    for node in seen.body:
        if isinstance(node, ast.Import):
            (alias,) = node.names
            checked[alias.asname or alias.name] = alias.name
        elif isinstance(node, ast.ImportFrom):
            checked |= {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    table = {name: f"gatewright.{place}" for name, place in gatewright._MODULES.items()}
    table |= {name: f"gatewright.{m}.{name}" for name, m in gatewright._MODULE_OF.items()}
    assert checked == table
    assert set(gatewright.__all__) <= set(table)


def test_every_public_name_is_there() -> None:
    for name in (*gatewright.__all__, *gatewright._MODULES, "__version__"):
        assert getattr(gatewright, name) is not None
    with pytest.raises(AttributeError, match="gatewright has no attribute 'nothing'"):
        gatewright.nothing  # noqa: B018


def test_train_times_no_baseline_that_it_leaves_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Boosting is for `compare`; to time it took a second for scikit-learn and two for its fits."""
    pytest.importorskip("sklearn")
    plans: list[ExperimentPlan] = []
    monkeypatch.setattr(train_module, "run_experiment", lambda plan, session: plans.append(plan))
    lines: list[str] = []
    path = tmp_path / "waves.csv"
    path.write_text("\n".join(["height", *(f"{np.sin(step / 3.0):.3f}" for step in range(120))]))
    train_module.train(path, task="forecast", say=lines.append, progress=False)
    (estimate,) = [line for line in lines if line.startswith("time:")]
    assert "boosting" not in estimate and "training" in estimate
    (plan,) = plans
    assert plan.baselines and all(baseline.seconds is None for baseline in plan.baselines)
