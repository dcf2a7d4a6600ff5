"""The mean forecast of targets that are often 0, whose sums matter: sales, rain, counts.

The median of such a target may be 0 at every step, although a week of it sums to something. Its
mean is taken from what the model has: the mean of its quantiles, or the mean of the window,
times the factor that makes the sums right.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def mean_factors(quantiles: Array, past: Array, truth: Array) -> Array:
    """Return the factors of the quantiles' mean and of the window's mean, (2, K).

    One of the two is 0: the one whose forecasts have the larger squared error.

    Args:
        quantiles: Quantiles (N, H, K, Q) in the units of the data.
        past: The targets in the windows, (N, W, K).
        truth: The true values (N, H, K).
    """
    factors = np.zeros((2, truth.shape[2]))
    sources = _sources(quantiles, past)
    for k in range(truth.shape[2]):
        total = truth[..., k].sum()
        sums = np.array([source[..., k].sum() for source in sources])
        # Without a sum there is nothing to scale.
        ratios = np.divide(total, sums, out=np.zeros(2), where=sums > 0.0)
        squared = [
            np.square(ratio * source[..., k] - truth[..., k]).mean() if ratio else np.inf
            for ratio, source in zip(ratios, sources, strict=True)
        ]
        best = int(np.argmin(squared))
        factors[best, k] = ratios[best]
    return factors


def means(quantiles: Any, past: Any, factors: Any) -> Any:
    """Return the mean forecasts (N, H, K) with factors from `mean_factors`.

    The arguments are arrays, or tensors, of which a tensor is returned.
    """
    return factors[0] * quantiles.mean(-1) + factors[1] * past.mean(1)[:, None]


def _sources(quantiles: Array, past: Array) -> tuple[Array, Array]:
    own: Array = quantiles.mean(-1)
    window = np.broadcast_to(past.mean(1)[:, None], own.shape)
    return own, window
