"""A table from anywhere: named columns that are read as what they turn out to be needed as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gatewright.data.cells import Kind
from gatewright.errors import DataError

# What a column is read as, by kind: "number" (rows,) float64 with NaN where one is missing;
# "step" (rows,) int64 or float64; "time" (rows,) datetime64[ns] with NaT; "text" a pair of
# (rows,) int64 codes, -1 where one is missing, and the tuple of names that they stand for.
Columns = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Look:
    """What a first look at a column shows, on its first rows or from its type."""

    kind: Kind
    examples: tuple[str, ...] = ()  # a few different values, as text
    dates_of_digits: bool = False  # numbers that can all be read as 20240131


class Table(Protocol):
    """One small class a format: a CSV file, a Parquet file, a dataframe."""

    @property
    def source(self) -> str:
        """What messages call it: "sales.csv", "the dataframe"."""

    @property
    def looks(self) -> Mapping[str, Look]:
        """Of every column, in order."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was noticed about the whole."""

    def load(self, wanted: Mapping[str, Kind]) -> tuple[Columns, tuple[str, ...]]:
        """These columns, each read as what is wanted, in one pass; and what to tell of them.

        What does not fit is a `DataError` with row and column.
        """

    def row(self, at: int) -> str:
        """What people call the row at this position: "row 2" is the first below a header."""


def wrong_cell(table: Table, column: str, at: int, what: str) -> DataError:
    """The error that names the place of a cell."""
    return DataError(f"{table.source}, {table.row(at)}, column {column}: {what}")


def check_names(source: str, names: tuple[str, ...]) -> None:
    """`DataError` unless there are columns, each with a name of its own."""
    if not names:
        raise DataError(f"{source} has no columns; expected at least one")
    for at, name in enumerate(names):
        if not name.strip():
            raise DataError(f"column number {at + 1} of {source} has no name; give it one")
        if name in names[:at]:
            raise DataError(
                f"{source} has two columns called {name!r}, number {names.index(name) + 1} and "
                f"number {at + 1}; rename one of them"
            )


def length(columns: Columns) -> int:
    """How many rows loaded columns have."""
    first: NDArray[Any] | tuple[NDArray[np.int64], tuple[str, ...]] = next(iter(columns.values()))
    return len(first[0]) if isinstance(first, tuple) else len(first)
