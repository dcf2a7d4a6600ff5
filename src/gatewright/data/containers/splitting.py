"""Split a validation part off the training part, class by class and reproducibly."""

from __future__ import annotations

import numpy as np

from gatewright.data.containers.recordings import Recordings
from gatewright.errors import ArgumentError, DataError


def stratified_split(
    recordings: Recordings, fraction: float, seed: int
) -> tuple[Recordings, Recordings]:
    """Split into (the rest, a part with `fraction` of every class).

    The same seed gives the same split on every machine. Each class has at least one sequence
    on either side, and both sides keep the original order.

    >>> from gatewright.data import load_vowels
    >>> rest, validation = stratified_split(load_vowels().train, fraction=0.2, seed=0)
    >>> rest.counts, validation.counts[:3]
    (array([24, 24, 24, 24, 24, 24, 24, 24, 24]), array([6, 6, 6]))
    """
    if not 0.0 < fraction < 1.0:
        raise ArgumentError(f"fraction is {fraction}; expected a number between 0 and 1")
    # PCG64 by name: `default_rng` may change its generator with a numpy release.
    generator = np.random.Generator(np.random.PCG64(seed))
    in_part = np.zeros(len(recordings), dtype=bool)
    for label in np.unique(recordings.labels):
        members = np.flatnonzero(recordings.labels == label)
        if len(members) < 2:
            raise DataError(
                f"class {recordings.classes[label]} of data set {recordings.name} has "
                f"{len(members)} sequence; expected at least 2, one for each side of the split: "
                "add sequences of this class, or leave the class out"
            )
        size = min(max(round(fraction * len(members)), 1), len(members) - 1)
        # Ranks of uniform draws, not `permutation` or `choice`: numpy guarantees the stream of
        # raw draws between releases, but not the algorithms on top of it.
        order = np.argsort(generator.random(len(members)), kind="stable")
        in_part[members[order[:size]]] = True
    return recordings.take(np.flatnonzero(~in_part)), recordings.take(np.flatnonzero(in_part))
