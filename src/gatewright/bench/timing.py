"""Timing two in turns, and what can be said of their ratio."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Pairs = Sequence[tuple[float, float]]

#: A run shorter than this is run once more before it is timed: the other's threads may still be
#: spinning, and its data be in the caches.
SHORT = 0.005
FEWEST, MOST = 5, 200
RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A median, or a mean of medians, and the interval that holds it with 95 %."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def in_turns(
    ours: Callable[[], Any], peer: Callable[[], Any], seconds: float
) -> list[tuple[float, float]]:
    """Pairs of seconds (ours, peer), the two run one after the other for a while.

    Both are taken to be warm: they were verified.
    """
    pairs: list[tuple[float, float]] = []
    last = [0.0, 0.0]
    end = time.perf_counter() + seconds
    while len(pairs) < FEWEST or (time.perf_counter() < end and len(pairs) < MOST):
        for position, run in enumerate((ours, peer)):
            if last[position] < SHORT:
                run()
            begin = time.perf_counter()
            run()
            last[position] = time.perf_counter() - begin
        pairs.append((last[0], last[1]))
    return pairs


def ratio(pairs: Pairs) -> Estimate:
    """The peer's time divided by ours: the median of the ratios, its interval by bootstrap."""
    return mean_ratio([pairs])


def mean_ratio(points: Sequence[Pairs]) -> Estimate:
    """The geometric mean over several points of their median ratios."""
    draw = np.random.default_rng(0)
    medians, resampled = [], []
    for pairs in points:
        ratios = np.array([peer / ours for ours, peer in pairs])
        medians.append(statistics.median(ratios))
        picks = draw.integers(len(ratios), size=(RESAMPLES, len(ratios)))
        resampled.append(np.median(ratios[picks], axis=1))
    means = np.exp(np.mean(np.log(resampled), axis=0))
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(np.exp(np.mean(np.log(medians)))), float(low), float(high))
