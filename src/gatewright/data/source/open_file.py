"""Open a user's file safely: errors of the system, limits, and changes while it is read."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from gatewright.data.source.compression import open_bytes
from gatewright.data.source.encoding import describe_fault
from gatewright.errors import DataError

MAX_LINE_LENGTH = 1 << 24  # characters in a line of a table


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
    if identity(before) != identity(after):
        raise DataError(
            f"{path} changed while it was read, from {before.st_size} to {after.st_size} bytes; "
            "read it again when no other program writes to it"
        )


def identity(status: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file is replaced or written to."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


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
                raise DataError(describe_fault(path, str(error))) from None
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
