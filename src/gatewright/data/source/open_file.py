"""Open a user's file safely: compression, encoding, size limits, and changes while it is read."""

from __future__ import annotations

import codecs
import gzip
import io
import os
import re
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

from gatewright.errors import ArgumentError, DataError

MAX_LINE_LENGTH = 1 << 24  # characters in a line of a table

_BLOCK = 1 << 20  # bytes read at once
# A compressed file may unpack to the larger of these: a number of bytes, or a multiple of its
# size. Tables of numbers compress to between a tenth and a half; a file that compresses to less
# than a fiftieth was made to fill the memory.
_MAX_UNPACKED_BYTES, _MAX_UNPACKED_RATIO = 1 << 26, 50
# Control characters, and the bytes that Windows-1252 does not define.
_NOT_TEXT = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f\x81\x8d\x8f\x90\x9d]")

# The first bytes of files that are not text, and what to do about them.
_MAGIC = {
    b"PK\x03\x04": "looks like a zip archive or an Excel workbook: save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "looks like an old Excel workbook: save the sheet as CSV",
    b"PAR1": "looks like Parquet: give it the ending .parquet",
    b"\x1f\x8b": "looks like gzip: give it the ending .gz",
    b"\x89HDF": "looks like HDF5: save the table as CSV or Parquet",
    b"\x93NUMPY": "looks like a NumPy array: save it as CSV",
}


def is_gzipped(path: Path) -> bool:
    """Return True if the file's name ends in .gz."""
    return path.suffix.lower() == ".gz"


def inner_suffix(path: Path) -> str:
    """Return the ending that names the format: ".csv" for `a.CSV` and for `a.csv.gz`."""
    inner = Path(path.stem) if is_gzipped(path) else path
    return inner.suffix.lower()


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Guard the reading of a file: convert the system's errors, and detect changes.

    Raises `DataError` if the file is empty, not a regular file, not readable, damaged as gzip,
    or changed between the start and the end; `FileNotFoundError` if it does not exist.
    """
    try:
        before = path.stat()
        if not stat.S_ISREG(before.st_mode):
            kind = "a directory" if stat.S_ISDIR(before.st_mode) else "not a regular file"
            raise DataError(f"{path} is {kind}; expected a file with data")
        if not before.st_size:
            raise DataError(f"{path} is empty; expected data in it")
        yield
        after = path.stat()
    except FileNotFoundError:
        raise  # `read` knows what else the name may mean
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} is damaged or not a gzip file ({error}); compress it again"
        ) from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}; check its permissions"
        ) from error
    if _identity(before) != _identity(after):
        raise DataError(
            f"{path} changed while it was read, from {before.st_size} to {after.st_size} bytes; "
            "read it again when no other program writes to it"
        )


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


@dataclass(frozen=True, slots=True)
class Encoding:
    """The encoding of a file, and a note for the user if it had to be guessed."""

    name: str
    note: str = ""


def check_encoding(name: str) -> str:
    """Return the name, or raise `ArgumentError` if Python has no such text encoding."""
    try:
        "a".encode(name)
    except (LookupError, ValueError):
        raise ArgumentError(
            f"encoding is {name!r}, which is not known; expected a name like 'utf-8', 'cp1252' "
            "(Western Windows, also for Latin-1) or 'utf-16'"
        ) from None
    return name


def find_encoding(path: Path) -> Encoding:
    """Detect the encoding: UTF-8, UTF-16 with a byte-order mark, else Windows-1252.

    Windows-1252 includes Latin-1. Raises `DataError` if the file has bytes that it does not
    define, since then it is not text.
    """
    with open_bytes(path) as file:
        start = file.read(4)
        if start.startswith((b"\xff\xfe", b"\xfe\xff")) and start[:4] != b"\xff\xfe\0\0":
            return Encoding("utf-16", "its encoding is UTF-16, by its first bytes")
        file.seek(0)
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        try:
            while block := file.read(_BLOCK):
                decoder.decode(block)
            decoder.decode(b"", final=True)
            return Encoding("utf-8-sig")
        except UnicodeDecodeError as error:
            reason = error.reason
    with open_bytes(path) as file:
        while block := file.read(_BLOCK):
            if _NOT_TEXT.search(block):
                raise DataError(_not_text(path, reason))
    example = _first_non_ascii_word(path)
    note = f"it is not UTF-8 and is read as Windows-1252 (Latin-1), for example {example!r}"
    return Encoding("cp1252", f"{note}; pass encoding= if this is wrong")


def _first_non_ascii_word(path: Path) -> str:
    """Return the first word with a letter beyond ASCII, from which a user sees a wrong guess."""
    with open_bytes(path) as file:
        while block := file.read(_BLOCK):
            if match := re.search(rb"[^\s,;|\t\"]*[\x80-\xff][^\s,;|\t\"]*", block):
                return match[0][:20].decode("cp1252", "replace")
    return ""


@contextmanager
def open_text(path: Path, newline: str | None, encoding: str = "utf-8-sig") -> Iterator[TextIO]:
    """Open a file as text, without its byte-order mark; use it inside `guarded`.

    Raises `DataError` if the file is not in this encoding. `newline` is the argument of `open`.
    """
    with (
        open_bytes(path) as binary,
        io.TextIOWrapper(binary, encoding=encoding, newline=newline) as file,
    ):
        try:
            yield file
        except UnicodeError as error:
            if encoding == "utf-8-sig":
                raise DataError(_not_text(path, str(error))) from None
            raise DataError(
                f"{path} is not written in the encoding {encoding} ({error}); pass another one "
                "with encoding="
            ) from None


def lines_of(source: str, file: TextIO, max_length: int = MAX_LINE_LENGTH) -> Iterator[str]:
    """Yield the lines of a file; a line without end is refused before it fills the memory."""
    number = 0
    while line := file.readline(max_length + 1):
        number += 1
        if len(line) > max_length:
            raise DataError(
                f"{source}, line {number} has more than {max_length:,} characters; expected "
                "shorter lines: is this another kind of file, or are its line ends lost?"
            )
        yield line


def open_bytes(path: Path) -> BinaryIO:
    """Open the bytes of a file, decompressed if its name ends in .gz."""
    if not is_gzipped(path):
        return open(path, "rb")
    max_bytes = max(_MAX_UNPACKED_BYTES, _MAX_UNPACKED_RATIO * path.stat().st_size)
    return cast(BinaryIO, io.BufferedReader(_GzipReader(path, max_bytes), _BLOCK))


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


def _not_text(path: Path, reason: str) -> str:
    """Write the message for a file that is not text, with the place of its first wrong byte.

    The decoder's own error counts from the start of its buffer, not of the file.
    """
    offset = 0  # of the block in the file
    with open_bytes(path) as file:
        start = file.read(8)
        for magic, hint in _MAGIC.items():
            if start.startswith(magic):
                return f"{path} is not text; it {hint}"
        file.seek(0)
        number = 1
        decoder = codecs.getincrementaldecoder("utf-8")()
        while block := file.read(_BLOCK):
            pending = len(decoder.getstate()[0])  # bytes of a character cut off by the last block
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                index = error.start - pending
                number += block[: max(index, 0)].count(b"\n")
                byte = error.object[error.start]
                return (
                    f"{path}, line {number}: byte {byte:#04x} at position {offset + index} is not "
                    "text, neither in UTF-8 nor in Windows-1252; save the file as UTF-8, or name "
                    "its encoding with encoding="
                )
            number += block.count(b"\n")
            offset += len(block)
    return f"{path} is not UTF-8 text ({reason}); save the file as UTF-8"
