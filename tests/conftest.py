"""Options of all tests: `--quick` runs every law once, `--kernels` one half of the files."""

from __future__ import annotations

import gc
import os
from collections import defaultdict
from pathlib import Path
from zlib import crc32

import pytest

#: The tests of the machine code, and of trainings that would be slow without optimisation.
#: `./dev test` runs the others with `GATEWRIGHT_OPTIMISE=0`, which builds a kernel in 0.13 s
#: instead of 0.41 s: they build many and run each of them briefly. It saves the drop-ins 60 %.
OPTIMISED = {
    f"test_{name}.py"
    for name in (
        "bench",
        "kernel_autograd",
        "kernel_cache",
        "kernel_rows",
        "kernel_runs",
        "kernels",
        "memory_learning",
        "operators",
        "step",
        "stepper",
        "targets",
        "triton",
        "verify",
    )
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick",
        action="store_true",
        help="run each test function with one of its parameters, and no test marked slow",
    )
    parser.addoption(
        "--kernels",
        choices=("optimised", "unoptimised"),
        help="run only the test files that need optimised kernels, or only the others",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let the tests that draw random cells, walks, files or moments draw only one of them."""
    if config.getoption("quick"):
        os.environ.setdefault("GATEWRIGHT_EXAMPLES", "1")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the files of the other half without importing them, which takes seconds."""
    return True if _other_half(collection_path, config) else None


@pytest.hookimpl(tryfirst=True)  # before -m selects by the markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the files of the other half; keep one case of each test under `--quick`.

    The case depends on the function's name, so that different laws are tried on different
    cells, and the same ones in every run.
    """
    # Files that are named on the command line are not offered to `pytest_ignore_collect`.
    chosen = [item for item in items if not _other_half(item.path, config)]
    if config.getoption("quick"):
        functions: dict[str, list[pytest.Item]] = defaultdict(list)
        for item in chosen:
            if item.get_closest_marker("slow") is None:
                functions[item.nodeid.split("[")[0]].append(item)
        chosen = [cases[crc32(name.encode()) % len(cases)] for name, cases in functions.items()]
    config.hook.pytest_deselected(items=[*{*items}.difference(chosen)])
    items[:] = chosen


def pytest_collection_finish() -> None:
    """Keep Python's garbage collection off all modules and tests: each full one took 0.1 s."""
    gc.freeze()


def _other_half(path: Path, config: pytest.Config) -> bool:
    half = config.getoption("kernels")
    if half is None or not path.name.startswith("test_"):
        return False
    return (path.name in OPTIMISED) != (half == "optimised")
