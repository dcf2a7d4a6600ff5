"""The steps of an array: in memory, mapped from a file, or behind an array's interface."""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from gatewright.data.chunks.file_maps import FileMaps
from gatewright.data.chunks.step_source import StepSource, check_numbers
from gatewright.data.source.open_file import identity
from gatewright.errors import DataError

#: Bytes at both ends of a map that are compared with the file at its path.
SAMPLE = 1 << 12


class MapContent(Protocol):
    """Bytes in memory that are copied where they are sliced."""

    def __len__(self) -> int: ...

    def __getitem__(self, place: slice, /) -> bytes: ...


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


class ResidentSteps(ArraySteps):
    """The steps of a map that is read as memory, since its file may hold other values by now.

    Reading a map beyond the end of its file ends the process, so its length is checked before.
    """

    def __init__(
        self, array: NDArray[Any], file_size: Callable[[], int], needed: int, name: str
    ) -> None:
        """`needed` are the bytes that the file must have."""
        super().__init__(array, name)
        self.file_size, self.needed = file_size, needed

    def read(self, first: int, stop: int) -> NDArray[Any]:
        if (size := self.file_size()) < self.needed:
            raise DataError(
                f"{self.name} is mapped from a file that became shorter, {size:,} bytes now; open "
                "it again when no other program writes to it"
            )
        return super().read(first, stop)


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
                    f"{self.path} has {self.size():,} bytes and had at least {begin + count:,} "
                    "when it was opened: it became shorter while it was read; open it again when "
                    "no other program writes to it"
                )
            parts.append(part)
            place += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def size(self) -> int:
        """Return the bytes that it has now."""
        return os.fstat(self.descriptor).st_size

    def holds(self, content: MapContent, begin: int) -> bool:
        """Tell if some bytes of a map, from a position in the file on, are still in this file.

        Only both ends are compared. The path may name another file since it was mapped: programs
        replace files by renaming new ones.
        """
        count = len(content)
        if self.size() < begin + count:
            return True  # too short to be read, which `read` reports
        places = (0, max(count - SAMPLE, 0))
        return all(
            content[place : place + SAMPLE] == self.read(begin + place, min(SAMPLE, count))
            for place in places
        )


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

    def __init__(self, array: NDArray[Any], file: MappedFile, begin: int, name: str) -> None:
        """`begin` is the position in the file of the array's first value, in bytes."""
        self.name = name
        self.file = file
        self.begin = begin
        self.length = len(array)
        self.step_shape: tuple[int, ...] = array.shape[1:]
        self.dtype = array.dtype
        self.strides = array.strides
        # From the first byte of a step to the last one of the same step.
        self.extent = array.dtype.itemsize + sum(
            (size - 1) * abs(stride)
            for size, stride in zip(array.shape[1:], array.strides[1:], strict=True)
        )

    def __len__(self) -> int:
        return self.length

    def read(self, first: int, stop: int) -> NDArray[Any]:
        """Return steps as a new array."""
        steps, stride = stop - first, self.strides[0]
        if steps <= 0:
            return np.empty((0, *self.step_shape), self.dtype)
        if self.extent <= max(abs(stride), self.dtype.itemsize):  # a step's bytes come together
            return self._spaced(self.begin + first * stride, (steps, *self.step_shape))
        # In Fortran's order, for example, a channel's bytes come together.
        channels = range(self.step_shape[0])
        columns = [
            self._spaced(self.begin + first * stride + channel * self.strides[1], (steps,))
            for channel in channels
        ]
        return np.stack(columns, 1)

    def _spaced(self, begin: int, shape: tuple[int, ...]) -> NDArray[Any]:
        """Read an array of this shape, with the map's strides, from a place in the file."""
        strides = self.strides[: len(shape)]
        ends = [(size - 1) * stride for size, stride in zip(shape, strides, strict=True)]
        # Steps or channels in reverse order have smaller and smaller positions.
        lowest = sum(min(end, 0) for end in ends)
        highest = sum(max(end, 0) for end in ends)
        content = self.file.read(begin + lowest, highest - lowest + self.dtype.itemsize)
        return np.ndarray(shape, self.dtype, content, -lowest, strides)


def array_steps(array: Any, name: str, maps: FileMaps | None = None) -> StepSource:
    """Return the steps of an array (T,) or (T, I).

    Args:
        maps: The files that are mapped, where several arrays are looked up.

    Raises:
        DataError: if its values are no numbers, or it has another number of axes.
    """
    if not (hasattr(array, "shape") and hasattr(array, "dtype")):
        raise DataError(
            f"{name} is of the type {type(array).__name__}; expected an array or tensor, (time,) "
            "or (time, channels)"
        )
    try:
        dtype = np.dtype(array.dtype)
    except TypeError:  # one that only its library knows
        raise DataError(
            f"{name} is of type {array.dtype}, which numpy does not know; give an array of numpy "
            "or a tensor"
        ) from None
    check_numbers(dtype, name)
    if len(array.shape) not in (1, 2) or 0 in array.shape[1:]:
        raise DataError(
            f"{name} has the shape {tuple(array.shape)}; expected (time,) or (time, channels)"
        )
    if isinstance(array, np.ma.MaskedArray) and np.ma.getmaskarray(array).any():
        raise DataError(
            f"{name} has masked values; expected a number at each step: fill the gaps first"
        )
    if not isinstance(array, np.ndarray) or not hasattr(os, "pread") or not array.size:
        return ArraySteps(array, name)
    return (
        _mapped_steps(array, name)
        or _steps_by_address(array, name, maps or FileMaps())
        or ArraySteps(array, name)
    )


def _mapped_steps(array: NDArray[Any], name: str) -> StepSource | None:
    """Return the steps of a view of a map of numpy; None if it is none."""
    root: Any = array
    while root is not None and not isinstance(root, np.memmap):
        root = getattr(root, "base", None)
    if not isinstance(root, np.memmap) or root.filename is None:
        return None
    pages: Any = root
    while pages is not None and not isinstance(pages, mmap.mmap):
        pages = getattr(pages, "base", None)
    if pages is None:
        return None
    resident = ResidentSteps(array, pages.size, len(pages), name)
    if root.mode == "c":  # a private copy
        return resident
    start = np.frombuffer(pages, np.uint8).__array_interface__["data"][0]
    address = array.__array_interface__["data"][0]
    # numpy maps from the last border of pages before its offset.
    offset = root.offset - root.offset % mmap.ALLOCATIONGRANULARITY
    try:
        file = mapped_file(Path(root.filename))
    except OSError:  # the file has another place now, or is closed to us: the map still works
        return resident
    # The size of the map's own file is known, so a file of another size is another file.
    if pages.size() != file.size() or not file.holds(pages, offset):
        return resident
    return MappedSteps(array, file, offset + address - start, name)


def _steps_by_address(array: NDArray[Any], name: str, maps: FileMaps) -> StepSource | None:
    """Return the steps of an array in a map that only the system knows; None if it is in none."""
    root: Any = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    if root.base is None:  # memory of numpy's own
        return None
    address = array.__array_interface__["data"][0]
    ends = [(n - 1) * stride for n, stride in zip(array.shape, array.strides, strict=True)]
    low = address + sum(min(end, 0) for end in ends)
    high = address + sum(max(end, 0) for end in ends) + array.itemsize
    region = maps.find(low, high)
    if region is None:
        return None
    begin = region.offset + low - region.begin
    try:
        file = mapped_file(region.path)
    except OSError:  # as above
        return None
    if not region.shared:  # its values may differ from the file's
        return ResidentSteps(array, file.size, begin + high - low, name)
    content: Any = (ctypes.c_char * (high - low)).from_address(low)
    if not file.holds(content, begin):
        return None
    return MappedSteps(array, file, begin + address - low, name)
