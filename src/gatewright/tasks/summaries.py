"""A linear classifier of a few numbers per sequence, which ignores the order of the steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gatewright.data import Recordings
from gatewright.tasks.baseline import Baseline, Fitted
from gatewright.tasks.ridge import PENALTIES, ridge


def ridge_on_summaries() -> Baseline:
    """Return the baseline: ridge regression of the classes on summaries of each channel."""
    return Baseline(
        "ridge",
        "ridge on summaries",
        "Linear: mean, deviation, extremes, first and last value of each channel, and the length.",
        fit,
        settings=PENALTIES,
    )


def fit(training: Recordings, penalty: float) -> Fitted:
    """Fit a 0/1 indicator of each class; the class with the largest one is predicted."""
    indicators = np.eye(len(training.classes))[training.labels]
    predict, size = ridge(summaries(training.sequences), indicators, penalty)
    return Fitted(lambda part: predict(summaries(part.sequences)), size)


def summaries(sequences: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """Summarise sequences (T_i, I) by six numbers per channel and the length: (N, 6 I + 1).

    >>> summaries([np.array([[1.0], [3.0]])])
    array([[2., 1., 1., 3., 1., 3., 2.]])
    """
    rows = []
    for sequence in sequences:
        x = sequence.astype(np.float64)
        statistics = [x.mean(0), x.std(0), x.min(0), x.max(0), x[0], x[-1]]
        rows.append(np.concatenate([*statistics, [len(x)]]))
    return np.stack(rows)
