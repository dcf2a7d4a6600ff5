"""A published split in two files: `NAME_TRAIN.ts` for training, `NAME_TEST.ts` for the test.

The archives of aeon, sktime and UCR (`.tsv`, `.txt`) store their data in this way. Results can
only be compared with published ones on the published test part.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from gatewright.data.containers.recordings import Recordings
from gatewright.data.source.open_file import guarded
from gatewright.data.source.request import Reading, Request
from gatewright.errors import DataError

_MAX_CLASSES_SHOWN = 10


def read_pair(path: Path, request: Request, read: Callable[[Path], Reading]) -> Reading:
    """Read a file with `read`; add the test part if `path` is a training part that has one."""
    training = read(path)
    test_path = path.with_name(re.sub(r"_TRAIN(?=\.(ts|tsv|txt)\b)", "_TEST", path.name))
    labelled = isinstance(training.data, Recordings) and training.data.classes and request.labelled
    if test_path == path or not labelled or not test_path.is_file():
        return training
    with guarded(test_path):
        test = read(test_path)
    note = f"{test_path.name} in the same folder is the test part: {test.data!r}"
    return replace(training, test=_with_classes_of(training, test), notes=(*training.notes, note))


def _with_classes_of(training: Reading, test: Reading) -> Recordings:
    """Return the test part with the classes in the order of the training part."""
    own, other = training.data, test.data
    assert isinstance(own, Recordings)
    if not isinstance(other, Recordings) or other.channels != own.channels:
        raise DataError(
            f"{test.source} has {other!r} and {training.source} {own!r}; expected the same "
            "channels and class labels in both"
        )
    positions = {name: position for position, name in enumerate(own.classes)}
    names = [other.classes[label] for label in other.labels]
    for id, name in zip(other.ids, names, strict=True):
        if name not in positions:
            raise DataError(
                f"{test.source}, {id}: the class {name} is not in {training.source}; expected "
                f"one of {', '.join(own.classes[:_MAX_CLASSES_SHOWN])}"
            )
    labels = np.array([positions[name] for name in names])
    return replace(other, labels=labels, classes=own.classes, name=own.name)
