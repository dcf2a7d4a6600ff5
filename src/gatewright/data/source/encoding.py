"""Detect the encoding of a file, or show where it is not text."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

from gatewright.data.source.compression import open_bytes
from gatewright.errors import ArgumentError, DataError

_BLOCK = 1 << 20  # bytes read at once
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
                raise DataError(describe_fault(path, reason))
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


def describe_fault(path: Path, reason: str) -> str:
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
