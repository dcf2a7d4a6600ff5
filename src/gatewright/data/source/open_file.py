"""Open a file of the user's: what it is, whether it is text, and that it stays the same."""

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

LONGEST_LINE = 1 << 24  # characters of a line of a table: more is no table

_BLOCK = 1 << 20  # bytes read at once
# A packed file may unpack to so many bytes, or to so many times its size: tables of numbers
# take a tenth to a half, and what takes less than a fiftieth was made to fill a memory.
_UNPACKED, _TIMES = 1 << 26, 50
# Control characters, and the bytes that Windows-1252 leaves open.
_NO_LETTERS = re.compile(rb"[\x00-\x08\x0b\x0e-\x1f\x7f\x81\x8d\x8f\x90\x9d]")

# How a file begins that is certainly no text, and what to do about it.
_MAGIC = {
    b"PK\x03\x04": "looks like a zip archive or an Excel workbook: save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "looks like an old Excel workbook: save the sheet as CSV",
    b"PAR1": "looks like Parquet: give it the ending .parquet",
    b"\x1f\x8b": "looks like gzip: give it the ending .gz",
    b"\x89HDF": "looks like HDF5: save the table as CSV or Parquet",
    b"\x93NUMPY": "looks like an array of NumPy: save it as CSV",
}


def is_gzipped(path: Path) -> bool:
    """Does the name say that the file is compressed?"""
    return path.suffix.lower() == ".gz"


def inner_suffix(path: Path) -> str:
    """The ending that says the format, in lower case: ".csv" of `a.CSV` and of `a.csv.gz`."""
    inner = Path(path.stem) if is_gzipped(path) else path
    return inner.suffix.lower()


@contextmanager
def steady(path: Path) -> Iterator[None]:
    """While the file is read: turn the system's errors into ours, and see that it stays the same.

    Raises `DataError` where the file is empty, not a plain file, not to be read, damaged as
    gzip, or changed between the beginning and the end; `FileNotFoundError` where it is not.
    """
    try:
        before = path.stat()
        if not stat.S_ISREG(before.st_mode):
            what = "a directory" if stat.S_ISDIR(before.st_mode) else "not a plain file"
            raise DataError(f"{path} is {what}; expected a file of data")
        if not before.st_size:
            raise DataError(f"{path} is empty; expected data in it")
        yield
        after = path.stat()
    except FileNotFoundError:
        raise  # `read` knows what else the name may have meant
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged or no gzip file ({error}); pack it again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from error
    if _identity(before) != _identity(after):
        raise DataError(
            f"{path} changed while it was read, from {before.st_size} to {after.st_size} bytes; "
            "read it again when nothing writes to it any more"
        )


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@dataclass(frozen=True, slots=True)
class Encoding:
    """The encoding of a file, and a note on how it was chosen."""

    name: str
    note: str = ""  # what a reader should know of the choice


def check_encoding(name: str) -> str:
    """The same, or `ArgumentError` for what Python does not know as an encoding of text."""
    try:
        "a".encode(name)
    except (LookupError, ValueError):
        raise ArgumentError(
            f"encoding is {name!r}, which is not known; expected a name like 'utf-8', 'cp1252' "
            "(Western Windows, also for Latin-1) or 'utf-16'"
        ) from None
    return name


def find_encoding(path: Path) -> Encoding:
    """The encoding of a file: UTF-8, UTF-16 with a byte-order mark, else that of Western Windows.

    Windows-1252 holds Latin-1. What has bytes that are no letters there is no text: `DataError`.
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
            if _NO_LETTERS.search(block):
                raise DataError(_not_text(path, reason))
    example = _first_foreign_word(path)
    note = f"it is not UTF-8 and is read as Windows-1252 (Latin-1), so {example!r} is in it"
    return Encoding("cp1252", f"{note}; say encoding= if it is another one")


def _first_foreign_word(path: Path) -> str:
    """The first word with a letter beyond ASCII, to judge the encoding by."""
    with open_bytes(path) as file:
        while block := file.read(_BLOCK):
            if match := re.search(rb"[^\s,;|\t\"]*[\x80-\xff][^\s,;|\t\"]*", block):
                return match[0][:20].decode("cp1252", "replace")
    return ""


@contextmanager
def open_text(path: Path, newline: str | None, encoding: str = "utf-8-sig") -> Iterator[TextIO]:
    """The file as text, a byte-order mark skipped; for use inside of `steady`.

    What is not written in that encoding is a `DataError`. `newline` is that of `open`.
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
                f"{path} is not written in the encoding {encoding} ({error}); say another one "
                "with encoding="
            ) from None


def lines_of(source: str, file: TextIO, longest: int = LONGEST_LINE) -> Iterator[str]:
    """The lines of a file; one that is endless is a `DataError` before it fills the memory."""
    number = 0
    while line := file.readline(longest + 1):
        number += 1
        if len(line) > longest:
            raise DataError(
                f"{source}, line {number} has more than {longest:,} characters; expected shorter "
                "lines: is it a file of another kind, or are its line ends lost?"
            )
        yield line


def open_bytes(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked where its name says that it is packed."""
    if not is_gzipped(path):
        return open(path, "rb")
    most = max(_UNPACKED, _TIMES * path.stat().st_size)
    return cast(BinaryIO, io.BufferedReader(_Unpacked(path, most), _BLOCK))


class _Unpacked(io.RawIOBase):
    """A packed file that is refused where it turns out to be far larger than it looks."""

    def __init__(self, path: Path, most: int) -> None:
        self._file = gzip.GzipFile(path, "rb")
        self._path, self._most = path, most

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
        if self._file.tell() > self._most:
            raise DataError(
                f"{self._path} unpacks to more than {self._most:,} bytes, {_TIMES} times its size; "
                "if that is right, unpack it yourself and give the plain file"
            )
        buffer[: len(block)] = block
        return len(block)

    def close(self) -> None:
        self._file.close()
        super().close()


def _not_text(path: Path, reason: str) -> str:
    """Name the first byte that is not UTF-8: the decoder only knows its own buffer."""
    offset = 0
    with open_bytes(path) as file:
        start = file.read(8)
        for magic, hint in _MAGIC.items():
            if start.startswith(magic):
                return f"{path} is not text; it {hint}"
        file.seek(0)
        number = 1
        decoder = codecs.getincrementaldecoder("utf-8")()
        while block := file.read(_BLOCK):
            held = len(decoder.getstate()[0])
            try:
                decoder.decode(block)
            except UnicodeDecodeError as error:
                at = error.start - held
                number += block[: max(at, 0)].count(b"\n")
                byte = error.object[error.start]
                return (
                    f"{path}, line {number}: byte {byte:#04x} at position {offset + at} is not "
                    "text, neither in UTF-8 nor in Windows-1252; save the file as UTF-8, or name "
                    "its encoding with encoding="
                )
            number += block.count(b"\n")
            offset += len(block)
    return f"{path} is not UTF-8 text ({reason}); save the file as UTF-8"
