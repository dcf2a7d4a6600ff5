"""The kinds of columns, and the classes that collect them: flags and names here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.missing import NO_NAME, NO_VALUE, is_missing
from gatewright.data.columns.number_column import NumberColumn, StepColumn
from gatewright.data.columns.number_format import NUMBER_FORMATS, NumberFormat, number_of
from gatewright.data.columns.time_column import TimeColumn
from gatewright.data.columns.time_format import could_be_time

# "step" is a number that counts time; "flag" is true or false, read as 1 or 0; "nothing" is an
# empty column.
ColumnKind = Literal["number", "step", "flag", "time", "text", "nothing"]

FLAGS = {"true": 1.0, "false": 0.0}


def kind_of(cells: Sequence[str]) -> ColumnKind:
    """Return the kind of most of these cells; the full reading reports those that do not fit."""
    present = [cell.strip() for cell in cells if not is_missing(cell)]
    if not present:
        return "nothing"
    if all(cell.lower() in FLAGS for cell in present):
        return "flag"
    numbers = sum(number_of(cell, NUMBER_FORMATS) is not None for cell in present)
    if 2 * numbers > len(present):
        return "number"
    times = sum(could_be_time(cell) for cell in present)
    return "time" if 2 * times > len(present) else "text"


class Column(Protocol):
    """A column that is collected chunk by chunk from its cells, and then returned as an array."""

    def add(self, cells: Sequence[str], first_row: int) -> tuple[int, str] | None:
        """Convert the next cells, from row `first_row` on; return (row, fault) or None."""

    def problem(self) -> tuple[int, str] | None:
        """Return a fault, (row, what is wrong), that only the whole column shows, or None."""

    def notes(self) -> tuple[str, ...]:
        """Return notes for the user on how the column was read."""

    def result(self) -> Any:
        """Return the column as an array."""


class FlagColumn:
    """A column of true and false, as 1 and 0."""

    def __init__(self) -> None:
        self._chunks: list[NDArray[np.float64]] = []

    def add(self, cells: Sequence[str], first_row: int) -> tuple[int, str] | None:
        """Convert the next cells."""
        values = np.full(len(cells), np.nan)
        for index, cell in enumerate(cells):
            text = cell.strip().lower()
            if text in FLAGS:
                values[index] = FLAGS[text]
            elif text not in NO_VALUE:
                return (
                    first_row + index,
                    f"{cell!r} is neither true nor false, as the other cells are",
                )
        self._chunks.append(values)
        return None

    def problem(self) -> tuple[int, str] | None:
        """Return None: flags that fit one by one fit together."""
        return None

    def notes(self) -> tuple[str, ...]:
        """Return a note on the numbers for true and false."""
        return ("true is read as 1 and false as 0",)

    def result(self) -> NDArray[np.float64]:
        """Return the column, (rows,) float64."""
        return np.concatenate([np.empty(0), *self._chunks])


class TextColumn:
    """A column of names, each stored once: (codes, names), with code -1 where one is missing."""

    def __init__(self) -> None:
        self._chunks: list[NDArray[np.int64]] = []
        self._codes: dict[str, int] = {}  # by name, in order of appearance

    def add(self, cells: Sequence[str], first_row: int) -> tuple[int, str] | None:
        """Convert the next cells; a name is never wrong."""
        known = self._codes
        codes = [
            -1 if cell.lower() in NO_NAME else known.setdefault(cell, len(known))
            for cell in map(str.strip, cells)
        ]
        self._chunks.append(np.array(codes, dtype=np.int64))
        return None

    def problem(self) -> tuple[int, str] | None:
        """Return None: any names fit together."""
        return None

    def notes(self) -> tuple[str, ...]:
        """Return no notes."""
        return ()

    def result(self) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Return (codes (rows,), names in order of appearance)."""
        return np.concatenate([np.empty(0, np.int64), *self._chunks]), tuple(self._codes)


def new_column(
    kind: ColumnKind, number_formats: tuple[NumberFormat, ...] = NUMBER_FORMATS
) -> Column:
    """Return an empty column of this kind."""
    if kind == "time":
        return TimeColumn()
    if kind == "text":
        return TextColumn()
    if kind == "flag":
        return FlagColumn()
    return StepColumn(number_formats) if kind == "step" else NumberColumn(number_formats)
