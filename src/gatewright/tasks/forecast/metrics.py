"""The loss and the metrics of a forecast: nine quantiles, the outer two an 80 % interval.

Errors are compared across series in units of the series' own naive error, as in MASE.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gatewright.data import Series
from gatewright.errors import DataError
from gatewright.tasks.forecast.windows import Windows
from gatewright.tasks.metric import Metric

LEVELS = tuple(round(0.1 * level, 1) for level in range(1, 10))
MEDIAN = LEVELS.index(0.5)
SHARE = LEVELS[-1] - LEVELS[0]  # of the truth, that the outer interval should contain: 80 %

#: Mean absolute error of the median, divided by that of the seasonal naive forecast inside the
#: training part of the same series (Hyndman and Koehler 2006); see `scaled`.
MASE = Metric(
    "mase",
    "MASE",
    about="The mean absolute error of the median forecast, divided by that of repeating the last "
    "season in the training part; lower is better, and 1 is as good as that.",
)
#: Twice the mean pinball loss over the levels, divided by the same. It approximates the continuous
#: ranked probability score (Gneiting and Ranjan 2011, equation 12).
CRPS = Metric(
    "crps",
    "CRPS",
    about="The error of all nine quantiles, so of the intervals too, in the unit of MASE; lower is "
    "better.",
)
#: Share of the truth that lies between the outer quantiles.
COVERAGE = Metric(
    "coverage",
    "inside",
    percent=True,
    judges=False,
    about="The share of true values inside the 80 % interval; 80 is right.",
)
#: Sum of the medians above that of the truth, as a share of the latter's absolute values. The
#: median of a target that is mostly 0 may look good by MASE, and miss all of the sum.
BIAS = Metric(
    "bias",
    "bias of sums",
    percent=True,
    judges=False,
    about="The sum of the median forecasts compared with that of the true values; 0 is right.",
)

#: Errors that a step of the horizon takes its own factor of the interval from.
POOLED = 100
#: Independent errors at which such a factor counts half.
CAUTION = 10.0

#: A seasonal change below this share of the change in one step is float32 rounding.
ROUNDING = 1e-6


def pinball(quantiles: Tensor, truth: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean of max(level · e, (level − 1) · e) with e = truth − quantile.

    Quantiles are (B, H, K, Q), the truth is (B, H, K) and the weights of the losses, if there are
    any, are (B, K). Koenker and Bassett 1978.
    """
    error = truth[..., None] - quantiles
    levels = quantiles.new_tensor(LEVELS)
    losses = torch.maximum(levels * error, (levels - 1.0) * error)
    return losses.mean() if weights is None else (losses * weights[:, None, :, None]).mean()


def errors(
    quantiles: NDArray[np.float64], truth: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Return absolute error, CRPS and coverage of each window and target, all (N, K).

    Quantiles are (N, H, K, Q) and the truth is (N, H, K).
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


def bias_of_sums(quantiles: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Return `BIAS`, the mean over the targets."""
    total = np.abs(truth).sum((0, 1))
    excess = (quantiles[..., MEDIAN] - truth).sum((0, 1))
    return float((excess / np.where(total > 0.0, total, 1.0)).mean())


def widening(quantiles: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the factors (K,) that stretch the quantiles around their median.

    After stretching, the outer interval contains `SHARE` of the truth: split conformal prediction
    (Vovk et al. 2005), whose score is the error as a multiple of the interval's half.

    >>> draws = np.random.default_rng(0).normal(size=(4000, 1, 1))
    >>> half = np.tile(0.5 * np.linspace(-1.2816, 1.2816, 9), (4000, 1, 1, 1))
    >>> bool(abs(widening(half, draws)[0] - 2.0) < 0.1)
    True
    """
    score = _conformal_score(quantiles, truth)
    count = score.shape[0] * score.shape[1]
    level = min(np.ceil((count + 1) * SHARE) / count, 1.0)  # the +1 is the new value's own rank
    factors: NDArray[np.float64] = np.quantile(score.reshape(count, -1), level, axis=0)
    return factors


def step_widening(
    quantiles: NDArray[np.float64],
    reference: NDArray[np.float64],
    truth: NDArray[np.float64],
    independent: float,
) -> NDArray[np.float64]:
    """Return such factors for each step of the horizon, (H, K), cautious where errors are few.

    Steps share the errors of their neighbours until there are `POOLED` of them. A factor that
    rests on few independent errors counts less than the one that gives the intervals the width
    of the reference's.

    Args:
        quantiles, truth: As for `widening`.
        reference: Quantiles like these, whose intervals can be trusted.
        independent: The number of independent errors, for which `CAUTION` is the unit.
    """
    score = _conformal_score(quantiles, truth)
    windows, horizon = score.shape[:2]
    radius = min(-(-POOLED // windows) // 2, horizon)
    factors = np.empty(score.shape[1:])
    for h in range(horizon):
        pooled = score[:, max(h - radius, 0) : h + radius + 1]
        factors[h] = np.quantile(pooled.reshape(-1, score.shape[2]), SHARE, axis=0)
    widths = [(each[..., -1] - each[..., 0]).mean(0) for each in (reference, quantiles)]
    trusted = widths[0] / np.maximum(widths[1], 1e-9)
    share = independent / (independent + CAUTION)
    # The least factor: a series that never changed has intervals without width.
    own, trusted = np.maximum(factors, 1e-3), np.maximum(trusted, 1e-3)
    cautious: NDArray[np.float64] = np.exp(share * np.log(own) + (1.0 - share) * np.log(trusted))
    return cautious


def _conformal_score(
    quantiles: NDArray[np.float64], truth: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the errors (N, H, K) in halves of the outer interval."""
    middle = quantiles[..., MEDIAN]
    above = np.maximum(quantiles[..., -1] - middle, 1e-9)
    below = np.maximum(middle - quantiles[..., 0], 1e-9)
    score: NDArray[np.float64] = np.where(
        truth > middle, (truth - middle) / above, (middle - truth) / below
    )
    return score


def naive_error(
    training: Series, season: int, *, refuse: bool = True
) -> tuple[tuple[float, ...], ...]:
    """Return the mean absolute change over a season of each series and target, (S, K).

    Series shorter than two seasons use the change over one step. A target that never changes in a
    series has 0 there.

    Raises:
        DataError: if a target changes in no series, unless `refuse` is false.
    """
    positions = training.target_positions
    changes = np.stack([_change(values[:, positions], season) for values in training.values])
    for name, of_series in zip(training.targets, changes.T, strict=True):
        if refuse and not of_series.any():
            raise DataError(
                f"{name} of {training.name} never changes: there is nothing to forecast; "
                "leave it out of the targets"
            )
    return tuple(map(tuple, changes.tolist()))


def _change(values: NDArray[np.float64], season: int) -> NDArray[np.float64]:
    """Return the mean absolute change (K,) of the values (T, K) of one series."""

    def over(lag: int) -> NDArray[np.float64]:
        change: NDArray[np.float64] = np.abs(values[lag:] - values[:-lag]).mean(0)
        return change

    if len(values) < 2:
        return np.zeros(values.shape[1])
    step = over(1)
    if len(values) <= 2 * season:
        return step
    # The seasonal change of a target that repeats exactly is only rounding, no unit of errors.
    seasonal = over(season)
    return np.where(seasonal > ROUNDING * step, seasonal, step)


def scaled(
    errors: Mapping[str, NDArray[np.float64]],
    windows: Windows,
    naive: Sequence[Sequence[float]],
) -> dict[str, float]:
    """Return the errors (N, K) of windows, each divided by the naive error of its series.

    The mean is taken over the windows of a series, then over the series, then over the targets
    (Hyndman and Koehler 2006, section 3). A series that never changed in the training part has no
    unit and is left out.

    Args:
        errors: Errors by name.
        windows: The windows that they belong to.
        naive: The naive errors (S, K), from `naive_error`.

    Raises:
        DataError: if a target changed in none of the series that have a window.
    """
    series, row = np.unique(windows.series, return_inverse=True)
    units = np.array(naive)[series]
    moves = units > 0.0
    if not moves.any(0).all():
        raise DataError(
            "a target never changes in any series that is long enough to be measured on: there "
            "is nothing to measure its errors in; leave it out of the targets"
        )
    units[~moves] = 1.0
    means = {}
    for name, error in errors.items():
        sums = np.stack([np.bincount(row, weights=target) for target in error.T], axis=1)
        of_series = sums / np.bincount(row)[:, None] / units
        means[name] = float(of_series.mean(0, where=moves).mean())
    return means
