"""Options of all tests: `--quick` runs every law once."""

from __future__ import annotations

from collections import defaultdict
from zlib import crc32

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick",
        action="store_true",
        help="run each test function with one of its parameters, and no test marked slow",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep one case of each test function under `--quick`.

    The case depends on the function's name, so that different laws are tried on different
    cells, and the same ones in every run.
    """
    if not config.getoption("quick"):
        return
    functions: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("slow") is None:
            functions[item.nodeid.split("[")[0]].append(item)
    chosen = {cases[crc32(name.encode()) % len(cases)] for name, cases in functions.items()}
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = [item for item in items if item in chosen]
