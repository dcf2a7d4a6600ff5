"""The words of a comparison: ties, differences that say nothing, intervals, and seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gatewright.tasks.forecast.metrics import COVERAGE, CRPS, MASE
from gatewright.tasks.labelled import ACCURACY
from gatewright.training.recipe import Recipe
from gatewright.training.results import Comparison, Entry, Trial


class Stub:
    """A task of which only the metrics are asked."""

    def __init__(self, *metrics: Any) -> None:
        self.metrics = metrics


def entry(
    title: str, *values: float, loss: float = 0.5, network: bool = True, **more: float
) -> Entry:
    """A row with the first metric of each seed, and others that are the same for all."""
    trials = tuple(
        Trial(
            seed,
            {"accuracy": value, "mase": value, **more},
            {"accuracy": value, "mase": value, **more},
            None,
            None,
            loss,
        )
        for seed, value in enumerate(values)
    )
    return Entry(title, title, "", 10, trials, 8 if network else None)


def comparison(*entries: Entry, task: Any) -> Comparison:
    model: Any = None
    return Comparison(
        data="data",
        about="",
        licence="",
        task=task,
        sizes={"training": "", "validation": "", "test": ""},
        recipe=Recipe(),
        entries=entries,
        shown={},
        notes=(),
        remarks=(),
        versions={},
        directory=None,
        model=model,
    )


def test_networks_that_tie_are_named_and_the_loss_that_decides() -> None:
    task: Any = Stub(ACCURACY)
    rows = [
        entry(name, 1.0, 1.0, loss=loss) for name, loss in zip("ABCD", (4, 3, 1, 2), strict=True)
    ]
    text = comparison(*rows, task=task).verdict()
    assert "A, B, C and D tie at 100.0 %" in text and "The C is kept" in text
    assert "does best" not in text
    apart = comparison(entry("A", 0.9), entry("B", 0.8), task=task).verdict()
    assert "the A does best" in apart and "tie" not in apart


@pytest.mark.parametrize(
    ("mase", "crps", "expected"),
    [
        (0.498, 0.4, "level with it"),
        (0.40, 0.4, "prefer it."),
        (0.40, 0.9, "but its CRPS is 0.900 against 0.400: prefer it only where MASE alone counts"),
        (0.40, 0.3, "prefer it."),
        (0.60, 0.3, None),
    ],
)
def test_a_baseline_is_recommended_for_what_it_does_better(
    mase: float, crps: float, expected: str | None
) -> None:
    task: Any = Stub(MASE, CRPS, COVERAGE)
    ours = entry("GRU", 0.5, crps=0.4, coverage=0.8)
    ridge = entry("ridge", mase, crps=crps, coverage=0.2, network=False)
    text = comparison(ours, ridge, task=task).verdict()
    assert ("Ridge" in text) is (expected is not None)
    if expected is not None:
        assert expected in text


def test_a_lead_within_the_spread_of_the_seeds_says_nothing() -> None:
    task: Any = Stub(MASE)
    ours = entry("GRU", 0.4, 0.6)
    text = comparison(ours, entry("ridge", 0.45, network=False), task=task).verdict()
    assert "level with it" in text and "prefer" not in text
    steady = replace(ours, trials=entry("GRU", 0.499, 0.501).trials)
    assert (
        "prefer it" in comparison(steady, entry("ridge", 0.45, network=False), task=task).verdict()
    )


def test_seeds_are_counted_in_words() -> None:
    task: Any = Stub(MASE)
    assert comparison(entry("A", 0.5), task=task).seeds == "one seed"
    assert comparison(entry("A", 0.5, 0.6), task=task).seeds == "2 seeds"
    both = comparison(entry("A", 0.5, 0.6), entry("B", 0.5), task=task)
    assert both.seeds == "1 to 2 seeds"
    assert "1 seeds" not in comparison(entry("A", 0.5), task=task).caption()
