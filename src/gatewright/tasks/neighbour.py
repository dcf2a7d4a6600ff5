"""The class of the nearest training sequence under dynamic time warping.

The warping distance is that of Sakoe and Chiba 1978 (equation 19, no constraint on the slope) with
squared differences summed over the channels, as in the reference results of the UCR archive.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gatewright.data import Recordings
from gatewright.tasks.baseline import Baseline, Fitted

#: Widths of the warping window that are tried, as shares of the sequence length.
WIDTHS = (0.05, 0.1, 0.2, 1.0)


def nearest_neighbour() -> Baseline:
    """Return the baseline: 1-nearest neighbour, with the window width chosen on validation."""
    return Baseline(
        "nearest_neighbour",
        "1-NN, DTW",
        "The class of the nearest training sequence under dynamic time warping.",
        fit,
        settings=WIDTHS,
        seconds=seconds,
    )


def seconds(training: Recordings) -> float:
    """Estimate the time of the baseline from the distances of one training sequence."""
    started = time.perf_counter()
    distances(training.sequences[0], training.sequences, WIDTHS[0])
    per_sequence = time.perf_counter() - started
    # Validation sequences, a fifth of the part, are classified once per width; test sequences,
    # perhaps as many as there are training sequences, once.
    return per_sequence * len(training) * (1 + len(WIDTHS) / 5)


def fit(training: Recordings, window: float) -> Fitted:
    """Store the training sequences, each channel divided by its standard deviation."""
    scale = np.concatenate(training.sequences).std(0)
    scale[scale == 0.0] = 1.0
    known = [sequence / scale for sequence in training.sequences]

    def predict(part: Recordings) -> NDArray[np.float64]:
        nearest = [int(distances(x / scale, known, window).argmin()) for x in part.sequences]
        return np.eye(len(part.classes))[training.labels[nearest]]

    return Fitted(predict, None)


def distances(
    sequence: NDArray[np.floating], others: Sequence[NDArray[np.floating]], window: float
) -> NDArray[np.float64]:
    """Return the warping distances (N,) of a sequence (T, I) to N others (T_n, I).

    The recurrence is computed for all N at once. `window` bounds how far the warping path may
    leave the diagonal, as a share of the longer of the two sequences.

    >>> distances(np.array([[0.0], [1.0]]), [np.array([[0.0], [0.0], [1.0]])], 1.0)
    array([0.])
    """
    lengths = np.array([len(other) for other in others])
    longest = int(lengths.max())
    # Channel by channel: the sum over the channels is that of whole planes, 4 times as fast.
    padded = np.zeros((sequence.shape[1], longest, len(others)))
    for number, other in enumerate(others):
        padded[:, : len(other), number] = other.T
    reach = np.maximum(np.ceil(window * np.maximum(lengths, len(sequence))), 1.0)
    slope = lengths / len(sequence)  # of each pair's diagonal
    reach = np.maximum(reach, slope)  # else a steep path could not advance
    columns = np.arange(longest)
    # Row t of the recurrence: entry j + 1 is the cost of the best path that ends at step t of
    # `sequence` and step j of the other, (longest + 1, N). Entry 0 is the border.
    previous = np.full((longest + 1, len(others)), np.inf)
    previous[0] = 0.0
    for step, event in enumerate(sequence):
        cost = ((padded - event[:, None, None]) ** 2).sum(0)
        outside = np.abs(columns[:, None] - step * slope) > reach
        cost[outside] = np.inf
        row = np.full_like(previous, np.inf)
        best = np.minimum(previous[1:], previous[:-1])
        for column in columns:
            row[column + 1] = cost[column] + np.minimum(best[column], row[column])
        previous = row
    ends: NDArray[np.float64] = previous[lengths, np.arange(len(others))]
    return ends
