"""Sequences with a label at every step: the data of a tagger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gatewright.data.containers.sequences import Sequences, check_labels, check_sequences
from gatewright.errors import DataError


@dataclass(frozen=True, slots=True, eq=False)
class Tagged(Sequences):
    """N sequences with the same channels, and a label at each of their steps.

    >>> import numpy as np
    >>> walk = Tagged(
    ...     sequences=(np.zeros((3, 2), np.float32),),
    ...     labels=(np.array([0, 0, 1]),),
    ...     classes=("still", "moving"),
    ... )
    >>> walk
    Tagged('tagged', n=1, channels=2, steps=3, classes=2)
    >>> walk.counts
    array([2, 1])
    """

    sequences: tuple[NDArray[np.float32], ...]  # N arrays, each (T_i, I)
    labels: tuple[NDArray[np.int64], ...]  # N arrays (T_i,), positions in `classes`, or all -1
    classes: tuple[str, ...]  # the classes' names; () for data without labels
    channel_names: tuple[str, ...] = ()  # I names, where the source has them
    ids: tuple[str, ...] = ()  # N names, where the source has them
    name: str = "tagged"
    about: str = ""  # one or two sentences for a report
    licence: str = ""  # the terms, and the source to cite

    def __post_init__(self) -> None:
        """Check that the parts fit together, so that no later code has to."""
        check_sequences(self.name, self.sequences, self.channel_names, self.ids)
        if len(self.labels) != len(self.sequences):
            raise DataError(
                f"data set {self.name} has {len(self.sequences)} sequences and labels for "
                f"{len(self.labels)}; expected labels for each"
            )
        for index, (values, labels) in enumerate(zip(self.sequences, self.labels, strict=True)):
            if labels.shape != (len(values),):
                raise DataError(
                    f"sequence {index} of data set {self.name} has {len(values)} steps and labels "
                    f"of shape {labels.shape}; expected one label per step, ({len(values)},)"
                )
            check_labels(f"sequence {index} of data set {self.name}", labels, self.classes)

    def __repr__(self) -> str:
        shortest, longest = self.lengths.min(), self.lengths.max()
        steps = f"{longest}" if shortest == longest else f"{shortest}..{longest}"
        return (
            f"Tagged({self.name!r}, n={len(self)}, channels={self.channels}, "
            f"steps={steps}, classes={len(self.classes)})"
        )

    @property
    def counts(self) -> NDArray[np.int64]:
        """Return the number of steps of each class, (classes,)."""
        labels = np.concatenate(self.labels)
        return np.bincount(labels[labels >= 0], minlength=len(self.classes))

    def take(self, indices: Iterable[int]) -> Tagged:
        """Return the sequences at these positions, in this order, without copying them."""
        return self.steps((int(index), slice(None)) for index in indices)

    def steps(self, parts: Iterable[tuple[int, slice]]) -> Tagged:
        """Return these pieces, each (position of a sequence, slice of its steps), in this order.

        Use it to split one long sequence for validation:
        ``tagged.steps([(0, slice(0, 800))])`` and ``tagged.steps([(0, slice(800, None))])``.
        """
        chosen = list(parts)
        return replace(
            self,
            sequences=tuple(self.sequences[index][part] for index, part in chosen),
            labels=tuple(self.labels[index][part] for index, part in chosen),
            ids=tuple(self.ids[index] for index, _ in chosen) if self.ids else (),
        )
