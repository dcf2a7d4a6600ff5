"""Summarise a curve over lags as a number of steps."""

from __future__ import annotations

import math
from collections.abc import Sequence


def steps_until(curve: Sequence[float], share: float) -> float:
    """The lag from which `curve` stays below `share` of its highest value.

    The curve is interpolated exponentially between two lags, so the result is exact for
    `decay ** k`. It is infinite if the curve has not fallen that far at its last lag, and 0 if
    the curve is all zeros.

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
    if below == 0.0:  # it falls to 0 within the next step
        return last + 1.0
    return last + math.log(above / limit) / math.log(above / below)


def steps_text(steps: float, longest: int) -> str:
    """A number of steps as text, rounded by its size; "over 200" if it is infinite."""
    if math.isinf(steps):
        return f"over {longest}"
    return f"{steps:.1f}" if steps < 10 else f"{steps:.0f}"
