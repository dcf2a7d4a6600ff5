"""A table from anywhere: named columns that are read as what they turn out to be needed as."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.column import Kind
from gatewright.errors import DataError

# What a column is read as, by kind: "number" (rows,) float64 with NaN where one is missing;
# "step" (rows,) int64 or float64; "time" (rows,) datetime64[ns] with NaT; "text" a pair of
# (rows,) int64 codes, -1 where one is missing, and the tuple of names that they stand for.
Columns = Mapping[str, Any]

MOST_COLUMNS = 20_000


@dataclass(frozen=True, slots=True)
class Look:
    """What a first look at a column shows, on its first rows or from its type."""

    kind: Kind
    examples: tuple[str, ...] = ()  # a few different values, as text
    days: bool = False  # numbers that can all be read as days like 20240131
    unix: bool = False  # numbers that can all be read as seconds since 1970, or parts of them
    clock: bool = False  # times of the day, without a date
    named: bool = False  # another value in nearly every row
    numbered: bool = False  # texts of which each holds a digit, and many are different


@dataclass(frozen=True, slots=True)
class Loaded:
    """Columns of a table, and what came to light while they were read."""

    columns: Columns
    notes: tuple[str, ...] = ()
    zoned: frozenset[str] = frozenset()  # columns of times that had a zone: they are in UTC
    decimal: str | None = None  # the decimal mark, where new files need it to be read alike


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

    def load(self, kinds: Mapping[str, Kind]) -> Loaded:
        """Read these columns, each as the kind that it is needed as, in one pass.

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
    if len(names) > MOST_COLUMNS:
        raise DataError(
            f"{source} has {len(names):,} columns; expected at most {MOST_COLUMNS:,}: is it a "
            "table?"
        )
    places: dict[str, int] = {}
    for at, name in enumerate(names, start=1):
        if not name.strip():
            raise DataError(f"column number {at} of {source} has no name; give it one")
        if name in places:
            raise DataError(
                f"{source} has two columns called {name!r}, number {places[name]} and "
                f"number {at}; rename one of them"
            )
        places[name] = at


def length(columns: Columns) -> int:
    """How many rows loaded columns have."""
    first: NDArray[Any] | tuple[NDArray[np.int64], tuple[str, ...]] = next(iter(columns.values()))
    return len(first[0]) if isinstance(first, tuple) else len(first)
