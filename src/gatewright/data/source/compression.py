"""Open compressed files like plain ones, with a limit on what they unpack to."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any, BinaryIO, cast

from gatewright.errors import DataError

_BUFFER = 1 << 20  # bytes
# A compressed file may unpack to the larger of these: a number of bytes, or a multiple of its
# size. Tables of numbers compress to between a tenth and a half; a file that compresses to less
# than a fiftieth was made to fill the memory.
_MAX_UNPACKED_BYTES, _MAX_UNPACKED_RATIO = 1 << 26, 50


def is_gzipped(path: Path) -> bool:
    """Return True if the file's name ends in .gz."""
    return path.suffix.lower() == ".gz"


def inner_suffix(path: Path) -> str:
    """Return the ending that names the format: ".csv" for `a.CSV` and for `a.csv.gz`."""
    inner = Path(path.stem) if is_gzipped(path) else path
    return inner.suffix.lower()


def open_bytes(path: Path) -> BinaryIO:
    """Open the bytes of a file, decompressed if its name ends in .gz."""
    if not is_gzipped(path):
        return open(path, "rb")
    max_bytes = max(_MAX_UNPACKED_BYTES, _MAX_UNPACKED_RATIO * path.stat().st_size)
    return cast(BinaryIO, io.BufferedReader(_GzipReader(path, max_bytes), _BUFFER))


class _GzipReader(io.RawIOBase):
    """A gzip file that is refused once it unpacks to more than `max_bytes`."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._file = gzip.GzipFile(path, "rb")
        self._path, self._max_bytes = path, max_bytes

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        block = self._file.read(len(buffer))
        if self._file.tell() > self._max_bytes:
            raise DataError(
                f"{self._path} unpacks to more than {self._max_bytes:,} bytes, "
                f"{_MAX_UNPACKED_RATIO} times its size; if that is right, unpack it yourself and "
                "pass the plain file"
            )
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._file.close()
        super().close()
