"""Columns of numbers, converted in every number format that still fits all of their cells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.missing import is_missing
from gatewright.data.columns.number_format import (
    NUMBER_FORMATS,
    POINT,
    NumberFormat,
    number_of,
    split_sign,
)

# float32 ends at 3.4e38. Below this bound differences and scaled values stay in its range, too.
LARGEST_NUMBER = 1e30

Fault = tuple[int, str]  # a row, and what is wrong there


class NumberColumn:
    """A column of numbers: float64, NaN where one is missing, infinity as it is.

    Every format that fits all cells so far is followed (see `number_format`).
    """

    def __init__(self, number_formats: tuple[NumberFormat, ...] = NUMBER_FORMATS) -> None:
        self._chunks: dict[NumberFormat, list[NDArray[np.float64]]] = {
            number_format: [] for number_format in number_formats
        }
        self._sign: str | None = None  # of a currency or percent; None before the first cell
        self.ambiguous: tuple[int, str] | None = None  # the first cell with two meanings
        self.has_mark = False  # a cell has a decimal mark or a thousands separator
        self.has_whole = False  # a cell is a whole number without either

    @property
    def number_formats(self) -> tuple[NumberFormat, ...]:
        """The formats that fit all cells so far."""
        return tuple(self._chunks)

    def add(self, cells: Sequence[str], first_row: int) -> Fault | None:
        """Convert the next cells; return the fault of the first that does not fit, or None."""
        plain = self._convert_plain(cells)
        if plain is not None:
            chunks = dict.fromkeys(self._chunks, plain)
        else:
            texts = [split_sign(cell.strip()) for cell in cells]
            if fault := self._check_signs(cells, texts):
                return first_row + fault[0], fault[1]
            numbers = [text for text, _ in texts]
            chunks, fault = self._convert_in_each_format(cells, numbers, first_row)
            if fault is not None:
                return first_row + fault[0], fault[1]
        for values in chunks.values():
            # NaN compares as false, so only values that are present can be too large.
            for index in np.flatnonzero(np.abs(values) > LARGEST_NUMBER).tolist():
                if "n" not in cells[index].lower():  # "inf" is refused later, as a missing value
                    return (
                        first_row + index,
                        f"{cells[index]!r} is too large; expected at most {LARGEST_NUMBER:g}",
                    )
        self._chunks = {number_format: self._chunks[number_format] for number_format in chunks}
        for number_format, values in chunks.items():
            self._chunks[number_format].append(values)
        return None

    def _convert_plain(self, cells: Sequence[str]) -> NDArray[np.float64] | None:
        """Convert cells that Python's `float` reads as every remaining format does; else None.

        This is the fast path: 0.8 ms for 4096 cells, where the regular expressions take 67 ms.
        """
        joined = "".join(cells)
        points = "." in joined
        if self._sign or (points and self.number_formats != (POINT,)):
            return None
        if "_" in joined or not joined.isascii():  # float() accepts 1_000 and non-ASCII digits
            return None
        try:
            values = np.array(list(map(float, cells)))
        except ValueError:
            return None
        self._sign = ""
        self.has_mark |= points
        self.has_whole |= not points
        return values

    def _check_signs(self, cells: Sequence[str], texts: Sequence[tuple[str, str]]) -> Fault | None:
        """Find the first cell whose sign of a currency or percent differs from the others'."""
        for index, (text, sign) in enumerate(texts):
            if is_missing(text):
                continue
            if self._sign is None:
                self._sign = sign
            if sign != self._sign and number_of(text, NUMBER_FORMATS) is not None:
                expected = f"with {self._sign}" if self._sign else f"without {sign}"
                return index, f"{cells[index]!r} is among numbers {expected}; write all alike"
        return None

    def _convert_in_each_format(
        self, cells: Sequence[str], texts: Sequence[str], first_row: int
    ) -> tuple[dict[NumberFormat, NDArray[np.float64]], Fault | None]:
        """Convert the cells in each format that fits; if none does, report the best one's fault."""
        columns: dict[NumberFormat, NDArray[np.float64]] = {}
        furthest = 0  # the format that fits the most cells shows best what is wrong
        for number_format in self._chunks:
            numbers = [number_of(text, (number_format,)) for text in texts]
            if None in numbers:
                furthest = max(furthest, numbers.index(None))
            else:
                columns[number_format] = np.array(numbers, dtype=np.float64)
        if not columns:
            return {}, (furthest, self._describe_fault(cells[furthest]))
        self.has_mark |= any(mark in text for text in texts for mark in ".,")
        self.has_whole |= any(text.lstrip("+-").isdigit() for text in texts)
        if len(columns) < 2:
            self.ambiguous = None
        elif self.ambiguous is None:
            point, comma = columns.values()
            different = np.flatnonzero((point != comma) & ~np.isnan(point))
            if len(different):
                self.ambiguous = first_row + int(different[0]), cells[int(different[0])]
        return columns, None

    def _describe_fault(self, cell: str) -> str:
        decimal = self.number_formats[0].decimal
        other = next(
            (known.decimal for known in NUMBER_FORMATS if number_of(cell, (known,)) is not None),
            decimal,
        )
        if len(self.number_formats) == 1 and other != decimal:
            return (
                f"{cell!r} is not a number with the decimal mark {decimal!r}, which the other "
                f"cells or the options use; rewrite it, or read the file with decimal={other!r}"
            )
        if number_of(cell, NUMBER_FORMATS) is not None:
            return (
                f"{cell!r} is not written like the cells above it: decimal marks are mixed; "
                "use one decimal mark in the column"
            )
        return f"{cell!r} is not a number; write one"

    def use_format(self, number_format: NumberFormat) -> None:
        """Drop all other formats."""
        self._chunks = {number_format: self._chunks[number_format]}
        self.ambiguous = None

    def problem(self) -> Fault | None:
        """Return None: the formats of all columns of a file are chosen together."""
        return None

    def notes(self) -> tuple[str, ...]:
        """Return a note on a sign that was removed."""
        return (f"the sign {self._sign} is left out",) if self._sign else ()

    def result(self) -> NDArray[np.float64]:
        """Return the column, (rows,) float64, in its first remaining format."""
        return np.concatenate([np.empty(0), *next(iter(self._chunks.values()))])


class StepColumn(NumberColumn):
    """A column of numbers that count time: int64 if all of them are whole, else float64."""

    def result(self) -> NDArray[Any]:
        """Return the column, (rows,) int64 or float64."""
        return whole_if_possible(super().result())


def whole_if_possible(values: NDArray[np.float64]) -> NDArray[Any]:
    """Convert to int64 if every number is whole and exact in float64 (below 2**53)."""
    if np.isfinite(values).all() and (np.abs(values) < 2**53).all():
        whole = values.astype(np.int64)
        if (whole == values).all():
            return whole
    return values
