"""The symbols of a text file of any size, as codes that are decoded where they are read."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.chunks.forward_reader import ForwardReader
from gatewright.data.chunks.unchanged import UnchangedFile
from gatewright.data.containers.text import BYTES
from gatewright.data.source.compression import is_gzipped
from gatewright.data.source.encoding import describe_fault, find_encoding
from gatewright.errors import ArgumentError, DataError

#: Bytes that are decoded together; each row of a batch holds the codes of as many.
BLOCK = 1 << 14
#: Bytes between two marks: a text of 100 GB has 100,000 of them.
MARKED = 1 << 20
#: Unicode has fewer code points.
CODE_POINTS = 0x110000


@dataclass(frozen=True, slots=True)
class Mark:
    """A place where a text can be read on: its byte and character, and the decoder's state."""

    byte: int
    symbol: int
    decoder: tuple[bytes, int]


class TextSteps:
    """The characters or bytes of a text file, each as its position in the alphabet.

    The file is read once to count its characters and to collect its alphabet; the marks of that
    pass, one for each megabyte, let any place be read without what comes before it. Line ends
    become line feeds and a byte-order mark is left out, as in `gatewright.read`.

    Raises:
        DataError: if the file is compressed, empty or no text.
    """

    step_shape: tuple[int, ...] = ()
    dtype: np.dtype[Any] = np.dtype(np.int64)

    def __init__(self, path: Path, unit: str) -> None:
        if unit not in ("characters", "bytes"):
            raise ArgumentError(f"text is {unit!r}; expected 'characters' or 'bytes'")
        if is_gzipped(path):
            raise DataError(
                f"{path} is compressed, so that it can be read from its beginning only; "
                "decompress it first (gunzip)"
            )
        self.path = path
        self.name = path.name
        self.file = UnchangedFile.of(path)
        if unit == "bytes":
            self.encoding = None
            self.alphabet = BYTES
            self.length = path.stat().st_size
        else:
            self.encoding = find_encoding(path).name
            self._index()
        if not self.length:
            raise DataError(f"{path} is empty; expected a text of at least one symbol")
        self.reader = ForwardReader(path.name, self._codes_from)

    def __len__(self) -> int:
        return self.length

    def read(self, first: int, stop: int) -> NDArray[Any]:
        """Return codes, (stop - first,)."""
        self.file.check()
        return self.reader.read(first, stop)

    def _index(self) -> None:
        """Read the file once: its alphabet, its number of characters and the marks."""
        occurs = np.zeros(CODE_POINTS, bool)
        symbol = 0
        self.marks: list[Mark] = []
        start = Mark(0, 0, self._decoder().getstate())
        for mark, points in self._decoded(start):
            if not self.marks or mark.byte >= self.marks[-1].byte + MARKED:
                self.marks.append(mark)
            occurs[points] = True
            symbol = mark.symbol + len(points)
        if occurs[0]:
            raise DataError(
                f"{self.path} has the character NUL: it is UTF-16 or not a text; save it as "
                "UTF-8, or pass text='bytes'"
            )
        self.length = symbol
        alphabet = np.flatnonzero(occurs)
        self.alphabet = tuple(map(chr, alphabet.tolist()))
        self.code_of = np.zeros(CODE_POINTS, np.int32)
        self.code_of[alphabet] = np.arange(len(alphabet))
        self.symbols_of_marks = np.array([mark.symbol for mark in self.marks])

    def _decoder(self) -> io.IncrementalNewlineDecoder:
        assert self.encoding is not None
        decoder = codecs.getincrementaldecoder(self.encoding)()
        return io.IncrementalNewlineDecoder(decoder, translate=True)

    def _decoded(self, start: Mark) -> Iterator[tuple[Mark, NDArray[np.uint32]]]:
        """Yield code points from a mark on, block by block, each with the mark before it."""
        decoder = self._decoder()
        decoder.setstate(start.decoder)
        byte, symbol, is_last = start.byte, start.symbol, False
        while not is_last:
            block = _block(self.path, byte)
            is_last = not block
            mark = Mark(byte, symbol, decoder.getstate())
            try:
                text = decoder.decode(block, final=is_last)
            except UnicodeError as error:
                raise DataError(describe_fault(self.path, str(error))) from None
            points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
            yield mark, points
            byte += len(block)
            symbol += len(points)

    def _codes_from(self, first: int) -> Iterator[NDArray[Any]]:
        """Yield codes from the symbol `first` on, block by block."""
        if self.encoding is None:
            yield from self._bytes_from(first)
            return
        mark = self.marks[int(np.searchsorted(self.symbols_of_marks, first, "right")) - 1]
        for block, points in self._decoded(mark):
            skipped = max(first - block.symbol, 0)
            yield self.code_of[points[skipped:]]

    def _bytes_from(self, first: int) -> Iterator[NDArray[np.uint8]]:
        while block := _block(self.path, first):
            yield np.frombuffer(block, np.uint8)
            first += len(block)


def _block(path: Path, begin: int) -> bytes:
    """Read a block. The file is closed again: each row of a batch reads at a place of its own."""
    with open(path, "rb") as file:
        file.seek(begin)
        return file.read(BLOCK)
