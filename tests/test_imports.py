"""The layout is a law: a module imports only from levels below its own.

The imports are read from the source, those inside functions too, so that a cycle that
is put off to run time is caught as well. Only `if TYPE_CHECKING:` is free: it never runs.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import gatewright

PACKAGE = Path(gatewright.__file__).parent

# What stands beside the package's __init__, and how high. The design's table, plus
# small modules of the standard library alone.
LEVELS = {
    "errors": 0,
    "escaping": 0,
    "files": 1,
    "processes": 1,
    "schema": 1,
    "language": 2,
    "data": 2,
    "cells": 3,
    "graph": 3,
    "draw": 4,
    "schedule": 4,
    "export": 5,
    "tasks": 5,
    "backends": 5,
    "layers": 6,
    "designs": 7,
    "probes": 7,
    "training": 8,
    "estimators": 9,
    "memory": 9,
    "bench": 10,
    "self_test": 10,
    "doctor": 11,
    "cli": 12,
    "__init__": 13,
    "__main__": 14,
}

# Who may import by a computed name, which no reading of the source can follow.
# `language/late_binding.py` is one table of what the language borrows from higher levels
# (one step by hand runs on torch); `layers/saving.py` has one of the models that stand
# above the layers; the package's own __init__ puts torch off.
LATE = {"language/late_binding.py", "layers/saving.py", "__init__.py"}

FREE = {"TYPE_CHECKING", "typing.TYPE_CHECKING"}

MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def top(path: Path) -> str:
    """The entry of LEVELS that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def running(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that can run: all but the body of `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in FREE:
            for other in node.orelse:
                yield other
                yield from running(other)
            continue
        yield node
        yield from running(node)


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, "gatewright.x.y") for everything of ours that this file imports."""
    package = ("gatewright", *path.relative_to(PACKAGE).parts[:-1])
    for node in running(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join((*above, *filter(None, [node.module])))
            # `from gatewright import data` names a package; `from gatewright.data import load`
            # a function in one. Only the first part below gatewright counts, so both are right.
            names = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name == "gatewright" or name.startswith("gatewright."):
                yield node.lineno, name


def offences(path: Path) -> list[str]:
    own = top(path)
    found = []
    for line, name in imported(path):
        parts = name.split(".")
        target = parts[1] if len(parts) > 1 else "__init__"
        # `from gatewright import Cell` goes through the package's __init__, the highest level.
        target = target if target in LEVELS else "__init__"
        if target != own and LEVELS[target] >= LEVELS[own]:
            found.append(f"{name_of(path)}:{line} imports {name}, which is not below {own}")
    return found


def test_every_package_has_a_level():
    assert {top(path) for path in MODULES} <= set(LEVELS)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_from_below(path: Path):
    assert not offences(path)


@pytest.mark.parametrize("path", [p for p in MODULES if top(p) == "cells"], ids=name_of)
def test_a_cell_is_written_in_the_language_alone(path: Path):
    own = {"gatewright.language", "gatewright.cells", "gatewright.errors"}
    for line, name in imported(path):
        assert ".".join(name.split(".")[:2]) in own, f"{name_of(path)}:{line} imports {name}"


@pytest.mark.parametrize(
    "path", [p for p in MODULES if top(p) in {"language", "cells", "graph"}], ids=name_of
)
def test_what_needs_no_torch_never_names_it(path: Path):
    for node in running(ast.parse(path.read_text(encoding="utf-8"))):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        assert not [n for n in names if n.split(".")[0] == "torch"], f"line {node.lineno}"


@pytest.mark.parametrize("path", [p for p in MODULES if name_of(p) not in LATE], ids=name_of)
def test_nothing_else_imports_by_a_computed_name(path: Path):
    for node in running(ast.parse(path.read_text(encoding="utf-8"))):
        text = ""
        if isinstance(node, ast.Import | ast.ImportFrom):
            text = ast.unparse(node)
            # `importlib.resources` reads our data files and `importlib.metadata` the
            # version; neither imports a module.
            for harmless in ("importlib.resources", "importlib.metadata"):
                text = text.replace(harmless, "")
        elif isinstance(node, ast.Name):
            text = node.id
        assert "importlib" not in text and "__import__" not in text, f"line {node.lineno}"


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("from gatewright.layers import LSTM", "graph/x.py"),
        ("from ..layers.recurrent import Recurrent", "graph/x.py"),
        ("from gatewright import layers", "graph/x.py"),
        ("from gatewright import LSTM", "graph/x.py"),
        ("import gatewright.cells", "graph/x.py"),  # the same level is not below
        ("def f():\n    import gatewright.training", "graph/x.py"),
        ("try:\n    from ... import draw\nexcept ImportError:\n    pass", "graph/deep/x.py"),
        ("if not TYPE_CHECKING:\n    import gatewright.draw", "graph/x.py"),
    ],
)
def test_the_law_is_enforced(source: str, where: str, tmp_path: Path, monkeypatch):
    offender = tmp_path / where
    offender.parent.mkdir(parents=True)
    offender.write_text(source)
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    assert offences(offender)


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("from gatewright.errors import SizeError", "graph/x.py"),
        ("from ..language import cell", "graph/x.py"),
        ("from . import stages", "graph/x.py"),
        ("from .. import draw", "graph/deep/x.py"),  # there `..` is graph itself
        ("if TYPE_CHECKING:\n    from gatewright.layers import LSTM", "graph/x.py"),
        ("import torch", "backends/x.py"),
    ],
)
def test_the_law_allows_what_is_below(source: str, where: str, tmp_path: Path, monkeypatch):
    module = tmp_path / where
    module.parent.mkdir(parents=True)
    module.write_text(source)
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    assert not offences(module)


def test_what_is_bound_late_exists():
    """`above` is the only way up, so a name in its table that is wrong shows only in use."""
    from gatewright.language.late_binding import ABOVE

    for target in ABOVE.values():
        module, function = target.split(":")
        assert module.split(".")[0] == "gatewright"
        assert callable(getattr(importlib.import_module(module), function)), target


def python(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["language", "cells", "graph", "data"])
def test_imports_without_torch(module: str):
    """None in `sys.modules` makes every `import torch` fail, however deep it stands."""
    python(f"import sys; sys.modules['torch'] = None; import gatewright.{module}")


@pytest.mark.parametrize("module", ["gatewright", "gatewright.cli", "gatewright.cells"])
def test_does_not_load_torch(module: str):
    python(f"import sys, {module}; assert 'torch' not in sys.modules")
