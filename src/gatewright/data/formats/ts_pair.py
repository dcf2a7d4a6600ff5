"""A published split in two files: `NAME_TRAIN.ts` to learn from, `NAME_TEST.ts` to test on.

That is how the archives of aeon, sktime and UCR (`.tsv`, `.txt`) keep theirs, so figures on it
are only comparable with others if the test part is the one that is published.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from gatewright.data.containers.recordings import Recordings
from gatewright.data.source.open_file import steady
from gatewright.data.source.request import Reading, Request
from gatewright.errors import DataError


def read_pair(path: Path, request: Request, read: Callable[[Path], Reading]) -> Reading:
    """The answer of `read`, with the test part that lies beside a file of this name."""
    training = read(path)
    beside = path.with_name(re.sub(r"_TRAIN(?=\.(ts|tsv|txt)\b)", "_TEST", path.name))
    labelled = isinstance(training.data, Recordings) and training.data.classes and request.labelled
    if beside == path or not labelled or not beside.is_file():
        return training
    with steady(beside):
        test = read(beside)
    note = f"{beside.name} beside it is the test part: {test.data!r}"
    return replace(training, test=_fitting(training, test), notes=(*training.notes, note))


def _fitting(training: Reading, test: Reading) -> Recordings:
    """The test part with the classes in the order of the training part's."""
    own, other = training.data, test.data
    assert isinstance(own, Recordings)
    if not isinstance(other, Recordings) or other.channels != own.channels:
        raise DataError(
            f"{test.source} holds {other!r}, and {training.source} {own!r}; expected the same "
            "channels and class labels in both"
        )
    places = {name: at for at, name in enumerate(own.classes)}
    named = [other.classes[label] for label in other.labels]
    for where, label in zip(other.ids, named, strict=True):
        if label not in places:
            raise DataError(
                f"{test.source}, {where}: the class {label} is none of those that "
                f"{training.source} has: {', '.join(own.classes[:10])}"
            )
    labels = np.array([places[label] for label in named])
    return replace(other, labels=labels, classes=own.classes, name=own.name)
