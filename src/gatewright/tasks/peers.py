"""Classifiers of aeon as baselines, where it is installed: the best simple methods known.

MiniRocket (Dempster et al. 2021, arXiv:2012.08791) and MultiRocket with Hydra (Dempster et al.
2023, arXiv:2203.13652) fit a ridge classifier to thousands of convolutions with fixed kernels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data import Recordings
from gatewright.tasks.baseline import Baseline, Fitted

#: Steps that both methods need at least: the length of their kernels.
MIN_STEPS = 9


@dataclass(frozen=True, slots=True)
class ConvolutionPeer:
    """A classifier of `aeon.classification.convolution_based`, with its settings left alone."""

    name: str
    title: str
    about: str
    classifier: str
    start: float  # seconds for compiling, in a process that has not used it yet
    per_value: float  # seconds of a fit and its predictions for each value of the training part


# The times were measured on the bundled sets with one busy core.
PEERS = (
    ConvolutionPeer(
        "minirocket",
        "MiniRocket",
        "10,000 random convolutions, each summed up by the share of positive values (aeon).",
        "MiniRocketClassifier",
        start=20.0,
        per_value=3e-5,
    ),
    ConvolutionPeer(
        "multirocket_hydra",
        "MultiRocket-Hydra",
        "50,000 features of random convolutions, and counts of competing ones (aeon).",
        "MultiRocketHydraClassifier",
        start=60.0,
        per_value=4e-4,
    ),
)


def convolution_peers(seed: int = 0) -> Sequence[Baseline]:
    """Return the baselines, whose kernels are drawn from `seed`."""
    return [_baseline(peer, seed) for peer in PEERS]


def _baseline(peer: ConvolutionPeer, seed: int) -> Baseline:
    def fit(training: Recordings, _: Any) -> Fitted:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its dependencies, at their import
            import aeon.classification.convolution_based as classifiers
        make = getattr(classifiers, peer.classifier)
        return fit_classifier(make(random_state=seed), training)

    def seconds(training: Recordings) -> float:
        # Two fits: without and with the validation part.
        return peer.start + 2.0 * peer.per_value * sum(x.size for x in training.sequences)

    return Baseline(peer.name, peer.title, peer.about, fit, seconds=seconds, why_not=why_no_peers())


def why_no_peers() -> str | None:
    """Return the reason that the peers cannot run here, or None if they can."""
    try:
        import aeon  # noqa: F401
    except ImportError:
        return (
            "MiniRocket and MultiRocket-Hydra are left out: aeon is not installed "
            "(pip install 'gatewright[peers]')."
        )
    return None


def fit_classifier(classifier: Any, training: Recordings) -> Fitted:
    """Fit a classifier with scikit-learn's methods to sequences (N, I, T) of one length."""
    cases = equal_lengths(training)
    labels = training.labels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of numba, on how the package is compiled
        classifier.fit(cases(training), labels)

    def predict(part: Recordings) -> NDArray[np.float64]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            predicted = classifier.predict(cases(part)).astype(np.int64)
        probabilities: NDArray[np.float64] = np.eye(len(part.classes))[predicted]
        return probabilities

    return Fitted(predict, None)


def equal_lengths(training: Recordings) -> Callable[[Recordings], NDArray[np.float64]]:
    """Return a function from recordings to (N, I, T), with T of the longest training sequence.

    A shorter sequence ends with the mean of each channel, a longer one is cut. Channels have mean
    0 and deviation 1, since the methods add them up.
    """
    values = np.concatenate(training.sequences).astype(np.float64)
    mean, scale = values.mean(0), values.std(0)
    scale[scale == 0.0] = 1.0
    steps = max(int(training.lengths.max()), MIN_STEPS)

    def cases(part: Recordings) -> NDArray[np.float64]:
        padded = np.zeros((len(part), len(mean), steps))
        for row, sequence in enumerate(part.sequences):
            beginning = sequence[:steps]
            padded[row, :, : len(beginning)] = ((beginning - mean) / scale).T
        return padded

    return cases
