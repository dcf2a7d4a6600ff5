"""Columns of numbers: read in every way of writing that fits, and settled for a whole file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.missing import is_missing
from gatewright.data.columns.number_format import BOTH, POINT, Numerals, number_of, unsigned

# A network's float32 ends at 3.4e38: up to here differences and what is scaled by them fit too.
LARGEST = 1e30

Fault = tuple[int, str]  # a row, and what is wrong there


class NumberCells:
    """A column of numbers: float64, NaN where one is missing, infinities as they are.

    Every way of writing numbers that fits all cells so far is followed (see `numerals`).
    """

    def __init__(self, ways: tuple[Numerals, ...] = BOTH) -> None:
        self._parts: dict[Numerals, list[NDArray[np.float64]]] = {way: [] for way in ways}
        self._sign: str | None = None  # of money or percent; None before the first cell
        self.doubt: tuple[int, str] | None = None  # the first cell that two ways read differently
        self.marked = False  # some cell has a decimal mark or a separator of thousands
        self.whole = False  # some cell is a whole number without either

    @property
    def ways(self) -> tuple[Numerals, ...]:
        """The ways of writing that fit all cells so far."""
        return tuple(self._parts)

    def add(self, cells: Sequence[str], first: int) -> Fault | None:
        """Take these cells."""
        plain = self._plainly(cells)
        if plain is not None:
            columns = dict.fromkeys(self._parts, plain)
        else:
            texts = [unsigned(cell.strip()) for cell in cells]
            if fault := self._other_sign(cells, texts):
                return first + fault[0], fault[1]
            columns, fault = self._in_every_way(cells, [text for text, _ in texts], first)
            if fault is not None:
                return first + fault[0], fault[1]
        for values in columns.values():
            # NaN compares false, so only what is there can be too large.
            for at in np.flatnonzero(np.abs(values) > LARGEST).tolist():
                if "n" not in cells[at].lower():  # it does not say "inf" itself
                    return first + at, f"{cells[at]!r} is too large; expected at most {LARGEST:g}"
        self._parts = {way: self._parts[way] for way in columns}
        for way, values in columns.items():
            self._parts[way].append(values)
        return None

    def _plainly(self, cells: Sequence[str]) -> NDArray[np.float64] | None:
        """The fast way, for cells that Python reads as every way that is left does; else None."""
        joined = "".join(cells)
        points = "." in joined
        if self._sign or (points and self.ways != (POINT,)):
            return None
        if "_" in joined or not joined.isascii():  # Python's float() takes 1_000 and other digits
            return None
        try:
            values = np.array(list(map(float, cells)))
        except ValueError:
            return None
        self._sign = ""
        self.marked |= points
        self.whole |= not points
        return values

    def _other_sign(self, cells: Sequence[str], texts: Sequence[tuple[str, str]]) -> Fault | None:
        """The first cell that has not the sign of money or percent that the others have."""
        for at, (text, sign) in enumerate(texts):
            if is_missing(text):
                continue
            if self._sign is None:
                self._sign = sign
            if sign != self._sign and number_of(text, BOTH) is not None:
                expected = f"with {self._sign}" if self._sign else f"without {sign}"
                return at, f"{cells[at]!r} stands among numbers {expected}; write all alike"
        return None

    def _in_every_way(
        self, cells: Sequence[str], texts: Sequence[str], first: int
    ) -> tuple[dict[Numerals, NDArray[np.float64]], Fault | None]:
        """The values in each way that fits; where none does, the fault of the best one."""
        columns: dict[Numerals, NDArray[np.float64]] = {}
        wrong = 0
        for way in self._parts:
            numbers = [number_of(text, (way,)) for text in texts]
            if None in numbers:
                wrong = max(wrong, numbers.index(None))
            else:
                columns[way] = np.array(numbers, dtype=np.float64)
        if not columns:
            return {}, (wrong, self._not_a_number(cells[wrong]))
        self.marked |= any(mark in text for text in texts for mark in ".,")
        self.whole |= any(text.lstrip("+-").isdigit() for text in texts)
        if len(columns) < 2:
            self.doubt = None
        elif self.doubt is None:
            point, comma = columns.values()
            differ = np.flatnonzero((point != comma) & ~np.isnan(point))
            if len(differ):
                self.doubt = first + int(differ[0]), cells[int(differ[0])]
        return columns, None

    def _not_a_number(self, cell: str) -> str:
        decimal = self.ways[0].decimal
        other = next((way.decimal for way in BOTH if number_of(cell, (way,)) is not None), decimal)
        if len(self.ways) == 1 and other != decimal:
            return (
                f"{cell!r} is not a number with the decimal mark {decimal!r} of the other cells "
                f"or of what was asked for; write it so, or read the file with decimal={other!r}"
            )
        if number_of(cell, BOTH) is not None:
            return f"{cell!r} is not written like the cells before it; decimal marks are mixed"
        return f"{cell!r} is not a number; write one"

    def settle(self, way: Numerals) -> None:
        """Keep to one of the ways that are left."""
        self._parts = {way: self._parts[way]}
        self.doubt = None

    def problem(self) -> Fault | None:
        """None: how numbers are written is settled for all columns of a file together."""
        return None

    def notes(self) -> tuple[str, ...]:
        """The sign that was left out."""
        return (f"the sign {self._sign} is left out",) if self._sign else ()

    def done(self) -> NDArray[np.float64]:
        """(rows,), float64."""
        return np.concatenate([np.empty(0), *next(iter(self._parts.values()))])


class StepCells(NumberCells):
    """A column of numbers that counts time: int64 where all are whole, else float64."""

    def done(self) -> NDArray[Any]:
        """(rows,), int64 or float64."""
        return whole_if_possible(super().done())


def whole_if_possible(values: NDArray[np.float64]) -> NDArray[Any]:
    """As int64 where every number is whole and exactly kept by float64."""
    if np.isfinite(values).all() and (np.abs(values) < 2**53).all():
        whole = values.astype(np.int64)
        if (whole == values).all():
            return whole
    return values


@dataclass(frozen=True, slots=True)
class Settled:
    """The result for a whole file: a fault, or notes and the decimal mark."""

    fault: tuple[str, Fault] | None = None  # a column, its row and what is wrong
    notes: tuple[str, ...] = ()
    decimal: str | None = None  # the mark that files of the same origin have to be read with


def settle_numbers(
    columns: Mapping[str, Any], *, separator: str = ",", dotted_dates: bool = False
) -> Settled:
    """Settle the ways of all columns of one file that are numbers.

    `separator` is the mark between cells, "," for sources that have none; `dotted_dates` says
    that dates are written as 31.12.2024.
    """
    numbers = {name: column for name, column in columns.items() if isinstance(column, NumberCells)}
    certain: set[str] = {
        column.ways[0].decimal for column in numbers.values() if len(column.ways) == 1
    }
    notes = []
    for name, column in numbers.items():
        way, why = column.ways[0], ""
        if column.doubt is not None:
            row, cell = column.doubt
            decided, why = _decide(column, certain, separator, dotted_dates)
            if decided is None:
                return Settled((name, (row, _ask(cell, column.ways))))
            way = decided
        column.settle(way)
        if why and (way.decimal == "," or "," in cell):
            notes.append(f"column {name}: {cell!r} is read as {_value(cell, way)}, {why}")
    marks = {column.ways[0].decimal for column in numbers.values() if column.marked}
    commas = [
        name for name, column in numbers.items() if column.marked and column.ways[0].decimal == ","
    ]
    if commas:
        notes.append(f"the decimal mark is a comma ({_some(commas)})")
    return Settled(
        notes=tuple(notes),
        decimal=marks.pop() if len(marks) == 1 and (commas or separator == ";") else None,
    )


def _decide(
    column: NumberCells, certain: set[str], separator: str, dotted_dates: bool
) -> tuple[Numerals | None, str]:
    """The way in which an open column is written, and the reason; None where nothing tells."""
    point, comma = column.ways
    if certain == {"."}:
        return point, "as other columns have a decimal point"
    if certain == {","}:
        return comma, "as other columns have a decimal comma"
    if certain:
        return None, ""
    if separator == "," or (separator != ";" and not column.whole):
        return point, "as is usual where commas or tabs separate the cells"
    if separator == ";" and dotted_dates and column.whole:
        return comma, "as every mark has three digits after it and dates are written with points"
    return None, ""


def _ask(cell: str, ways: tuple[Numerals, ...]) -> str:
    meanings = " or ".join(f"{_value(cell, way)} (decimal={way.decimal!r})" for way in ways)
    return f"{cell!r} may be {meanings}, and no other cell tells which; say which with decimal="


def _value(cell: str, way: Numerals) -> str:
    return f"{number_of(cell, (way,)):.15g}"


def _some(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:5]) + (", ..." if len(shown) > 5 else "")
