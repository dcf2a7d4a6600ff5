"""What every data set becomes: labelled sequences of different lengths, in numpy."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gatewright.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Recordings:
    """N labelled sequences with the same channels, each with a length of its own.

    >>> import numpy as np
    >>> two = Recordings(
    ...     sequences=(np.zeros((7, 3), np.float32), np.ones((5, 3), np.float32)),
    ...     labels=np.array([1, 0]),
    ...     classes=("calm", "storm"),
    ...     name="weather",
    ... )
    >>> two
    Recordings('weather', n=2, channels=3, steps=5..7, classes=2)
    >>> two.lengths
    array([7, 5])
    >>> two.take([1]).labels
    array([0])
    """

    sequences: tuple[NDArray[np.float32], ...]  # N arrays, each (T_i, I)
    labels: NDArray[np.int64]  # (N,), positions in `classes`
    classes: tuple[str, ...]  # the classes' names
    name: str = "recordings"
    about: str = ""  # a sentence or two for a report
    licence: str = ""  # the terms, with the source to be cited

    def __post_init__(self) -> None:
        """Check that the parts fit, so that nothing later has to."""
        if not self.sequences:
            raise DataError(f"data set {self.name} holds no sequence; expected at least one")
        if self.labels.shape != (len(self.sequences),):
            raise DataError(
                f"data set {self.name} has {len(self.sequences)} sequences and labels of shape "
                f"{self.labels.shape}; expected one label a sequence, ({len(self.sequences)},)"
            )
        if self.labels.min() < 0 or self.labels.max() >= len(self.classes):
            raise DataError(
                f"data set {self.name} has labels from {self.labels.min()} to "
                f"{self.labels.max()}; expected 0 to {len(self.classes) - 1}, "
                f"as there are {len(self.classes)} classes"
            )
        channels = self.sequences[0].shape[-1] if self.sequences[0].ndim == 2 else "channels"
        for at, sequence in enumerate(self.sequences):
            if sequence.ndim != 2 or sequence.shape[1] != channels:
                raise DataError(
                    f"sequence {at} of data set {self.name} has shape {sequence.shape}; "
                    f"expected (time, {channels})"
                )

    def __len__(self) -> int:
        return len(self.sequences)

    def __repr__(self) -> str:
        shortest, longest = self.lengths.min(), self.lengths.max()
        return (
            f"Recordings({self.name!r}, n={len(self)}, channels={self.channels}, "
            f"steps={shortest}..{longest}, classes={len(self.classes)})"
        )

    @property
    def channels(self) -> int:
        """How many values a step has: the `input_size` of a layer that reads them."""
        return int(self.sequences[0].shape[1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,), how many steps each sequence has."""
        return np.array([len(sequence) for sequence in self.sequences], dtype=np.int64)

    @property
    def counts(self) -> NDArray[np.int64]:
        """(classes,), how many sequences each class has."""
        return np.bincount(self.labels, minlength=len(self.classes))

    def take(self, indices: NDArray[np.integer] | list[int]) -> Recordings:
        """The recordings at these positions, in this order; the sequences are not copied."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            sequences=tuple(self.sequences[at] for at in chosen),
            labels=self.labels[chosen],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A part to learn from, and a part that is opened once, at the end."""

    train: Recordings
    test: Recordings
