"""A text as codes: the data of a model that predicts the next symbol."""

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
    unit: str = "characters"  # or "bytes", or "pairs" of characters that a model is to join
    name: str = "text"
    about: str = ""  # one or two sentences for a report
    licence: str = ""  # the terms, and the source to cite

    def __post_init__(self) -> None:
        """Check that the parts fit together, so that no later code has to."""
        if self.unit not in UNITS:
            expected = " or ".join(map(repr, UNITS))
            raise ArgumentError(f"unit is {self.unit!r}; expected {expected}")
        if self.codes.ndim != 1 or self.codes.dtype.kind not in "ui":
            raise DataError(
                f"text {self.name} has codes of shape {self.codes.shape} and type "
                f"{self.codes.dtype}; expected whole numbers, (T,)"
            )
        if not len(self.codes):
            raise DataError(f"text {self.name} is empty; expected at least one symbol")
        if len(set(self.alphabet)) < len(self.alphabet):
            raise DataError(
                f"the alphabet of text {self.name} has a symbol twice; expected each symbol once"
            )
        # Every uint8 is a code of the 256 bytes: no need to read a file that may be mapped.
        if not (self.codes.dtype == np.uint8 and len(self.alphabet) == 256) and (
            int(self.codes.max()) >= len(self.alphabet) or int(self.codes.min()) < 0
        ):
            raise DataError(
                f"text {self.name} has codes from {self.codes.min()} to {self.codes.max()}; "
                f"expected 0 to {len(self.alphabet) - 1}, the alphabet's positions"
            )

    @classmethod
    def from_string(cls, text: str, **about: str) -> Text:
        """Encode the characters of a string, with the alphabet that occurs in it."""
        # Code points as one array: a loop over the characters would be slow for whole books.
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        return cls.from_points([points], **about)

    @classmethod
    def from_points(cls, pieces: Iterable[NDArray[np.uint32]], **about: str) -> Text:
        """Encode Unicode code points, in pieces that need not be in memory together."""
        alphabet = np.empty(0, dtype=np.uint32)
        encoded: list[tuple[NDArray[np.uint32], NDArray[np.unsignedinteger]]] = []
        for points in pieces:
            symbols, codes = np.unique(points, return_inverse=True)
            encoded.append((symbols, _narrow(codes, len(symbols))))
            alphabet = np.union1d(alphabet, symbols)
        empty = _narrow(np.empty(0, dtype=np.int64), len(alphabet))
        joined = [  # from the alphabet of each piece to the common one
            _narrow(np.searchsorted(alphabet, symbols), len(alphabet))[codes]
            for symbols, codes in encoded
        ]
        return cls(np.concatenate([empty, *joined]), tuple(map(chr, alphabet.tolist())), **about)

    @classmethod
    def from_bytes(cls, content: bytes | mmap.mmap, **about: str) -> Text:
        """Encode bytes; the codes are a view of `content`, so a memory map stays on disk."""
        if not len(content):
            name = about.get("name", "text")
            raise DataError(f"text {name} is empty; expected at least one symbol")
        return cls(np.frombuffer(content, dtype=np.uint8), BYTES, unit="bytes", **about)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def symbols(self) -> str:
        """The kind of its symbols: characters or bytes."""
        return "bytes" if self.unit == "bytes" else "characters"

    def __repr__(self) -> str:
        return (
            f"Text({self.name!r}, symbols={len(self)}, alphabet={len(self.alphabet)}, "
            f"unit={self.unit!r})"
        )

    def split(self, fraction: float) -> tuple[Text, Text]:
        """Split into (the rest, the last `fraction`), by position, without copying."""
        if not 0.0 < fraction < 1.0:
            raise ArgumentError(f"fraction is {fraction}; expected a number between 0 and 1")
        border = len(self) - round(fraction * len(self))
        if not 0 < border < len(self):
            raise DataError(
                f"text {self.name} has {len(self)} symbols, too few to split off {fraction:g} of "
                "them; use a longer text"
            )
        return self.part(0, border), self.part(border, len(self))

    def part(self, start: int, stop: int) -> Text:
        """Return the symbols from `start` up to `stop`, which is excluded; the alphabet stays."""
        return replace(self, codes=self.codes[start:stop])

    def encode(self, text: str | bytes) -> NDArray[np.unsignedinteger]:
        """Encode another text in this alphabet, (T,).

        Raises `DataError` for a symbol that is not in the alphabet.
        """
        symbols = [f"{byte:02x}" for byte in text] if isinstance(text, bytes) else list(text)
        if isinstance(text, bytes) != (self.unit == "bytes"):
            expected = "bytes" if self.unit == "bytes" else "a string"
            raise ArgumentError(
                f"text {self.name} is made of {self.symbols} and was given {type(text).__name__}; "
                f"expected {expected}"
            )
        code_of = {symbol: code for code, symbol in enumerate(self.alphabet)}
        for position, symbol in enumerate(symbols):
            if symbol not in code_of:
                raise DataError(
                    f"symbol {symbol!r} at position {position} is not in the alphabet of "
                    f"{self.name} ({len(self.alphabet)} symbols); leave it out or replace it"
                )
        return np.array([code_of[symbol] for symbol in symbols], dtype=self.codes.dtype)

    def decode(self, codes: NDArray[np.integer]) -> str | bytes:
        """Return the symbols with these codes: a string, or bytes if the unit is bytes."""
        symbols = [self.alphabet[int(code)] for code in codes]
        return bytes.fromhex("".join(symbols)) if self.unit == "bytes" else "".join(symbols)


#: The units of a text; "pairs" are characters that a model joins to frequent pieces.
UNITS = ("characters", "bytes", "pairs")
BYTES = tuple(f"{byte:02x}" for byte in range(256))


def _narrow(codes: NDArray[np.integer], symbols: int) -> NDArray[np.unsignedinteger]:
    """Store codes in one byte each if the alphabet has at most 256 symbols, else in four."""
    return codes.astype(np.uint8) if symbols <= 256 else codes.astype(np.uint32)
