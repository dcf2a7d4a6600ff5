"""A table of any format: named columns that are read as the kind that they are needed as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.column import ColumnKind
from gatewright.errors import DataError

# Columns by name. The type depends on the kind: "number" and "flag" are (rows,) float64 with NaN
# where one is missing; "step" (rows,) int64 or float64; "time" (rows,) datetime64[ns] with NaT;
# "text" is a pair of (rows,) int64 codes, -1 where one is missing, and the tuple of names.
Columns = Mapping[str, Any]

MAX_COLUMNS = 20_000


@dataclass(frozen=True, slots=True)
class ColumnPreview:
    """A first impression of a column, from its first rows or from its type."""

    kind: ColumnKind
    examples: tuple[str, ...] = ()  # a few different values, as text
    days: bool = False  # numbers that could all be days like 20240131
    months: bool = False  # numbers that are even months like 202401, and cross a year's end
    rises: bool = False  # numbers of which at most a tenth falls
    unix: bool = False  # numbers that could all be Unix times
    clock: bool = False  # times of the day, without a date
    named: bool = False  # nearly every row has another value
    numbered: bool = False  # many different texts, each with a digit


@dataclass(frozen=True, slots=True)
class LoadedColumns:
    """Columns of a table, and what was noticed while they were read."""

    columns: Columns
    notes: tuple[str, ...] = ()
    zoned: frozenset[str] = frozenset()  # columns of times that had a zone
    decimal: str | None = None  # the decimal mark, if later files need it to be read alike


class Table(Protocol):
    """A source with named columns: one class per format, such as a CSV file or a dataframe."""

    @property
    def source(self) -> str:
        """The name in messages: "sales.csv", "the dataframe"."""

    @property
    def previews(self) -> Mapping[str, ColumnPreview]:
        """The preview of every column, in order."""

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user on the whole table."""

    def load(self, kinds: Mapping[str, ColumnKind]) -> LoadedColumns:
        """Read these columns, each as the kind that it is needed as, in one pass.

        Raises `DataError` with row and column for a cell that does not fit.
        """

    def row(self, index: int) -> str:
        """Name a row as people count it: "row 2" is the first row below a header."""


def wrong_cell(table: Table, column: str, index: int, message: str) -> DataError:
    """Return the error for a cell, with its place."""
    return DataError(f"{table.source}, {table.row(index)}, column {column}: {message}")


def check_names(source: str, names: tuple[str, ...]) -> None:
    """Raise `DataError` unless there are columns, each with a unique name."""
    if not names:
        raise DataError(f"{source} has no columns; expected at least one")
    if len(names) > MAX_COLUMNS:
        raise DataError(
            f"{source} has {len(names):,} columns; expected at most {MAX_COLUMNS:,}: is it a table?"
        )
    numbers: dict[str, int] = {}
    for number, name in enumerate(names, start=1):
        if not name.strip():
            raise DataError(f"column number {number} of {source} has no name; give it one")
        if name in numbers:
            raise DataError(
                f"{source} has two columns called {name!r}, number {numbers[name]} and "
                f"number {number}; rename one of them"
            )
        numbers[name] = number


def length(columns: Columns) -> int:
    """Return the number of rows."""
    first: NDArray[Any] | tuple[NDArray[np.int64], tuple[str, ...]] = next(iter(columns.values()))
    return len(first[0]) if isinstance(first, tuple) else len(first)
