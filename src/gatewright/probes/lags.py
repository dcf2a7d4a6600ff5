"""From a curve over lags to one number: after how many steps how much is left."""

from __future__ import annotations

import math
from collections.abc import Sequence


def steps_until(curve: Sequence[float], share: float) -> float:
    """The lag from which on `curve` stays below `share` of its highest value.

    Between two lags the curve is taken to fall exponentially, so that the result of
    `decay ** k` is exact. It is infinite where the curve has not fallen that far at its
    last lag, and 0 where there is nothing that could fall.

    >>> steps_until([0.5**k for k in range(10)], 0.25)
    2.0
    >>> steps_until([1.0, 1.0, 1.0], 0.5)
    inf
    """
    limit = share * max(curve)
    if limit == 0.0:
        return 0.0
    last = max(lag for lag, value in enumerate(curve) if value >= limit)
    if last == len(curve) - 1:
        return math.inf
    above, below = curve[last], curve[last + 1]
    if below == 0.0:  # cut off: it falls within the next step
        return last + 1.0
    return last + math.log(above / limit) / math.log(above / below)


def said(steps: float, most: int) -> str:
    """A number of steps in words: with as many digits as it is worth, or "over 200"."""
    if math.isinf(steps):
        return f"over {most}"
    return f"{steps:.1f}" if steps < 10 else f"{steps:.0f}"
