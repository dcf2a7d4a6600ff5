"""Texts of a table's cells to arrays: what a column seems to hold; its numbers, steps, texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.missing import NO_NAME, NO_VALUE, is_missing
from gatewright.data.columns.number_column import NumberCells, StepCells
from gatewright.data.columns.number_format import BOTH, Numerals, number_of
from gatewright.data.columns.time_column import TimeCells, could_be_time

# What a column is read as. "step" is a number that counts time; "flag" is true or false, read as
# 1 or 0; "nothing" is an empty column.
Kind = Literal["number", "step", "flag", "time", "text", "nothing"]

FLAGS = {"true": 1.0, "false": 0.0}


def kind_of(cells: Sequence[str]) -> Kind:
    """The kind of the majority of these cells; the strict reading names what does not fit."""
    present = [cell.strip() for cell in cells if not is_missing(cell)]
    if not present:
        return "nothing"
    if all(cell.lower() in FLAGS for cell in present):
        return "flag"
    numbers = sum(number_of(cell, BOTH) is not None for cell in present)
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


class FlagCells:
    """A column of true and false, as 1 and 0."""

    def __init__(self) -> None:
        self._parts: list[NDArray[np.float64]] = []

    def add(self, cells: Sequence[str], first: int) -> tuple[int, str] | None:
        """Take these cells."""
        values = np.full(len(cells), np.nan)
        for at, cell in enumerate(cells):
            text = cell.strip().lower()
            if text in FLAGS:
                values[at] = FLAGS[text]
            elif text not in NO_VALUE:
                return first + at, f"{cell!r} is neither true nor false, as the other cells are"
        self._parts.append(values)
        return None

    def problem(self) -> tuple[int, str] | None:
        """A column of flags has no fault of its own."""
        return None

    def notes(self) -> tuple[str, ...]:
        """The numbers that stand for true and false."""
        return ("true is read as 1 and false as 0",)

    def done(self) -> NDArray[np.float64]:
        """(rows,), float64."""
        return np.concatenate([np.empty(0), *self._parts])


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


def collector(kind: Kind, ways: tuple[Numerals, ...] = BOTH) -> Cells:
    """A new collector for a column that is to be read as this."""
    if kind == "time":
        return TimeCells()
    if kind == "text":
        return TextCells()
    if kind == "flag":
        return FlagCells()
    return StepCells(ways) if kind == "step" else NumberCells(ways)
