"""A linear classifier of a few numbers of each sequence: what needs no memory of its order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gatewright.data import Recordings
from gatewright.tasks.forecast.ridge import PENALTIES, ridge
from gatewright.tasks.task import Baseline, Fitted


def ridge_on_summaries() -> Baseline:
    """Ridge regression of the classes on the summaries of each channel."""
    return Baseline(
        "ridge",
        "ridge on summaries",
        "Linear: mean, deviation, extremes, first and last value of each channel, and the length.",
        fit,
        settings=PENALTIES,
    )


def fit(training: Recordings, penalty: float) -> Fitted:
    """Learn an indicator of each class; the largest one is the answer."""
    indicators = np.eye(len(training.classes))[training.labels]
    predict, size = ridge(summaries(training.sequences), indicators, penalty)
    return Fitted(lambda part: predict(summaries(part.sequences)), size)


def summaries(sequences: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """(N, 6 I + 1), from sequences (T_i, I).

    >>> summaries([np.array([[1.0], [3.0]])])
    array([[2., 1., 1., 3., 1., 3., 2.]])
    """
    return np.stack(
        [
            np.concatenate(
                [one.mean(0), one.std(0), one.min(0), one.max(0), one[0], one[-1], [len(one)]]
            )
            for one in (sequence.astype(np.float64) for sequence in sequences)
        ]
    )
