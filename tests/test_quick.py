"""`--quick` leaves out no law: a slow test names the quick one that tests its law in small."""

from __future__ import annotations

import ast
from pathlib import Path

HERE = Path(__file__).parent


def test_every_slow_test_names_a_quick_one():
    functions = {
        (path.name, node.name): node
        for path in HERE.glob("test_*.py")
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }
    slow = {}
    for (file, name), function in functions.items():
        for mark in function.decorator_list:
            text = ast.unparse(mark)
            if text.startswith("pytest.mark.slow"):
                assert isinstance(mark, ast.Call), f"{file}::{name}: name the quick test: instead="
                (keyword,) = mark.keywords
                assert keyword.arg == "instead" and not mark.args, f"{file}::{name}"
                slow[file, name] = ast.literal_eval(keyword.value)
    assert slow
    for (file, name), instead in slow.items():
        *other, quick = instead.split("::")
        place = (other[0] if other else file, quick)
        assert place in functions, f"{file}::{name} is slow; its quick test {instead} is missing"
        assert place not in slow, f"{file}::{name} is slow, and so is {instead}"
