"""The words of the house: names that say what they name, and English that is read once."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import gatewright

PACKAGE = Path(gatewright.__file__).parent
ROOT = Path(__file__).parent.parent
SCRIPTS = [
    path
    for folder in (PACKAGE, ROOT / "tests", ROOT / "benchmarks", ROOT / "docs", ROOT / "examples")
    for path in sorted(folder.rglob("*.py"))
]
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *PACKAGE.rglob("*.md")})

#: Participles and pronouns that hide what a value is.
EMPTY_NAMES = {"one", "found", "given", "said", "told", "made", "kept", "wanted", "at"}
QUESTIONS = re.compile(r"(What|How|Where|Whether|Why|Which)\b")
#: Words that this project once used in senses that they do not have in English.
FOREIGN = re.compile(r"\b(parted by|mend|mends|mended|mending)\b", re.IGNORECASE)


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else ROOT).as_posix()


def folder_of(path: Path) -> str:
    """The folder below the root or below the package."""
    name = path.relative_to(PACKAGE.parent if path.is_relative_to(PACKAGE) else ROOT)
    return "/".join(name.parts[:-1][:2])


def by_folder(paths: Iterable[Path]) -> pytest.MarkDecorator:
    """One test for each folder: for each of 600 files, pytest took longer than the test."""
    folders: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        folders[folder_of(path)].append(path)
    return pytest.mark.parametrize("paths", folders.values(), ids=folders)


def short_targets(tree: ast.AST) -> set[ast.AST]:
    """Targets of comprehensions on a single line, where a short name does no harm."""
    comprehensions = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
    return {
        target
        for node in ast.walk(tree)
        if isinstance(node, comprehensions) and node.lineno == node.end_lineno
        for generator in node.generators
        for target in ast.walk(generator.target)
    }


def bindings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, name) of everything that a module binds, attributes and arguments included."""
    short = short_targets(tree)
    for node in ast.walk(tree):
        match node:
            case _ if node in short:
                continue
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.arg(arg=name):
                yield node.lineno, name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.alias(name=name, asname=other):
                yield node.lineno, other or name.split(".")[-1]
            case ast.ExceptHandler(name=str(name)):
                yield node.lineno, name
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield node.lineno, name


@dataclass(frozen=True)
class Script:
    """The facts of a file that the laws need: to hold the trees of all files took twice as long.

    Attributes:
        empty: Lines and names of bindings that say nothing.
        questions: The first lines of docstrings that open with a question word.
        classes: The classes that it defines.
    """

    empty: list[tuple[int, str]]
    questions: list[str]
    classes: list[str]


@cache
def script(path: Path) -> Script:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    nodes = [node for node in ast.walk(tree) if isinstance(node, documented)]
    texts = [ast.get_docstring(node) or "" for node in nodes]
    return Script(
        [(line, name) for line, name in bindings(tree) if name in EMPTY_NAMES],
        [text.splitlines()[0] for text in texts if QUESTIONS.match(text)],
        [node.name for node in nodes if isinstance(node, ast.ClassDef)],
    )


@by_folder(SCRIPTS)
def test_a_name_says_what_it_names(paths: list[Path]):
    for path in paths:
        # In a cell's step the names are those of its stored equations, which saved models hold.
        stored = {"kept"} if path == PACKAGE / "cells" / "noisy.py" else set()
        empty = [(line, name) for line, name in script(path).empty if name not in stored]
        assert empty == [], name_of(path)


@by_folder(SCRIPTS)
def test_a_docstring_opens_with_a_verb_or_a_noun(paths: list[Path]):
    assert {name_of(path): script(path).questions for path in paths if script(path).questions} == {}


@by_folder([*SCRIPTS, *PAGES])
def test_words_are_used_in_their_english_sense(paths: list[Path]):
    for path in paths:
        if path != Path(__file__):  # it holds the words that it looks for
            lines = path.read_text(encoding="utf-8").splitlines()
            foreign = [(n, line) for n, line in enumerate(lines, 1) if FOREIGN.search(line)]
            assert foreign == [], name_of(path)


def test_a_class_name_is_used_for_one_thing():
    """A layer may have the name of its cell; both are the same network."""
    places = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        for name in script(path).classes:
            places[name].append(name_of(path))
    twice = {
        name: [path for path in paths if not path.startswith("cells/")]
        if any(path.startswith("layers/torch_") for path in paths)
        else paths
        for name, paths in places.items()
    }
    assert {name: paths for name, paths in twice.items() if len(paths) > 1} == {}
