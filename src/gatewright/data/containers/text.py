"""A text as codes: what a model of the next symbol learns from."""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gatewright.errors import ArgumentError, DataError


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """T symbols, characters or bytes, each as its position in the alphabet.

    >>> text = Text.from_string("abracadabra")
    >>> text
    Text('text', symbols=11, alphabet=5, unit='characters')
    >>> text.codes[:4], text.alphabet
    (array([0, 1, 4, 0], dtype=uint8), ('a', 'b', 'c', 'd', 'r'))
    >>> rest, end = text.split(0.2)
    >>> text.decode(end.codes)
    'ra'
    """

    codes: NDArray[np.unsignedinteger]  # (T,), uint8 where the alphabet allows, else uint32
    alphabet: tuple[str, ...]  # sorted; a byte is its value in two hexadecimal digits
    unit: str = "characters"  # or "bytes"
    name: str = "text"
    about: str = ""  # a sentence or two for a report
    licence: str = ""  # the terms, with the source to be cited

    def __post_init__(self) -> None:
        """Check that the parts fit, so that nothing later has to."""
        if self.unit not in ("characters", "bytes"):
            raise ArgumentError(f"unit is {self.unit!r}; expected 'characters' or 'bytes'")
        if self.codes.ndim != 1 or self.codes.dtype.kind not in "ui":
            raise DataError(
                f"text {self.name} has codes of shape {self.codes.shape} and type "
                f"{self.codes.dtype}; expected whole numbers, (T,)"
            )
        if not len(self.codes):
            raise DataError(f"text {self.name} is empty; expected at least one symbol")
        if len(set(self.alphabet)) < len(self.alphabet):
            raise DataError(f"the alphabet of text {self.name} holds a symbol twice")
        # Of bytes every code is a symbol by its type; the file need not be read for it.
        if not (self.codes.dtype == np.uint8 and len(self.alphabet) == 256) and (
            int(self.codes.max()) >= len(self.alphabet) or int(self.codes.min()) < 0
        ):
            raise DataError(
                f"text {self.name} has codes from {self.codes.min()} to {self.codes.max()}; "
                f"expected 0 to {len(self.alphabet) - 1}, the alphabet's positions"
            )

    @classmethod
    def from_string(cls, text: str, **about: str) -> Text:
        """The characters of a string, with the alphabet that occurs in it."""
        # Code points as numbers: a hundred times faster than a loop over characters.
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        return cls.from_points([points], **about)

    @classmethod
    def from_points(cls, pieces: Iterable[NDArray[np.uint32]], **about: str) -> Text:
        """The same from Unicode code points, in pieces that need not be in memory together."""
        alphabet = np.empty(0, dtype=np.uint32)
        kept: list[tuple[NDArray[np.uint32], NDArray[np.unsignedinteger]]] = []
        for points in pieces:
            seen, codes = np.unique(points, return_inverse=True)
            kept.append((seen, _narrow(codes, len(seen))))
            alphabet = np.union1d(alphabet, seen)
        empty = _narrow(np.empty(0, dtype=np.int64), len(alphabet))
        joined = [  # from each piece's own alphabet to the common one
            _narrow(np.searchsorted(alphabet, seen), len(alphabet))[codes] for seen, codes in kept
        ]
        return cls(np.concatenate([empty, *joined]), tuple(map(chr, alphabet.tolist())), **about)

    @classmethod
    def from_bytes(cls, content: bytes | mmap.mmap, **about: str) -> Text:
        """Bytes; the codes are a view of `content`, so a memory map is not read into memory."""
        if not len(content):
            raise DataError(f"text {about.get('name', 'text')} is empty; expected a symbol")
        return cls(np.frombuffer(content, dtype=np.uint8), BYTES, unit="bytes", **about)

    def __len__(self) -> int:
        return len(self.codes)

    def __repr__(self) -> str:
        return (
            f"Text({self.name!r}, symbols={len(self)}, alphabet={len(self.alphabet)}, "
            f"unit={self.unit!r})"
        )

    def split(self, fraction: float) -> tuple[Text, Text]:
        """(the rest, the last `fraction` of it), by position; nothing is copied."""
        if not 0.0 < fraction < 1.0:
            raise ArgumentError(f"fraction is {fraction}; expected a number between 0 and 1")
        at = len(self) - round(fraction * len(self))
        if not 0 < at < len(self):
            raise DataError(
                f"text {self.name} has {len(self)} symbols: too few to take {fraction:g} off"
            )
        return self.part(0, at), self.part(at, len(self))

    def part(self, start: int, stop: int) -> Text:
        """The symbols from `start` to before `stop`, with the same alphabet."""
        return replace(self, codes=self.codes[start:stop])

    def encode(self, text: str | bytes) -> NDArray[np.unsignedinteger]:
        """(T,), another text in this alphabet; `DataError` names a symbol that is not in it."""
        symbols = [f"{byte:02x}" for byte in text] if isinstance(text, bytes) else list(text)
        if isinstance(text, bytes) != (self.unit == "bytes"):
            raise ArgumentError(f"{type(text).__name__} was given to a text of {self.unit}")
        position = {symbol: at for at, symbol in enumerate(self.alphabet)}
        for at, symbol in enumerate(symbols):
            if symbol not in position:
                raise DataError(
                    f"symbol {symbol!r} at position {at} is not in the alphabet of "
                    f"{self.name} ({len(self.alphabet)} symbols); leave it out or replace it"
                )
        return np.array([position[symbol] for symbol in symbols], dtype=self.codes.dtype)

    def decode(self, codes: NDArray[np.integer]) -> str | bytes:
        """The symbols that these codes stand for: a string, or bytes where the unit is bytes."""
        symbols = [self.alphabet[int(code)] for code in codes]
        return bytes.fromhex("".join(symbols)) if self.unit == "bytes" else "".join(symbols)


BYTES = tuple(f"{byte:02x}" for byte in range(256))


def _narrow(codes: NDArray[np.integer], symbols: int) -> NDArray[np.unsignedinteger]:
    """Codes in one byte each where that is enough, else in four."""
    return codes.astype(np.uint8) if symbols <= 256 else codes.astype(np.uint32)
