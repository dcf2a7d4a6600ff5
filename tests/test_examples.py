"""The examples run, and print what they promise."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def load(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module  # dataclasses look up the module of a class there
    specification.loader.exec_module(module)
    return module


def errors(printed: str) -> list[float]:
    """The mean squared errors that an example has printed."""
    return [float(error) for error in re.findall(r"mean squared error (\d\.\d+)", printed)]


def test_a_custom_cell_learns_and_comes_back(capsys: pytest.CaptureFixture[str]):
    assert load("custom_cell").main() == 0
    printed = capsys.readouterr().out
    losses = errors(printed)
    assert losses[-1] < 0.25 * losses[0]
    assert "saved and loaded again, without its class" in printed


@pytest.mark.slow(instead="test_the_long_examples_run")
def test_the_time_differences_of_an_irregular_series_are_worth_knowing(
    capsys: pytest.CaptureFixture[str],
):
    assert load("irregular_series").main(updates=300) == 0
    without_times, with_times = errors(capsys.readouterr().out)
    assert with_times < 0.5 * without_times < 0.5 * 0.333


@pytest.mark.slow(instead="test_the_long_examples_run")
def test_a_search_over_folds_in_order_of_time_beats_last_week(capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("sklearn")
    assert load("forecast_search").main(epochs=4) == 0
    printed = capsys.readouterr().out
    on_test = re.search(r"last 292 days: MASE (\d\.\d+)", printed)
    assert on_test is not None and float(on_test[1]) < 0.95
    assert "with KFold: the dataframe, row 390 counted from 0, column date: 390 steps" in printed


@pytest.mark.quick
def test_the_long_examples_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    """With too few steps, days and settings to learn anything."""
    pytest.importorskip("sklearn")
    assert load("irregular_series").main(updates=2) == 0
    search = load("forecast_search")
    days = search.weather()[-800:]
    monkeypatch.setattr(search, "weather", lambda: days)
    every = search.GridSearchCV
    monkeypatch.setattr(
        search,
        "GridSearchCV",
        lambda estimator, grid, **options: every(
            estimator, {name: values[:1] for name, values in grid.items()}, **options
        ),
    )
    assert search.main(epochs=1) == 0
    printed = capsys.readouterr().out
    assert len(errors(printed)) == 2 and "chosen: {'cell': " in printed
