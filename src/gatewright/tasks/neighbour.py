"""The class of the nearest sequence under dynamic time warping.

The warping distance is that of Sakoe and Chiba 1978 (equation 19, slope unconstrained) with
squared differences summed over the channels, as the UCR archive's reference figures have it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gatewright.data import Recordings
from gatewright.tasks.task import Baseline, Fitted

#: Widths of the warping window, as shares of the length.
WIDTHS = (0.05, 0.1, 0.2, 1.0)


def nearest_neighbour() -> Baseline:
    """1-nearest neighbour; the width of the warping window is chosen on validation."""
    return Baseline(
        "nearest_neighbour",
        "1-NN, DTW",
        "The class of the nearest sequence to learn from, under dynamic time warping.",
        fit,
        settings=WIDTHS,
        seconds=seconds,
    )


def seconds(training: Recordings) -> float:
    """The time of one sequence, for all that are compared with the training part."""
    started = time.perf_counter()
    distances(training.sequences[0], training.sequences, WIDTHS[0])
    one_sequence = time.perf_counter() - started
    # A fifth is the validation part, which is asked for each width; the test part may be as
    # large as the training part.
    return one_sequence * len(training) * (1 + len(WIDTHS) / 5)


def fit(training: Recordings, window: float) -> Fitted:
    """Keep the sequences, scaled by the deviation of each channel."""
    scale = np.concatenate(training.sequences).std(0)
    scale[scale == 0.0] = 1.0
    known = [one / scale for one in training.sequences]

    def predict(part: Recordings) -> NDArray[np.float64]:
        nearest = [int(distances(one / scale, known, window).argmin()) for one in part.sequences]
        return np.eye(len(part.classes))[training.labels[nearest]]

    return Fitted(predict, None)


def distances(
    one: NDArray[np.floating], others: Sequence[NDArray[np.floating]], window: float
) -> NDArray[np.float64]:
    """(N,), the warping distance of a sequence (T, I) to each of N others (T_n, I).

    All others take each step of the recurrence together. `window` is how far the path may
    leave the diagonal, as a share of the longer of the two.

    >>> distances(np.array([[0.0], [1.0]]), [np.array([[0.0], [0.0], [1.0]])], 1.0)
    array([0.])
    """
    lengths = np.array([len(other) for other in others])
    longest = int(lengths.max())
    padded = np.zeros((longest, len(others), one.shape[1]))
    for at, other in enumerate(others):
        padded[: len(other), at] = other
    reach = np.maximum(np.ceil(window * np.maximum(lengths, len(one))), 1.0)
    slope = lengths / len(one)  # the diagonal of each pair of lengths
    reach = np.maximum(reach, slope)
    columns = np.arange(longest)
    before = np.full((longest + 1, len(others)), np.inf)
    before[0] = 0.0
    for step, event in enumerate(one):
        cost = ((padded - event) ** 2).sum(-1)
        outside = np.abs(columns[:, None] - step * slope) > reach
        cost[outside] = np.inf
        row = np.full_like(before, np.inf)
        best = np.minimum(before[1:], before[:-1])
        for column in columns:
            row[column + 1] = cost[column] + np.minimum(best[column], row[column])
        before = row
    ends: NDArray[np.float64] = before[lengths, np.arange(len(others))]
    return ends
