"""Plain text, as characters or as bytes.

Characters are decoded in pieces and stored in one byte each if the alphabet has at most 256
symbols, else in four. Bytes are stored as they are. A file of a gigabyte or more is mapped into
memory instead of read, so it may be larger than memory. (If another program truncates a mapped
file, the operating system ends the process; smaller files are read and have no such risk.)
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from gatewright.data.containers.text import Text
from gatewright.data.source.compression import is_gzipped, open_bytes
from gatewright.data.source.open_file import open_text
from gatewright.data.source.request import Reading, Request
from gatewright.errors import DataError

_PIECE = 1 << 20  # characters decoded at once
_MIN_MAPPED = 1 << 30  # size in bytes from which on a file is mapped


def read_text(
    path: Path, name: str, request: Request, why: str, encoding: str = "utf-8-sig"
) -> Reading:
    """Read a file as a text of characters or bytes. `why` is the reason to read it as text."""
    request.without_marks(path.name)
    request.without_columns(path.name, "is read as a text, which has no columns")
    request.for_tasks(path.name, "next symbol")
    if request.text == "bytes":
        return Reading(_read_bytes(path, name), "next symbol", why, path.name)
    text, notes = _read_characters(path, name, encoding)
    return Reading(replace(text, unit=request.text), "next symbol", why, path.name, notes)


def _read_bytes(path: Path, name: str) -> Text:
    if is_gzipped(path):
        with open_bytes(path) as packed:
            return Text.from_bytes(packed.read(), name=name)
    with open(path, "rb") as file:
        if path.stat().st_size < _MIN_MAPPED:
            return Text.from_bytes(file.read(), name=name)
        return Text.from_bytes(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), name=name)


def _read_characters(path: Path, name: str, encoding: str) -> tuple[Text, tuple[str, ...]]:
    """Return the text with one kind of line end, and a note if the file mixes them."""
    with open_text(path, newline=None, encoding=encoding) as file:
        text = Text.from_points(_code_points(path, file), name=name)
        ends = file.newlines
    if isinstance(ends, tuple):
        names = {"\n": "LF", "\r\n": "CRLF", "\r": "CR"}
        mixed = " and ".join(sorted(names[end] for end in ends))
        return text, (f"line ends are mixed ({mixed}); each is read as one line feed",)
    return text, ()


def _code_points(path: Path, file: TextIO) -> Iterator[NDArray[np.uint32]]:
    """Yield the code points of a text, piece by piece."""
    position = 0
    while piece := file.read(_PIECE):
        if "\0" in piece:
            raise DataError(
                f"{path.name} has the character NUL at position {position + piece.index(chr(0))}: "
                "it is UTF-16 or not a text; save it as UTF-8, or pass text='bytes'"
            )
        yield np.frombuffer(piece.encode("utf-32-le"), dtype=np.uint32)
        position += len(piece)
