"""Timing two runs in alternation, and the ratio of their times with its interval."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Seconds of ours and of the peer, pair by pair.
Pairs = Sequence[tuple[float, float]]

#: A run shorter than this, in seconds, is run once more before it is timed: the threads of the
#: other may still be spinning, and its data be in the caches.
SHORT = 0.005
#: The numbers of pairs that are timed, whatever the time limit.
FEWEST, MOST = 5, 200
#: Samples of the bootstrap.
RESAMPLES = 2000


@dataclass(frozen=True)
class RatioEstimate:
    """A median ratio, or a mean of medians, with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def in_turns(
    ours: Callable[[], Any], peer: Callable[[], Any], seconds: float
) -> list[tuple[float, float]]:
    """Time the two in alternation for about `seconds`; return pairs (ours, peer) in seconds.

    Both must be warm, which verifying them has done.
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


def ratio(pairs: Pairs) -> RatioEstimate:
    """The peer's time divided by ours: the median of the ratios, its interval by bootstrap."""
    return mean_ratio([pairs])


def mean_ratio(points: Sequence[Pairs]) -> RatioEstimate:
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
    return RatioEstimate(float(np.exp(np.mean(np.log(medians)))), float(low), float(high))
