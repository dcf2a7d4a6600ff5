"""Counts of symbols after their history: the baselines of text.

Interpolated Kneser-Ney smoothing as in Chen and Goodman 1999 (section 3). The highest order counts
occurrences; each lower order counts the different histories that a symbol was seen after. Each
order gives a discount of n1 / (n1 + 2 n2), their equation 17, to the order below.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.tasks.baseline import Baseline, Fitted


def unigram() -> Baseline:
    """Return the baseline of symbol frequencies."""
    return Baseline(
        "unigram", "frequencies", "Each symbol as often as it occurs.", lambda t, _: _fit(t, 1)
    )


def kneser_ney(order: int) -> Baseline:
    """Return the interpolated Kneser-Ney model, which reads the last `order` - 1 symbols."""
    return Baseline(
        f"kneser_ney_{order}",
        f"Kneser-Ney {order}-gram",
        f"Counts of the last {order - 1} symbols with the next, smoothed.",
        lambda training, _: _fit(training, order),
    )


def _fit(training: Any, order: int) -> Fitted:
    model = Counts.of(_codes(training).astype(np.int64), len(training.alphabet), order)

    def predict(part: Any) -> NDArray[np.float64]:
        start = getattr(part, "start", 1)
        text = getattr(part, "text", part)
        return model.bits(_codes(text).astype(np.int64), start)

    return Fitted(predict, sum(len(level.keys) for level in model.levels))


def _codes(text: Any) -> NDArray[np.integer]:
    codes: NDArray[np.integer] = text.codes
    return codes


@dataclass(frozen=True, slots=True)
class Level:
    """The counts of one order.

    A key is a history with its next symbol, read as a number in base A; key // A is the history.
    """

    keys: NDArray[np.int64]  # sorted
    counts: NDArray[np.int64]  # of the keys
    histories: NDArray[np.int64]  # sorted
    totals: NDArray[np.int64]  # counts per history
    kinds: NDArray[np.int64]  # different next symbols per history
    discount: float


@dataclass(frozen=True, slots=True)
class Counts:
    """An n-gram model: the counts of all orders from 1 up to the highest."""

    levels: list[Level]  # from order 1 on
    size: int  # A, symbols of the alphabet

    @classmethod
    def of(cls, codes: NDArray[np.int64], size: int, order: int) -> Counts:
        """Count a text (T,)."""
        while size**order >= 2**62:  # keys must fit into int64
            order -= 1
        levels: list[Level] = []
        for length in range(order, 0, -1):
            if length == order:
                keys, counts = np.unique(_keys(codes, length, size), return_counts=True)
            else:
                # Each longer key is one different history of the shorter key.
                longer = levels[0].keys % size**length
                keys, counts = np.unique(longer, return_counts=True)
            histories, first = np.unique(keys // size, return_index=True)
            totals = np.add.reduceat(counts, first)
            kinds = np.diff(np.append(first, len(keys)))
            once, twice = (counts == 1).sum(), (counts == 2).sum()
            discount = once / (once + 2 * twice) if once else 0.5
            levels.insert(0, Level(keys, counts, histories, totals, kinds, float(discount)))
        return cls(levels, size)

    def bits(self, codes: NDArray[np.int64], start: int) -> NDArray[np.float64]:
        """Return the bits that each symbol from `start` on costs, (T - start,)."""
        probability = np.full(len(codes) - start, 1.0 / self.size)
        for length, level in enumerate(self.levels, 1):
            steps = np.arange(start, len(codes))
            deep = steps >= length - 1  # whether the history of this order is complete
            keys = _keys(codes, length, self.size)[steps[deep] - (length - 1)]
            history, seen = _find(level.histories, keys // self.size)
            total = np.where(seen, level.totals[history], 1)
            position, known = _find(level.keys, keys)
            count = np.where(known, level.counts[position], 0)
            own = np.maximum(count - level.discount, 0.0) / total
            lower = level.discount * level.kinds[history] / total  # share of the order below
            probability[deep] = np.where(seen, own + lower * probability[deep], probability[deep])
        bits: NDArray[np.float64] = -np.log2(probability)
        return bits


def _keys(codes: NDArray[np.int64], length: int, size: int) -> NDArray[np.int64]:
    """Return each run of `length` symbols as a number, (T - length + 1,)."""
    keys = np.zeros(len(codes) - length + 1, dtype=np.int64)
    for offset in range(length):
        keys = keys * size + codes[offset : len(codes) - length + 1 + offset]
    return keys


def _find(
    table: NDArray[np.int64], keys: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the position of each key in a sorted table, and whether it is there."""
    positions = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return positions, table[positions] == keys
