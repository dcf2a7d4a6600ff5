"""The layout is a law: a module imports only from levels below its own, and there is no circle.

Imports are read from the source. Those inside functions and under `if TYPE_CHECKING:` count too:
a reader has to know both modules together, whenever Python imports them.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

import gatewright

PACKAGE = Path(gatewright.__file__).parent

# The folders and modules of the package, and their levels: those of the design, and small modules
# that need only the standard library.
LEVELS = {
    "deprecated": 0,
    "errors": 0,
    "escaping": 0,
    "names": 0,
    "files": 1,
    "processes": 1,
    "schema": 1,
    "devices": 1,
    "language": 2,
    "data": 2,
    "cells": 3,
    "graph": 3,
    "draw": 4,
    "schedule": 4,
    "exports": 6,
    "tasks": 5,
    "backends": 5,
    "layers": 6,
    "designs": 7,
    "probes": 7,
    "rl": 7,
    "training": 8,
    "estimators": 9,
    "memory": 9,
    "page": 9,
    "serve": 9,
    "bench": 10,
    "deploy": 10,
    "self_test": 10,
    "proving": 11,
    "doctor": 11,
    "cli": 12,
    "__init__": 13,
    "__main__": 14,
}

# Modules that import by a computed name, which cannot be followed in the source.
# `language/late_binding.py` has a table of the functions that the language takes from higher
# levels (one step by hand needs torch); `layers/saving.py` has one of the models that are defined
# above the layers; the package's own __init__ imports torch late.
LATE = {"language/late_binding.py", "layers/saving.py", "__init__.py"}

# Modules outside backends/llvm that may import from it: the choice of a backend, and those that
# are about LLVM itself: the printed kernels, the machine's roof, the report on an installation.
LLVM_USERS = {
    "backends/choose.py",
    "bench/worker.py",
    "cli/cells.py",
    "doctor.py",
    "layers/explain.py",  # the share of the roof that a layer reaches
}
# Those about kernels for GPUs: the printed ones, and their proof.
TRITON_USERS = {
    "backends/choose.py",
    "cli/cells.py",
    "doctor.py",
    "proving/prove.py",
    "proving/times.py",
    "proving/worker.py",
}

UNCHECKED = {"TYPE_CHECKING", "typing.TYPE_CHECKING"}

MODULES = sorted(PACKAGE.rglob("*.py"))

# One test for each folder: for each of 400 modules, pytest took longer than the test.
every_folder = pytest.mark.parametrize("folder", LEVELS)


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def top(path: Path) -> str:
    """The entry of LEVELS that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules_of(folder: str, but: Iterable[str] = ()) -> list[Path]:
    """The modules of an entry of LEVELS, except some."""
    return [path for path in MODULES if top(path) == folder and name_of(path) not in but]


def running(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield every node that can run: all but the body of `if TYPE_CHECKING:`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in UNCHECKED:
            for other in node.orelse:
                yield other
                yield from running(other)
            continue
        yield node
        yield from running(node)


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported(path: Path) -> list[tuple[int, str]]:
    """List (line, "gatewright.x.y") of each import of the package's own in a file."""
    return list(_imports(path))


def _imports(path: Path) -> Iterator[tuple[int, str]]:
    package = ("gatewright", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.walk(tree_of(path)):
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
    upward = []
    for line, name in imported(path):
        parts = name.split(".")
        target = parts[1] if len(parts) > 1 else "__init__"
        # `from gatewright import Cell` goes through the package's __init__, the highest level.
        target = target if target in LEVELS else "__init__"
        if target != own and LEVELS[target] >= LEVELS[own]:
            upward.append(f"{name_of(path)}:{line} imports {name}, which is not below {own}")
    return upward


def module_name(path: Path) -> str:
    """`gatewright.graph.terms` for graph/terms.py, `gatewright.graph` for graph/__init__.py."""
    parts = ("gatewright", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


def import_graph(paths: Iterable[Path]) -> dict[str, set[str]]:
    """Return the modules that each module imports."""
    modules = {module_name(path): path for path in paths}
    graph = {}
    for module, path in modules.items():
        names = {name for _, name in imported(path)}
        # `from gatewright.graph import terms` imports a module, `import Term` one of its names.
        targets = {name if name in modules else name.rpartition(".")[0] for name in names}
        graph[module] = (targets & set(modules)) - {module}
    return graph


def circles(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules that remain after removing those which import nothing that remains."""
    left = dict(graph)
    while True:
        leaves = [module for module, targets in left.items() if not targets & set(left)]
        if not leaves:
            return sorted(left)
        for module in leaves:
            del left[module]


def test_every_package_has_a_level_and_every_level_a_package():
    assert {top(path) for path in MODULES} == set(LEVELS)


def test_no_modules_import_each_other_in_a_circle():
    assert circles(import_graph(MODULES)) == []


def test_a_circle_is_noticed(tmp_path: Path, monkeypatch):
    """One half of it is inside a function, the other under TYPE_CHECKING."""
    sources = {
        "graph/__init__.py": "",
        "graph/x.py": "def f():\n    from gatewright.graph import y",
        "graph/y.py": "if TYPE_CHECKING:\n    from gatewright.graph.x import f",
        "graph/z.py": "import gatewright.graph.x",
    }
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    for name, source in sources.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    modules = [f"gatewright.graph.{name}" for name in "xyz"]
    assert circles(import_graph(tmp_path.rglob("*.py"))) == modules


@every_folder
def test_a_module_imports_only_from_below(folder: str):
    assert [line for path in modules_of(folder) for line in offences(path)] == []


def test_a_cell_is_written_in_the_language_alone():
    own = {"gatewright.language", "gatewright.cells", "gatewright.errors", "gatewright.names"}
    for path in modules_of("cells"):
        for line, name in imported(path):
            assert ".".join(name.split(".")[:2]) in own, f"{name_of(path)}:{line} imports {name}"


@pytest.mark.parametrize("folder", ["language", "cells", "graph"])
def test_what_needs_no_torch_never_names_it(folder: str):
    for path in modules_of(folder):
        for node in running(tree_of(path)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            place = f"{name_of(path)}:{getattr(node, 'lineno', 0)}"
            assert not [n for n in names if n.split(".")[0] == "torch"], place


@every_folder
@pytest.mark.parametrize(("backend", "users"), [("llvm", LLVM_USERS), ("triton", TRITON_USERS)])
def test_kernels_are_known_to_the_choice_of_a_backend_only(
    backend: str, users: set[str], folder: str
):
    """Deleting a folder of kernels changes no other backend, and no layer."""
    kernels = f"gatewright.backends.{backend}"
    for path in modules_of(folder, users):
        if not module_name(path).startswith(kernels):
            for line, name in imported(path):
                place = f"{name_of(path)}:{line}"
                assert not f"{name}.".startswith(f"{kernels}."), f"{place} imports {name}"


@every_folder
def test_nothing_else_imports_by_a_computed_name(folder: str):
    for path in modules_of(folder, LATE):
        source = path.read_text(encoding="utf-8")
        if "importlib" not in source and "__import__" not in source:
            continue  # printing every import of the package again took 4 s
        for node in running(tree_of(path)):
            text = ""
            if isinstance(node, ast.Import | ast.ImportFrom):
                text = ast.unparse(node)
                # `importlib.resources` reads our data files and `importlib.metadata` the
                # version; neither imports a module.
                for harmless in ("importlib.resources", "importlib.metadata"):
                    text = text.replace(harmless, "")
            elif isinstance(node, ast.Name):
                text = node.id
            place = f"{name_of(path)}:{getattr(node, 'lineno', 0)}"
            assert "importlib" not in text and "__import__" not in text, place


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
        ("if TYPE_CHECKING:\n    from gatewright.layers import LSTM", "graph/x.py"),
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
    """A wrong name in the table of `above` would otherwise show only in use."""
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
    """None in `sys.modules` makes every `import torch` fail, however deep it is."""
    python(f"import sys; sys.modules['torch'] = None; import gatewright.{module}")


@pytest.mark.parametrize("module", ["gatewright", "gatewright.cli", "gatewright.cells"])
def test_does_not_load_torch(module: str):
    python(f"import sys, {module}; assert 'torch' not in sys.modules")
