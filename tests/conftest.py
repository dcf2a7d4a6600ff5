"""Options of all tests: `--quick` runs every law once."""

from __future__ import annotations

from collections import defaultdict
from zlib import crc32

import pytest

#: Tests of what layers and cells compute, which build many kernels and run each of them briefly.
#: `./dev test` builds them without optimisation, in a quarter of the time (three of these files
#: took 61 s instead of 111 s on a cold cache). The tests of the kernels, of the drop-ins and of
#: everything that trains use optimised kernels.
UNOPTIMISED = {
    f"test_{name}.py"
    for name in (
        "between_calls",
        "check",
        "dynamic_cells",
        "fixed",
        "gated_cells",
        "hard_calls",
        "init",
        "noise",
        "odd_tensors",
        "peepholes",
        "saving",
        "sequences",
        "trace",
        "transforms",
        "weights",
    )
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick",
        action="store_true",
        help="run each test function with one of its parameters, and no test marked slow",
    )


@pytest.hookimpl(tryfirst=True)  # before -m selects by the markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that need no optimised kernels; keep one case of each under `--quick`.

    The case depends on the function's name, so that different laws are tried on different
    cells, and the same ones in every run.
    """
    for item in items:
        if item.path.name in UNOPTIMISED:
            item.add_marker(pytest.mark.unoptimised)
    if not config.getoption("quick"):
        return
    functions: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("slow") is None:
            functions[item.nodeid.split("[")[0]].append(item)
    chosen = {cases[crc32(name.encode()) % len(cases)] for name, cases in functions.items()}
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = [item for item in items if item in chosen]
