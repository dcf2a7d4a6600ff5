"""Texts of a table's cells to arrays: what a column seems to hold; its numbers, steps, texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gatewright.data.missing import NO_NAME, NO_VALUE, is_missing
from gatewright.data.times import TimeCells, could_be_time

# What a column is read as. "step" is a number that counts time; "nothing" an empty column.
Kind = Literal["number", "step", "time", "text", "nothing"]

# A network's float32 ends at 3.4e38: up to here differences and what is scaled by them fit too.
LARGEST = 1e30

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.I)
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)


def number_of(cell: str, decimal_comma: bool = False) -> float | None:
    """The number in a cell, NaN where it is missing, None where it is something else.

    >>> number_of(" 1.5e3 "), number_of("1,5", decimal_comma=True), number_of("1_000")
    (1500.0, 1.5, None)
    """
    text = cell.strip()
    if text.lower() in NO_VALUE:
        return float("nan")
    if decimal_comma and _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    return float(text) if _NUMBER.fullmatch(text) else None


def kind_of(cells: Sequence[str], decimal_comma: bool = False) -> Kind:
    """What the majority of these cells are; a minority is for the strict reading to name."""
    present = [cell.strip() for cell in cells if not is_missing(cell)]
    if not present:
        return "nothing"
    numbers = sum(number_of(cell, decimal_comma) is not None for cell in present)
    if 2 * numbers > len(present):
        return "number"
    times = sum(could_be_time(cell) for cell in present)
    return "time" if 2 * times > len(present) else "text"


class Cells(Protocol):
    """Collects a column, chunk by chunk, and returns it as an array."""

    def add(self, cells: Sequence[str], first: int) -> tuple[int, str] | None:
        """Take cells, the first of them in row `first`; (row, what is wrong there) or None."""

    def problem(self) -> tuple[int, str] | None:
        """(row, what is wrong) that only the whole column shows, or None."""

    def notes(self) -> tuple[str, ...]:
        """What a reader should be told of how the column was read."""

    def done(self) -> Any:
        """The column."""


class NumberCells:
    """A column of numbers: float64, NaN where one is missing, infinities as they are."""

    def __init__(self, decimal_comma: bool = False) -> None:
        self._parts: list[NDArray[np.float64]] = []
        self._decimal_comma = decimal_comma

    def add(self, cells: Sequence[str], first: int) -> tuple[int, str] | None:
        """Take these cells."""
        values = _plain_numbers(cells)
        if values is None:
            values = np.empty(len(cells))
            for at, cell in enumerate(cells):
                number = number_of(cell, self._decimal_comma)
                if number is None:
                    return first + at, f"{cell!r} is not a number; write one"
                values[at] = number
        # NaN compares false, so only what is there can be too large.
        for at in np.flatnonzero(np.abs(values) > LARGEST).tolist():
            if "n" not in cells[at].lower():  # it does not say "inf" itself
                return first + at, f"{cells[at]!r} is too large; expected at most {LARGEST:g}"
        self._parts.append(values)
        return None

    def problem(self) -> tuple[int, str] | None:
        """A column of numbers has no fault of its own."""
        return None

    def notes(self) -> tuple[str, ...]:
        """Nothing to be told."""
        return ()

    def done(self) -> NDArray[np.float64]:
        """(rows,), float64."""
        return np.concatenate([np.empty(0), *self._parts])


def _plain_numbers(cells: Sequence[str]) -> NDArray[np.float64] | None:
    """The fast way, for cells that all hold a number written plainly; else None."""
    joined = "".join(cells)
    if "_" in joined or not joined.isascii():  # Python's float() takes 1_000 and other digits
        return None
    try:
        return np.array(list(map(float, cells)))
    except ValueError:
        return None


class StepCells(NumberCells):
    """A column of numbers that counts time: int64 where all are whole, else float64."""

    def done(self) -> NDArray[Any]:
        """(rows,), int64 or float64."""
        values = super().done()
        return whole_if_possible(values)


def whole_if_possible(values: NDArray[np.float64]) -> NDArray[Any]:
    """As int64 where every number is whole and exactly kept by float64."""
    if np.isfinite(values).all() and (np.abs(values) < 2**53).all():
        whole = values.astype(np.int64)
        if (whole == values).all():
            return whole
    return values


class TextCells:
    """A column of names, each kept once: (codes, names), code -1 where one is missing."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.int64]] = []
        self._names: dict[str, int] = {}

    def add(self, cells: Sequence[str], first: int) -> tuple[int, str] | None:
        """Take these cells; a name is never wrong."""
        names = self._names
        codes = [
            -1 if cell.lower() in NO_NAME else names.setdefault(cell, len(names))
            for cell in map(str.strip, cells)
        ]
        self._parts.append(np.array(codes, dtype=np.int64))
        return None

    def problem(self) -> tuple[int, str] | None:
        """A column of names has no fault of its own."""
        return None

    def notes(self) -> tuple[str, ...]:
        """Nothing to be told."""
        return ()

    def done(self) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """((rows,), names in the order in which they came)."""
        return np.concatenate([np.empty(0, np.int64), *self._parts]), tuple(self._names)


def collector(kind: Kind, decimal_comma: bool = False) -> Cells:
    """What collects a column that is to be read as this."""
    if kind == "time":
        return TimeCells()
    if kind == "text":
        return TextCells()
    return StepCells(decimal_comma) if kind == "step" else NumberCells(decimal_comma)
