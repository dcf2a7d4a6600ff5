"""The base of data sets of sequences: their sizes, and checks that their parts fit together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gatewright.errors import DataError


class Sequences:
    """N sequences with the same channels and individual lengths."""

    __slots__ = ()

    sequences: tuple[NDArray[np.float32], ...]  # N arrays, each (T_i, I)

    def __len__(self) -> int:
        return len(self.sequences)

    @property
    def channels(self) -> int:
        """Return the number of values in a step: the `input_size` of a layer that reads them."""
        return int(self.sequences[0].shape[1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Return the number of steps of each sequence, (N,)."""
        return np.array([len(sequence) for sequence in self.sequences], dtype=np.int64)


def check_sequences(
    name: str,
    sequences: tuple[NDArray[np.float32], ...],
    channel_names: tuple[str, ...],
    ids: tuple[str, ...],
) -> None:
    """Raise `DataError` unless all sequences have the same channels, and all or none have names."""
    if not sequences:
        raise DataError(f"data set {name} has no sequence; expected at least one")
    channels = sequences[0].shape[-1] if sequences[0].ndim == 2 else "channels"
    for index, sequence in enumerate(sequences):
        if sequence.ndim != 2 or sequence.shape[1] != channels:
            raise DataError(
                f"sequence {index} of data set {name} has shape {sequence.shape}; "
                f"expected (time, {channels})"
            )
    for kind, names, count in (
        ("channel names", channel_names, channels),
        ("ids", ids, len(sequences)),
    ):
        if names and len(names) != count:
            raise DataError(
                f"data set {name} has {len(names)} {kind}; expected {count}, or none at all"
            )


def check_labels(owner: str, labels: NDArray[np.int64], classes: tuple[str, ...]) -> None:
    """Raise `DataError` unless every label is a position in `classes`, or -1 without classes."""
    lowest, highest = (0, len(classes) - 1) if classes else (-1, -1)
    if len(labels) and (labels.min() < lowest or labels.max() > highest):
        raise DataError(
            f"{owner} has labels from {labels.min()} to {labels.max()}; expected {lowest} to "
            f"{highest}, as there are {len(classes)} classes"
        )
