"""Open a file of the user's: what it is, whether it is text, and that it stays the same."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from gatewright.errors import DataError

# How a file begins that is certainly no text, and what to do about it.
_MAGIC = {
    b"PK\x03\x04": "looks like a zip archive or an Excel workbook: save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "looks like an old Excel workbook: save the sheet as CSV",
    b"PAR1": "looks like Parquet: give it the ending .parquet",
    b"\x1f\x8b": "looks like gzip: give it the ending .gz",
    b"\xff\xfe": "looks like UTF-16: save it as UTF-8",
    b"\xfe\xff": "looks like UTF-16: save it as UTF-8",
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


@contextmanager
def open_text(path: Path, newline: str | None) -> Iterator[TextIO]:
    """The file as UTF-8 text, a byte-order mark skipped; for use inside of `steady`.

    What is not UTF-8 is a `DataError` with line and byte. `newline` is that of `open`.
    """
    with (
        _open(path) as binary,
        io.TextIOWrapper(binary, encoding="utf-8-sig", newline=newline) as file,
    ):
        try:
            yield file
        except UnicodeDecodeError as error:
            raise DataError(_not_text(path, error)) from None


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb")) if is_gzipped(path) else open(path, "rb")


def _not_text(path: Path, error: UnicodeDecodeError) -> str:
    """Where the first byte is that is not UTF-8: the decoder only knows its own buffer."""
    offset = 0
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if number == 1:
                for start, hint in _MAGIC.items():
                    if line.startswith(start):
                        return f"{path} is not UTF-8 text; it {hint}"
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as found:
                at = offset + found.start
                return (
                    f"{path}, line {number}: byte {line[found.start]:#04x} at position {at} is "
                    "not UTF-8 text; save the file as UTF-8"
                )
            offset += len(line)
    return f"{path} is not UTF-8 text ({error.reason}); save the file as UTF-8"
