"""`--quick` leaves out no law: a slow test names the quick one that tests its law in small."""

from __future__ import annotations

import ast
import re
from pathlib import Path


def test_every_slow_test_names_a_quick_one():
    texts = {
        path.name: path.read_text(encoding="utf-8")
        for path in Path(__file__).parent.glob("test_*.py")
    }
    quick = {
        f"{file}::{name}"
        for file, text in texts.items()
        for name in re.findall(r"^def (test_\w+)", text, re.MULTILINE)
    }
    instead: dict[str, str] = {}
    only_quick: set[str] = set()
    for file, text in texts.items():
        marks = ("pytest.mark.slow", "pytest.mark.quick")
        functions = ast.parse(text).body if any(mark in text for mark in marks) else []
        for function in functions:
            for mark in getattr(function, "decorator_list", []):
                if ast.unparse(mark) == "pytest.mark.quick":
                    only_quick.add(f"{file}::{function.name}")
                if ast.unparse(mark).startswith("pytest.mark.slow"):
                    test = f"{file}::{function.name}"
                    assert isinstance(mark, ast.Call), f"{test}: name the quick test: instead="
                    name = ast.literal_eval(mark.keywords[0].value)
                    instead[test] = name if "::" in name else f"{file}::{name}"
    assert instead
    for test, name in instead.items():
        assert name in quick - instead.keys(), f"{name}, instead of {test}, is missing or slow"
    assert only_quick and only_quick <= {*instead.values()}
