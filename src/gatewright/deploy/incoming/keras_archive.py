"""A `.keras` file: its configuration and its weights, read without Keras, and with nothing run.

It is a zip archive: `config.json` describes the model, `model.weights.h5` is an HDF5 file with the
weights. It may come from a stranger: sizes are compared before anything large is read, links to
other files are not followed, and HDF5 is read in a process of its own.
"""

from __future__ import annotations

import io
import json
import subprocess
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from gatewright.errors import ArgumentError, ModelError
from gatewright.files import regular_file
from gatewright.processes import module_command, module_environment
from gatewright.schema import typed

Array = NDArray[Any]

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
#: The largest configuration that is read, in bytes.
MAX_CONFIG_BYTES = 64 * 2**20
#: Weights that were compressed may unpack to this multiple of the file's size. Keras stores them
#: as they are, and trained ones hardly get smaller.
MAX_UNPACKED_RATIO = 50
#: The longest time of the process that reads the weights: a start, and a slow disk's pace. HDF5's
#: library runs without end on some damaged files.
MAX_SECONDS, MIN_BYTES_PER_SECOND = 30.0, 20_000_000


class KerasWeights:
    """The weights of a file's recurrent layers, by their places in it.

    Args:
        entries: The results of `hdf5_worker.read_cells`.
        path: The path of the `.keras` file, for messages.
    """

    def __init__(self, entries: Mapping[str, Array], path: Path) -> None:
        self.entries, self.path = entries, path

    def array(self, place: str, shape: tuple[int | None, ...]) -> Array:
        """The numbers at a place; None in the shape stands for any size.

        Raises:
            ModelError: if they are missing, of another shape or type, or not finite.
        """
        title = f"{self.path}: the weights {place}"
        if f"fault:{place}" in self.entries:
            raise ModelError(f"{title} {self.entries[f'fault:{place}']}")
        if place not in self.entries:
            raise ModelError(f"{self.path} is damaged: it holds no weights {place}")
        array = self.entries[place]
        fits = len(array.shape) == len(shape) and all(
            own > 0 and size in (None, own) for own, size in zip(array.shape, shape, strict=True)
        )
        if not fits:
            expected = ", ".join("any" if size is None else str(size) for size in shape)
            raise ModelError(f"{title} have shape {array.shape}; expected ({expected})")
        if not np.isfinite(array).all():
            raise ModelError(f"{title} are not finite, so every answer would be NaN; train again")
        return array

    def check_name(self, group: str, name: str) -> None:
        """Refuse a group of weights that belongs to a layer of another name."""
        owner = str(self.entries.get(f"name:{group}", name))  # early versions wrote no name
        if owner != name:
            raise ModelError(
                f"{self.path} is damaged: the weights {group} belong to {owner}; expected {name}"
            )


def open_keras(path: Path) -> tuple[dict[str, Any], KerasWeights]:
    """The configuration of the model in a `.keras` file, and the weights of its recurrent layers.

    Raises:
        ArgumentError: if it cannot be read, or is of an earlier version of Keras.
        ModelError: if it is damaged.
    """
    try:
        import h5py  # noqa: F401
    except ImportError as error:
        raise ArgumentError(
            f"{path}: reading Keras needs the package h5py: pip install 'gatewright[keras]'"
        ) from error
    config, content = _unpacked(path)
    limit = MAX_SECONDS + len(content) / MIN_BYTES_PER_SECOND
    try:
        done = subprocess.run(
            module_command("gatewright.deploy.incoming.hdf5_worker"),
            env=module_environment(),
            input=content,
            capture_output=True,
            timeout=limit,
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"{path} is damaged: {WEIGHTS} could not be read within {limit:.0f} seconds"
        ) from error
    if done.returncode:
        # The last line of its traceback; a crash leaves none.
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ModelError(f"{path} is damaged: {WEIGHTS}: {reason or 'the library of HDF5 crashed'}")
    with np.load(io.BytesIO(done.stdout), allow_pickle=False) as entries:
        return config, KerasWeights({name: entries[name] for name in entries.files}, path)


def _unpacked(path: Path) -> tuple[dict[str, Any], bytes]:
    """The configuration of a file's model, and the content of its weights."""
    try:
        with regular_file(path) as (file, size), ZipFile(file) as archive:
            metadata = _json(archive, METADATA, path)
            version = typed(metadata.get("keras_version"), str, f"{path}: keras_version")
            if not version.startswith("3."):
                raise ArgumentError(
                    f"{path} was written by Keras {version}, which has other files and activations "
                    "of the same name; load it in Keras 3, and save it again"
                )
            config = _json(archive, CONFIG, path)
            limit = max(MAX_CONFIG_BYTES, MAX_UNPACKED_RATIO * size)
            return config, _member(archive, WEIGHTS, limit, path)
    except OSError as error:
        raise ArgumentError(f"cannot read {path}: {error.strerror or error}") from error
    except (BadZipFile, EOFError, NotImplementedError, RuntimeError, zlib.error) as error:
        raise ModelError(f"{path} is damaged, or no file of Keras 3: {error}") from error


def _member(archive: ZipFile, name: str, limit: int, path: Path) -> bytes:
    if name not in archive.namelist():
        raise ModelError(f"{path} is damaged, or no file of Keras 3: it holds no {name}")
    with archive.open(name) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ModelError(f"{path}: {name} unpacks to more than {limit:,} bytes, and is not read")
    return content


def _json(archive: ZipFile, name: str, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_member(archive, name, MAX_CONFIG_BYTES, path))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} is damaged: {name} is not JSON ({error})") from error
    return typed(value, dict[str, Any], f"{path}: {name}")  # type: ignore[no-any-return]
