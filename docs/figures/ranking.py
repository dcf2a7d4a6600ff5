"""Mean ranks of methods over data sets, and the difference that counts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

#: Critical values of the Nemenyi test at 5 %, by the number of methods (Demsar 2006, table 5).
NEMENYI = {4: 2.569, 5: 2.728, 6: 2.850, 7: 2.949, 8: 3.031, 9: 3.102, 10: 3.164}


def mean_ranks(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean rank of each method, the best first; the smallest value has rank 1.

    Equal values share their ranks.
    """
    ranks = {
        name: statistics.mean(
            0.5 + sum((value < row[name]) + 0.5 * (value == row[name]) for value in row.values())
            for row in rows
        )
        for name in rows[0]
    }
    return dict(sorted(ranks.items(), key=lambda item: item[1]))


def critical_difference(methods: int, rows: int) -> float:
    """Return the difference of mean ranks from which on methods differ significantly, at 5 %."""
    return NEMENYI[methods] * math.sqrt(methods * (methods + 1) / (6 * rows))
