"""The baselines of a text: frequencies, n-gram models of two sizes, and two compressors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.tasks.baseline import Baseline, Fitted
from gatewright.tasks.text.compressors import xz_baseline, zlib_baseline
from gatewright.tasks.text.ngram import MAX_ORDER, Counts
from gatewright.tasks.text.streams import tail


def text_baselines(task: Any) -> Sequence[Baseline]:
    """Return the methods that a network has to beat, from the simplest."""
    return (unigram(), zlib_baseline(), xz_baseline(), kneser_ney_of_same_size(), kneser_ney())


def unigram() -> Baseline:
    """Return the baseline of symbol frequencies."""
    return Baseline(
        "unigram", "frequencies", "Each symbol as often as it occurs.", lambda t, _: _fit(t, 1)
    )


def kneser_ney() -> Baseline:
    """Return the Kneser-Ney model of any size; the length of its histories is chosen."""
    return Baseline(
        "kneser_ney",
        "Kneser-Ney",
        f"Counts of up to {MAX_ORDER - 1} symbols with the next, smoothed.",
        _fit,
        settings=(5, 7, MAX_ORDER),
    )


def kneser_ney_of_same_size() -> Baseline:
    """Return the Kneser-Ney model with at most as many numbers as the best network."""
    return Baseline(
        "kneser_ney_same_size",
        "Kneser-Ney, same size",
        "The same counts without the rarest: as many numbers as the network has.",
        lambda training, most: _fit(training, MAX_ORDER, most),
        same_size=True,
    )


def _fit(training: Any, order: int, most: int | None = None) -> Fitted:
    model = Counts.of(training.codes, len(training.alphabet), order, most=most)

    def predict(part: Any) -> NDArray[np.float64]:
        whole = tail(part)
        return model.bits(whole.text.codes, whole.start)

    return Fitted(predict, len(model))
