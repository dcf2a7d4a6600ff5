"""A `.keras` file: its configuration and its weights, read without Keras, and with nothing run.

It is a zip archive: `config.json` describes the model, `model.weights.h5` is an HDF5 file with the
weights. It may come from a stranger: sizes are compared before anything large is read, and links
to other files are not followed.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from gatewright.errors import ArgumentError, ModelError
from gatewright.files import regular_file
from gatewright.schema import typed

Array = NDArray[Any]

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
#: The largest configuration that is read, in bytes.
MAX_CONFIG_BYTES = 64 * 2**20
#: Weights that were compressed may unpack to this multiple of the file's size. Keras stores them
#: as they are, and trained ones hardly get smaller.
MAX_UNPACKED_RATIO = 50


class KerasWeights:
    """The weights of a file, by their place in it.

    Args:
        file: The h5py.File.
        size: Its bytes.
        path: The path of the `.keras` file, for messages.
    """

    def __init__(self, file: Any, size: int, path: Path) -> None:
        self.file, self.size, self.path = file, size, path

    def array(self, place: str, shape: tuple[int | None, ...]) -> Array:
        """The numbers at a place; None in the shape stands for any size.

        Raises:
            ModelError: if they are missing, of another shape or type, or not finite.
        """
        import h5py

        dataset = self._node(place)
        title = f"{self.path}: the weights {place}"
        # Keras writes plain blocks of numbers; others may be huge, or in another file.
        plain = (
            isinstance(dataset, h5py.Dataset)
            and not (dataset.is_virtual or dataset.external or dataset.chunks)
            and dataset.dtype.kind == "f"
            and "dtype" not in dataset.attrs  # bfloat16, written as whole numbers
        )
        if not plain:
            raise ModelError(f"{title} are no plain table of floating-point numbers")
        sizes = tuple(dataset.shape)
        fits = len(sizes) == len(shape) and all(
            own > 0 and size in (None, own) for own, size in zip(sizes, shape, strict=True)
        )
        if not fits:
            expected = ", ".join("any" if size is None else str(size) for size in shape)
            raise ModelError(f"{title} have shape {sizes}; expected ({expected})")
        if dataset.nbytes > self.size:
            raise ModelError(f"{title} have {dataset.nbytes:,} bytes; the file has {self.size:,}")
        array: Array = dataset[()]
        if not np.isfinite(array).all():
            raise ModelError(f"{title} are not finite, so every answer would be NaN; train again")
        return array.astype(array.dtype.newbyteorder("="))

    def check_name(self, group: str, name: str) -> None:
        """Refuse a group of weights that belongs to a layer of another name."""
        owner = self._node(f"{group}/vars").attrs.get("name")
        # The first versions of Keras 3 wrote no name.
        if isinstance(owner, str) and owner != name:
            raise ModelError(
                f"{self.path} is damaged: the weights {group} belong to {owner}; expected {name}"
            )

    def _node(self, place: str) -> Any:
        import h5py

        node = self.file
        for part in place.split("/"):
            link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
            if not isinstance(link, h5py.HardLink):
                raise ModelError(f"{self.path} is damaged: it holds no weights {place}")
            node = node[part]
        return node


@contextmanager
def open_keras(path: Path) -> Iterator[tuple[dict[str, Any], KerasWeights]]:
    """Open a `.keras` file: the configuration of its model, and its weights.

    Raises:
        ArgumentError: if it cannot be read, or is of an earlier version of Keras.
        ModelError: if it is damaged.
    """
    try:
        import h5py
    except ImportError as error:
        raise ArgumentError(
            f"{path}: reading Keras needs the package h5py: pip install 'gatewright[keras]'"
        ) from error
    config, content = _unpacked(path)
    try:
        with h5py.File(io.BytesIO(content)) as file:
            yield config, KerasWeights(file, len(content), path)
    except (OSError, RuntimeError, KeyError, TypeError) as error:  # h5py's, of damaged files
        raise ModelError(f"{path} is damaged: {WEIGHTS}: {error}") from error


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
