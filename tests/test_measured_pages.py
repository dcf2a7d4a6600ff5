"""The tables that benchmarks wrote into pages are those of the stored figures."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that imports a script of `benchmarks/` by its name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


@pytest.mark.parametrize("name", ["peers", "cold_start"])
def test_the_page_has_the_stored_figures(name: str, benchmark: Any) -> None:
    script = benchmark(name)
    text = (BENCHMARKS.parent / "docs" / script.PAGE).read_text(encoding="utf-8")
    figures = json.loads(script.newest().read_text(encoding="utf-8"))
    fresh = benchmark("page_block").with_block(text, name, script.table(figures))
    assert text == fresh, f"run python benchmarks/{name}.py --write"


def row(peer: str, run: str, ratio: float, high: float) -> dict[str, Any]:
    return {
        **{"peer": peer, "cell": "lstm", "size": [1, 2, 3, 4], "threads": 1, "run": run},
        **{"ratio": ratio, "low": ratio, "high": high, "ours": 2e-6, "theirs": 2e-6 * ratio},
    }


def test_what_is_faster_comes_first_and_what_may_be_level_is_not_called_faster(
    benchmark: Any,
) -> None:
    rows = [
        row("slow", "inference", 3.0, 3.1),
        row("level", "inference", 0.99, 1.01),
        row("fast", "inference", 0.5, 0.6),
        row("faster", "training", 0.25, 0.3),
    ]
    refused = {**row("none", "training", 1.0, 1.0), "reason": "NotImplementedError: not installed"}
    text = benchmark("peers").table({"about": {"later": ""}, "rows": rows, "left_out": [refused]})
    first, _, rest = text.partition("## All peers")
    lines = [line for line in first.splitlines() if line.startswith("| ")][2:]
    assert [line.split(" | ")[0] for line in lines] == ["| faster, lstm", "| fast, lstm"]
    assert "0.25 at (1, 2, 3, 4)" in lines[0]
    assert "| slow, lstm | – | – | 3.00 (3.00 – 3.00, 1 of 7) | – |" in rest
    assert "- none (lstm): not installed\n- later: not yet\n" in rest


def test_a_page_without_the_block_is_refused(benchmark: Any) -> None:
    with pytest.raises(ValueError, match="expected the lines <!-- peers: made by"):
        benchmark("page_block").with_block("a page", "peers", "a table")
