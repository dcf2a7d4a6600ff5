"""The words of the house: names that say what they name, and English that is read once."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
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


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


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


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_a_name_says_what_it_names(path: Path):
    names = [(line, name) for line, name in bindings(tree_of(path)) if name in EMPTY_NAMES]
    # In a cell's step the names are those of its stored equations, which saved models hold.
    stored = {"kept"} if path == PACKAGE / "cells" / "noisy.py" else set()
    assert [(line, name) for line, name in names if name not in stored] == []


@pytest.mark.parametrize("path", SCRIPTS, ids=name_of)
def test_a_docstring_opens_with_a_verb_or_a_noun(path: Path):
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    texts = [
        ast.get_docstring(node) or ""
        for node in ast.walk(tree_of(path))
        if isinstance(node, documented)
    ]
    assert [text.splitlines()[0] for text in texts if QUESTIONS.match(text)] == []


@pytest.mark.parametrize("path", [*SCRIPTS, *PAGES], ids=name_of)
def test_words_are_used_in_their_english_sense(path: Path):
    if path == Path(__file__):
        return  # it holds the words that it looks for
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [(n, line) for n, line in enumerate(lines, 1) if FOREIGN.search(line)] == []


def test_a_class_name_is_used_for_one_thing():
    """A layer may have the name of its cell; both are the same network."""
    places = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name_of(path))
    twice = {
        name: [path for path in paths if not path.startswith("cells/")]
        if any(path.startswith("layers/torch_") for path in paths)
        else paths
        for name, paths in places.items()
    }
    assert {name: paths for name, paths in twice.items() if len(paths) > 1} == {}
