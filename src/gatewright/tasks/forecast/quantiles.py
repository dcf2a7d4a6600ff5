"""What a forecast is measured by: nine quantiles, an interval, and the errors of both."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewright.tasks.task import Metric

LEVELS = tuple(round(0.1 * level, 1) for level in range(1, 10))
MEDIAN = LEVELS.index(0.5)
SHARE = LEVELS[-1] - LEVELS[0]  # of the truth that the widest interval is to hold: 80 %

#: Mean absolute error of the median, over that of the seasonal naive forecast inside the
#: training part of the same series (Hyndman and Koehler 2006); see `scaled`.
MASE = Metric("mase", "MASE")
#: Twice the mean pinball loss over the levels, which approximates the continuous ranked
#: probability score (Gneiting and Ranjan 2011, equation 12), over the same.
CRPS = Metric("crps", "CRPS")
#: How much of the truth lies between the outer quantiles.
COVERAGE = Metric("coverage", "inside", percent=True, judges=False)


def pinball(quantiles: Tensor, truth: Tensor) -> Tensor:
    """The mean over all of max(level · e, (level − 1) · e), with e = truth − quantile.

    Quantiles are (..., Q) and the truth is (...). Koenker and Bassett 1978.
    """
    error = truth[..., None] - quantiles
    levels = quantiles.new_tensor(LEVELS)
    return torch.maximum(levels * error, (levels - 1.0) * error).mean()


def errors(
    quantiles: NDArray[np.float64], truth: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Absolute error, CRPS and coverage of each window and target, all (N, K).

    From quantiles (N, H, K, Q) and the truth (N, H, K).
    """
    error = truth[..., None] - quantiles
    levels = np.array(LEVELS)
    losses = np.maximum(levels * error, (levels - 1.0) * error)
    inside = (truth >= quantiles[..., 0]) & (truth <= quantiles[..., -1])
    return {
        "mae": np.abs(error[..., MEDIAN]).mean(1),
        "crps": 2.0 * losses.mean((1, 3)),
        "coverage": inside.mean(1),
    }


def widening(quantiles: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K,), by how much to stretch the quantiles around their median so that the outer ones hold
    `SHARE` of the truth: split conformal prediction (Vovk et al. 2005) with the error's size in
    shares of the interval as its score.

    >>> draws = np.random.default_rng(0).normal(size=(4000, 1, 1))
    >>> half = np.tile(0.5 * np.linspace(-1.2816, 1.2816, 9), (4000, 1, 1, 1))
    >>> bool(abs(widening(half, draws)[0] - 2.0) < 0.1)
    True
    """
    middle = quantiles[..., MEDIAN]
    above = np.maximum(quantiles[..., -1] - middle, 1e-9)
    below = np.maximum(middle - quantiles[..., 0], 1e-9)
    score = np.where(truth > middle, (truth - middle) / above, (middle - truth) / below)
    count = score.shape[0] * score.shape[1]
    level = min(np.ceil((count + 1) * SHARE) / count, 1.0)
    found: NDArray[np.float64] = np.quantile(score.reshape(count, -1), level, axis=0)
    return found
