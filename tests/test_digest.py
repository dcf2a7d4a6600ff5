"""The names of built kernels: a change of any code that emits kernels changes all of them."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gatewright as gw
from gatewright.backends.llvm import digest
from gatewright.backends.sources import PACKAGE


def imported_modules(path: Path) -> set[str]:
    """Find the modules that a file imports from the package, by its syntax tree."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute, so that their text says all"
            names = [(node.module or "", alias.name) for alias in node.names]
        for module, name in names:
            if module.split(".")[0] != "gatewright":
                continue
            candidates = (f"{module}.{name}" if name else module, module)
            modules.add(next(file for c in candidates if (file := file_of(c)) is not None))
    return modules


def file_of(module: str) -> str | None:
    base = PACKAGE.joinpath(*module.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path.relative_to(PACKAGE).as_posix()
    return None


def test_the_digest_covers_all_that_the_emitters_import():
    sources = digest.emitting_sources()
    for name in sources:
        missing = imported_modules(PACKAGE / name) - set(sources)
        assert not missing, f"{name} imports {missing}, which the digest leaves out"
    for name in ("schedule/slots.py", "graph/adjoint.py", "language/operations.py"):
        assert name in sources


def test_every_module_that_emits_is_an_emitter():
    """A function that writes LLVM's language has a parameter for the module."""
    emitting = set()
    for path in (PACKAGE / "backends" / "llvm").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("emit"):
                emitting.add(path.relative_to(PACKAGE).as_posix())
    assert emitting - {"backends/llvm/roof.py"} <= set(digest.emitting_sources())


@pytest.mark.parametrize("changed", ["backends/llvm/ir.py", "graph/lowering.py"])
def test_a_changed_source_changes_every_name(changed: str, monkeypatch: pytest.MonkeyPatch):
    before = digest.digest_of_sources()
    sources = digest.emitting_sources()
    sources[changed] += b"\n# changed"
    monkeypatch.setattr(digest, "emitting_sources", lambda: sources)
    assert digest.digest_of_sources.__wrapped__() != before


def test_the_digest_is_the_same_whatever_was_imported_before():
    """In this process the package and torch were imported first; in the new one nothing was."""
    gw.LSTM(2, 3)
    code = "from gatewright.backends.llvm import digest; print(digest.digest_of_sources())"
    printed = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert printed == digest.digest_of_sources() + "\n"
