"""Read a data set that is shipped inside the package.

One file a data set in `files/`, with its terms beside it. A checksum in the code tells a
damaged download from the published data before a number of it is used. Recordings are
`<part>.values` (the sequences laid end to end, (sum of T_i, I)), `<part>.lengths` and
`<part>.labels`, in safetensors, so that nothing is ever unpickled.
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
    """The training and the test part of the recordings that `file` holds."""
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
    """The file of a bundled data set, once it is known to be the published one."""
    found_at = files("gatewright.data").joinpath("files", file)
    try:
        content = found_at.read_bytes()
    except OSError as error:
        raise DataError(
            f"the bundled data set {name} cannot be read ({error.strerror}); "
            f"expected {file} inside the package: install gatewright again"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise DataError(
            f"the bundled data set {name} is damaged: {file} has {len(content)} bytes and the "
            f"checksum {found[:12]}…; expected {sha256[:12]}…: install gatewright again"
        )
    return found_at
