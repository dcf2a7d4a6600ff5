"""The steps of an array: in memory, mapped from a file, or behind an array's interface."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from gatewright.data.chunks.step_source import StepSource, check_numbers
from gatewright.data.source.open_file import identity
from gatewright.errors import DataError


class ArraySteps:
    """The steps of an array in memory, or of anything that is sliced like one (h5py, zarr)."""

    def __init__(self, array: Any, name: str) -> None:
        self.array = array
        self.name = name
        self.step_shape: tuple[int, ...] = tuple(array.shape[1:])
        self.dtype: np.dtype[Any] = np.dtype(array.dtype)

    def __len__(self) -> int:
        return int(self.array.shape[0])

    def read(self, first: int, stop: int) -> NDArray[Any]:
        """Return steps, a view where the array has one."""
        values = np.asarray(self.array[first:stop])
        if len(values) < stop - first:
            raise DataError(
                f"{self.name} has {len(self)} steps and returned {len(values)} for the steps "
                f"{first:,} to {stop:,}; was it changed while it was read?"
            )
        return values


class MappedFile:
    """A file that arrays are mapped from, open to be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):
            os.close(self.descriptor)

    def read(self, begin: int, count: int) -> bytes:
        """Return `count` bytes from a place in the file.

        Raises:
            DataError: if it is too short by now.
        """
        parts, place = [], begin
        while place < begin + count:
            part = os.pread(self.descriptor, begin + count - place, place)
            if not part:
                raise DataError(
                    f"{self.path} has {os.fstat(self.descriptor).st_size:,} bytes and had at "
                    f"least {begin + count:,} when it was opened: it became shorter while it was "
                    "read; open it again when no other program writes to it"
                )
            parts.append(part)
            place += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


#: Thousands of sequences may be views of one file; a process may open a thousand files.
_open_files: WeakValueDictionary[tuple[int, ...], MappedFile] = WeakValueDictionary()


def mapped_file(path: Path) -> MappedFile:
    """Return the file, opened once however many arrays are mapped from it."""
    key = identity(path.stat())
    file = _open_files.get(key)
    if file is None:
        file = _open_files[key] = MappedFile(path)
    return file


class MappedSteps:
    """The steps of a memory-mapped file, read from the file itself.

    Pages of a map count as the process's own memory until the system takes them back, so a pass
    over the map would look like the whole file in memory; and a map of a file that shrinks ends
    the process with SIGBUS. Reading does neither.
    """

    def __init__(self, array: NDArray[Any], path: Path, begin: int, name: str) -> None:
        """`begin` is the position in the file of the array's first value, in bytes."""
        self.name = name
        self.file = mapped_file(path)
        self.begin = begin
        self.length = len(array)
        self.step_shape: tuple[int, ...] = array.shape[1:]
        self.dtype = array.dtype
        self.strides = array.strides
        # From the first byte of a step to the last one of the same step.
        self.extent = array.dtype.itemsize + sum(
            (size - 1) * stride
            for size, stride in zip(array.shape[1:], array.strides[1:], strict=True)
        )

    def __len__(self) -> int:
        return self.length

    def read(self, first: int, stop: int) -> NDArray[Any]:
        """Return steps as a new array."""
        steps, stride = stop - first, self.strides[0]
        if steps <= 0:
            return np.empty((0, *self.step_shape), self.dtype)
        if self.extent <= max(stride, self.dtype.itemsize):  # a step's bytes come together
            return self._spaced(self.begin + first * stride, (steps, *self.step_shape))
        # In Fortran's order a channel's bytes come together.
        channels = range(self.step_shape[0])
        columns = [
            self._spaced(self.begin + first * stride + channel * self.strides[1], (steps,))
            for channel in channels
        ]
        return np.stack(columns, 1)

    def _spaced(self, begin: int, shape: tuple[int, ...]) -> NDArray[Any]:
        """Read an array of this shape, with the map's strides, from a place in the file."""
        strides = self.strides[: len(shape)]
        last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        content = self.file.read(begin, last + self.dtype.itemsize)
        return np.ndarray(shape, self.dtype, content, strides=strides)


def array_steps(array: Any, name: str) -> StepSource:
    """Return the steps of an array (T,) or (T, I).

    Raises:
        DataError: if its values are no numbers, or it has another number of axes.
    """
    if not (hasattr(array, "shape") and hasattr(array, "dtype")):
        raise DataError(
            f"{name} is of the type {type(array).__name__}; expected an array or tensor, (time,) "
            "or (time, channels)"
        )
    check_numbers(np.dtype(array.dtype), name)
    if len(array.shape) not in (1, 2) or 0 in array.shape[1:]:
        raise DataError(
            f"{name} has the shape {tuple(array.shape)}; expected (time,) or (time, channels)"
        )
    return _mapped_steps(array, name) or ArraySteps(array, name)


def _mapped_steps(array: Any, name: str) -> MappedSteps | None:
    """Return the steps of a view of a mapped file; None if it is none, or cannot be read so."""
    if not isinstance(array, np.ndarray) or not hasattr(os, "pread") or not array.size:
        return None
    root: Any = array
    while isinstance(root, np.ndarray) and not isinstance(root, np.memmap):
        root = root.base
    # A private copy (mode "c") may differ from its file.
    if not isinstance(root, np.memmap) or root.filename is None or root.mode == "c":
        return None
    pages: Any = root
    while pages is not None and not isinstance(pages, mmap.mmap):
        pages = getattr(pages, "base", None)
    if pages is None or min(array.strides) < 0 or not _is_row_by_row(array):
        return None
    start = np.frombuffer(pages, np.uint8).__array_interface__["data"][0]
    address = array.__array_interface__["data"][0]
    # numpy maps from the last border of pages before its offset.
    begin = root.offset - root.offset % mmap.ALLOCATIONGRANULARITY + address - start
    try:
        return MappedSteps(array, Path(root.filename), begin, name)
    except OSError:  # the file has another place now, or is closed to us: the map still works
        return None


def _is_row_by_row(array: NDArray[Any]) -> bool:
    """True if the bytes of a step, or those of a channel, come together in the file."""
    if array.ndim == 1 or array.strides[1] * (array.shape[1] - 1) < max(array.strides[0], 1):
        return True
    return bool(array.strides[0] * (array.shape[0] - 1) < max(array.strides[1], 1))
