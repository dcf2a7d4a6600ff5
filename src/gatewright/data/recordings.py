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
    labels: NDArray[np.int64]  # (N,), positions in `classes`; all -1 where there are none
    classes: tuple[str, ...]  # the classes' names; () of data without labels
    channel_names: tuple[str, ...] = ()  # I names, where the source has them
    ids: tuple[str, ...] = ()  # N names, where the source has them
    name: str = "recordings"
    about: str = ""  # a sentence or two for a report
    licence: str = ""  # the terms, with the source to be cited

    def __post_init__(self) -> None:
        """Check that the parts fit, so that nothing later has to."""
        check_sequences(self.name, self.sequences, self.channel_names, self.ids)
        if self.labels.shape != (len(self.sequences),):
            raise DataError(
                f"data set {self.name} has {len(self.sequences)} sequences and labels of shape "
                f"{self.labels.shape}; expected one label a sequence, ({len(self.sequences)},)"
            )
        check_labels(f"data set {self.name}", self.labels, self.classes)

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
        return np.bincount(self.labels[self.labels >= 0], minlength=len(self.classes))

    def take(self, indices: NDArray[np.integer] | list[int]) -> Recordings:
        """The recordings at these positions, in this order; the sequences are not copied."""
        chosen = np.asarray(indices, dtype=np.int64)
        return replace(
            self,
            sequences=tuple(self.sequences[at] for at in chosen),
            labels=self.labels[chosen],
            ids=tuple(self.ids[at] for at in chosen) if self.ids else (),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """A part to learn from, and a part that is opened once, at the end."""

    train: Recordings
    test: Recordings


def check_sequences(
    name: str,
    sequences: tuple[NDArray[np.float32], ...],
    channel_names: tuple[str, ...],
    ids: tuple[str, ...],
) -> None:
    """`DataError` unless there are sequences, of the same channels, and names for all or none."""
    if not sequences:
        raise DataError(f"data set {name} holds no sequence; expected at least one")
    channels = sequences[0].shape[-1] if sequences[0].ndim == 2 else "channels"
    for at, sequence in enumerate(sequences):
        if sequence.ndim != 2 or sequence.shape[1] != channels:
            raise DataError(
                f"sequence {at} of data set {name} has shape {sequence.shape}; "
                f"expected (time, {channels})"
            )
    for what, names, count in (
        ("channel names", channel_names, channels),
        ("ids", ids, len(sequences)),
    ):
        if names and len(names) != count:
            raise DataError(
                f"data set {name} has {len(names)} {what}; expected {count}, or none at all"
            )


def check_labels(what: str, labels: NDArray[np.int64], classes: tuple[str, ...]) -> None:
    """`DataError` unless every label is a position in `classes`, or -1 where there are none."""
    lowest, highest = (0, len(classes) - 1) if classes else (-1, -1)
    if len(labels) and (labels.min() < lowest or labels.max() > highest):
        raise DataError(
            f"{what} has labels from {labels.min()} to {labels.max()}; expected {lowest} to "
            f"{highest}, as there are {len(classes)} classes"
        )
