"""Counts of symbols and their histories: what a text's model has to beat.

Interpolated Kneser-Ney smoothing as in Chen and Goodman 1999 (section 3): the highest order
counts occurrences, each lower one in how many histories a symbol has been seen, and a discount
of each order goes to the one below. The discount is n1 / (n1 + 2 n2), their equation 17.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.tasks.task import Baseline, Fitted


def unigram() -> Baseline:
    """How often each symbol occurs."""
    return Baseline(
        "unigram", "frequencies", "Each symbol as often as it occurs.", lambda t, _: _fit(t, 1)
    )


def kneser_ney(order: int) -> Baseline:
    """The interpolated Kneser-Ney model that sees `order` - 1 symbols back."""
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
    """Counts of one order: of histories with their symbol, and of histories."""

    keys: NDArray[np.int64]  # sorted: histories with their symbol
    counts: NDArray[np.int64]
    histories: NDArray[np.int64]  # sorted
    totals: NDArray[np.int64]
    kinds: NDArray[np.int64]  # how many different symbols have followed each
    discount: float


@dataclass(frozen=True, slots=True)
class Counts:
    """A model of all orders up to one. A key is a history read as a number with A digits."""

    levels: list[Level]  # from order 1 on
    size: int  # A, symbols of the alphabet

    @classmethod
    def of(cls, codes: NDArray[np.int64], size: int, order: int) -> Counts:
        """Count a text (T,)."""
        while size**order >= 2**62:  # of so many symbols no text holds runs of this order
            order -= 1
        levels: list[Level] = []
        for length in range(order, 0, -1):
            if length == order:
                keys, counts = np.unique(_keys(codes, length, size), return_counts=True)
            else:
                # In how many different longer histories each has been seen.
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
        """(T - start,), what each symbol from `start` on costs after those before it."""
        chance = np.full(len(codes) - start, 1.0 / self.size)
        for length, level in enumerate(self.levels, 1):
            here = np.arange(start, len(codes))
            far = here >= length - 1  # where so long a history is there
            keys = _keys(codes, length, self.size)[here[far] - (length - 1)]
            at, seen = _find(level.histories, keys // self.size)
            total = np.where(seen, level.totals[at], 1)
            count_at, known = _find(level.keys, keys)
            count = np.where(known, level.counts[count_at], 0)
            kept = np.maximum(count - level.discount, 0.0) / total
            passed = level.discount * level.kinds[at] / total
            chance[far] = np.where(seen, kept + passed * chance[far], chance[far])
        bits: NDArray[np.float64] = -np.log2(chance)
        return bits


def _keys(codes: NDArray[np.int64], length: int, size: int) -> NDArray[np.int64]:
    """(T - length + 1,), each run of `length` symbols as a number."""
    keys = np.zeros(len(codes) - length + 1, dtype=np.int64)
    for at in range(length):
        keys = keys * size + codes[at : len(codes) - length + 1 + at]
    return keys


def _find(
    table: NDArray[np.int64], keys: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    at = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return at, table[at] == keys
