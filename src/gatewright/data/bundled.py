"""Read a data set that comes with the package.

Each data set is a file in `files/`, next to its licence. A checksum in the code detects a damaged
file before any number of it is used. Recordings are stored in safetensors, so that nothing is
unpickled, as `<part>.values` (the sequences one after the other, (sum of T_i, I)),
`<part>.lengths` and `<part>.labels`.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files
from importlib.resources.abc import Traversable

import numpy as np
from safetensors.numpy import load

from gatewright.data.containers.recordings import Recordings, Split
from gatewright.errors import DataError


def read_bundled(
    file: str,
    *,
    sha256: str,
    classes: tuple[str, ...],
    name: str,
    about: str,
    licence: str,
) -> Split:
    """Return the training and the test part of the recordings in `file`."""
    tensors = load(checked_file(file, sha256=sha256, name=name).read_bytes())

    def part(key: str) -> Recordings:
        edges = np.cumsum(tensors[f"{key}.lengths"])[:-1]
        return Recordings(
            sequences=tuple(np.split(tensors[f"{key}.values"], edges)),
            labels=tensors[f"{key}.labels"],
            classes=classes,
            name=name,
            about=about,
            licence=licence,
        )

    return Split(train=part("train"), test=part("test"))


def checked_file(file: str, *, sha256: str, name: str) -> Traversable:
    """Return the file of a bundled data set after its checksum was compared."""
    location = files("gatewright.data").joinpath("files", file)
    try:
        content = location.read_bytes()
    except OSError as error:
        raise DataError(
            f"the bundled data set {name} cannot be read ({error.strerror}); "
            f"expected {file} inside the package: install gatewright again"
        ) from error
    checksum = hashlib.sha256(content).hexdigest()
    if checksum != sha256:
        raise DataError(
            f"the bundled data set {name} is damaged: {file} has {len(content)} bytes and the "
            f"checksum {checksum[:12]}…; expected {sha256[:12]}…: install gatewright again"
        )
    return location
