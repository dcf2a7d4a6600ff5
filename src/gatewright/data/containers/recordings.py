"""Labelled sequences of different lengths, one label each: the data of a classifier."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gatewright.data.containers.sequences import Sequences, check_labels, check_sequences
from gatewright.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Recordings(Sequences):
    """N labelled sequences with the same channels and individual lengths.

    >>> import numpy as np
    >>> storms = Recordings(
    ...     sequences=(np.zeros((7, 3), np.float32), np.ones((5, 3), np.float32)),
    ...     labels=np.array([1, 0]),
    ...     classes=("calm", "storm"),
    ...     name="weather",
    ... )
    >>> storms
    Recordings('weather', n=2, channels=3, steps=5..7, classes=2)
    >>> storms.lengths
    array([7, 5])
    >>> storms.take([1]).labels
    array([0])
    """

    sequences: tuple[NDArray[np.float32], ...]  # N arrays, each (T_i, I)
    labels: NDArray[np.int64]  # (N,), positions in `classes`; all -1 for data without labels
    classes: tuple[str, ...]  # the classes' names; () for data without labels
    channel_names: tuple[str, ...] = ()  # I names, where the source has them
    ids: tuple[str, ...] = ()  # N names, where the source has them
    name: str = "recordings"
    about: str = ""  # one or two sentences for a report
    licence: str = ""  # the terms, and the source to cite

    def __post_init__(self) -> None:
        """Check that the parts fit together, so that no later code has to."""
        check_sequences(self.name, self.sequences, self.channel_names, self.ids)
        if self.labels.shape != (len(self.sequences),):
            raise DataError(
                f"data set {self.name} has {len(self.sequences)} sequences and labels of shape "
                f"{self.labels.shape}; expected one label per sequence, ({len(self.sequences)},)"
            )
        check_labels(f"data set {self.name}", self.labels, self.classes)

    def __repr__(self) -> str:
        shortest, longest = self.lengths.min(), self.lengths.max()
        return (
            f"Recordings({self.name!r}, n={len(self)}, channels={self.channels}, "
            f"steps={shortest}..{longest}, classes={len(self.classes)})"
        )

    @property
    def counts(self) -> NDArray[np.int64]:
        """Return the number of sequences of each class, (classes,)."""
        return np.bincount(self.labels[self.labels >= 0], minlength=len(self.classes))

    def take(self, indices: NDArray[np.integer] | list[int]) -> Recordings:
        """Return the recordings at these positions, in this order, without copying sequences."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            sequences=tuple(self.sequences[index] for index in chosen),
            labels=self.labels[chosen],
            ids=tuple(self.ids[index] for index in chosen) if self.ids else (),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A training part, and a test part that is used once, at the end."""

    train: Recordings
    test: Recordings
