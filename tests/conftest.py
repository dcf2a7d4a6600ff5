"""Shared by all tests: `--quick`, which runs every law once, and the build of the kernels."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any
from zlib import crc32

import pytest

from kernel_build import forget_kernels

#: The tests of the machine code, and of trainings that would be slow without optimisation. The
#: others run with `GATEWRIGHT_OPTIMISE=0`, which builds the training kernels of an LSTM in 0.13 s
#: instead of 0.56 s: they build many and run each of them briefly.
OPTIMISED = {
    f"test_{name}.py"
    for name in (
        "bench",
        "kernel_autograd",
        "kernel_rows",
        "kernel_runs",
        "kernels",
        "memory_learning",
        "step",
        "stepper",
        "targets",
        "triton",
    )
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick",
        action="store_true",
        help="run each test function with one of its parameters, and those marked quick, not slow",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Let the tests that draw random cells, walks, files or moments draw only one of them, and
    build no optimised kernels, since each runs few times.

    Each process of the tests computes with one thread, whoever starts them: a forked one hangs in
    OpenBLAS where its parent had several.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if config.getoption("quick"):
        os.environ.setdefault("GATEWRIGHT_EXAMPLES", "1")
        os.environ.setdefault("GATEWRIGHT_OPTIMISE", "0")


@pytest.hookimpl(wrapper=True)  # after all others, which add the cases
def pytest_generate_tests(metafunc: pytest.Metafunc) -> Iterator[None]:
    """Make one case of each test under `--quick`, of those that are not marked `slow`.

    The case depends on the function's name, so that different laws are tried on different
    cells, and the same ones in every run. To make all 7,900 and to choose then took each process
    of the tests 2 s.
    """
    yield
    if not metafunc.config.getoption("quick"):
        return
    cases = metafunc._calls
    fast = [case for case in cases if all(mark.name != "slow" for mark in case.marks)]
    if fast:  # else the next function leaves them out
        cases[:] = [fast[crc32(metafunc.definition.nodeid.encode()) % len(fast)]]


@pytest.hookimpl(tryfirst=True)  # before -m selects by the markers
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests marked `slow` under `--quick`, and those marked `quick` without it."""
    mark = "slow" if config.getoption("quick") else "quick"
    left_out = [item for item in items if item.get_closest_marker(mark) is not None]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item.get_closest_marker(mark) is None]


def pytest_collection_finish() -> None:
    """Keep Python's garbage collection off all modules and tests: each full one took 0.1 s."""
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def build_of_kernels(request: pytest.FixtureRequest) -> Iterator[None]:
    """Build the kernels of a file's tests with or without optimisation, here and in processes
    that they start; `GATEWRIGHT_OPTIMISE` decides for all files where it is set."""
    if "GATEWRIGHT_OPTIMISE" in os.environ:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEWRIGHT_OPTIMISE", str(int(request.path.name in OPTIMISED)))
        forget_kernels()
        yield
    forget_kernels()


#: Bases of forecasts that were chosen, by the pickled arguments of the choice.
BASES: dict[bytes, Any] = {}


@pytest.fixture(scope="module", autouse=True)
def bases_chosen_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """Choose the base of a forecast once for the same data and settings, which decide it alone.

    A choice takes 0.1 to 0.5 s, and most tests of a file train on the same few series. The tests of
    the choice itself choose each time.
    """
    task = sys.modules.get("gatewright.tasks.forecast.task")  # not every file imports torch
    if task is None or request.path.name == "test_forecast_base.py":
        yield
        return
    choose = task.choose_base

    def choose_once(*arguments: Any) -> Any:
        key = pickle.dumps(arguments)
        if key not in BASES:
            BASES[key] = choose(*arguments)
        return BASES[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task, "choose_base", choose_once)
        yield


@pytest.fixture
def forked_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the Python processes of a test as forks of this one."""
    from forked import ForkedPython  # imports torch, which not every test needs

    monkeypatch.setattr(subprocess, "Popen", ForkedPython)
