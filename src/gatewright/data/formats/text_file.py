"""Plain text, as characters or as bytes.

Characters are decoded in pieces and kept as one byte each while the alphabet has at most 256
of them, four otherwise. Bytes are kept as they are; a file of more than a gigabyte is mapped
into memory instead of read, so it may be larger than memory. (A file that is cut while it is
mapped ends the process, by the way operating systems work; smaller ones cannot.)
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from gatewright.data.containers.text import Text
from gatewright.data.source.open_file import is_gzipped, open_bytes, open_text
from gatewright.data.source.request import Reading, Request
from gatewright.errors import DataError

_PIECE = 1 << 20  # characters decoded at once
_MAPPED = 1 << 30  # bytes from which on a file is mapped


def read_text(
    path: Path, name: str, request: Request, why: str, encoding: str = "utf-8-sig"
) -> Reading:
    """The text that a file holds, as characters or as bytes."""
    request.without_marks(path.name)
    request.without_columns(path.name, "is read as a text, which has no columns").for_tasks(
        path.name, "next symbol"
    )
    if request.text == "bytes":
        return Reading(_bytes(path, name), "next symbol", why, path.name)
    text, notes = _characters(path, name, encoding)
    return Reading(text, "next symbol", why, path.name, notes)


def _bytes(path: Path, name: str) -> Text:
    if is_gzipped(path):
        with open_bytes(path) as packed:
            return Text.from_bytes(packed.read(), name=name)
    with open(path, "rb") as file:
        if path.stat().st_size < _MAPPED:
            return Text.from_bytes(file.read(), name=name)
        return Text.from_bytes(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), name=name)


def _characters(path: Path, name: str, encoding: str) -> tuple[Text, tuple[str, ...]]:
    """The text with one kind of line end, and what was noticed."""
    with open_text(path, newline=None, encoding=encoding) as file:
        text = Text.from_points(_pieces(path, file), name=name)
        ends = file.newlines
    if isinstance(ends, tuple):
        names = {"\n": "LF", "\r\n": "CRLF", "\r": "CR"}
        mixed = " and ".join(sorted(names[end] for end in ends))
        return text, (f"line ends are mixed ({mixed}); each is read as one line feed",)
    return text, ()


def _pieces(path: Path, file: TextIO) -> Iterator[NDArray[np.uint32]]:
    """The text as code points, piece by piece."""
    done = 0
    while piece := file.read(_PIECE):
        if "\0" in piece:
            raise DataError(
                f"{path.name} holds the character NUL at position {done + piece.index(chr(0))}: "
                "it is UTF-16 or no text at all; save it as UTF-8, or read it as bytes"
            )
        yield np.frombuffer(piece.encode("utf-32-le"), dtype=np.uint32)
        done += len(piece)
