"""A wide table as a long one, in which each row is a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.column import ColumnKind
from gatewright.data.columns.time_format import FIRST_YEAR, LAST_YEAR
from gatewright.data.tables.table import ColumnPreview, LoadedColumns, Table, wrong_cell

TIME, VALUE, ROW = "time", "value", "row"  # the columns of the long table


@dataclass(frozen=True, slots=True)
class WideLayout:
    """The layout of a wide table."""

    columns: tuple[str, ...]  # the columns with the values, in order of time
    times: NDArray[Any]  # (columns,); months since January if `year` is a column
    note: str
    # The column that names the series of a row; None if all rows are one series, ROW if each row
    # is a series of its own.
    id: str | None
    year: str | None = None
    left_out: tuple[str, ...] = ()  # columns of numbers without a use


class LongTable:
    """A wide table as a long one, with a row for each of its values.

    Missing cells before the first value and after the last one of a series have no row.
    """

    def __init__(self, table: Table, layout: WideLayout) -> None:
        self._table, self._layout = table, layout
        self.source = table.source
        self.notes = (*table.notes, layout.note)
        replaced = {*layout.columns, layout.year}
        rest = {
            name: replace(preview, named=False)
            for name, preview in table.previews.items()
            if name not in replaced
        }
        kind: ColumnKind = "time" if layout.times.dtype.kind in "mM" else "number"
        row = {ROW: ColumnPreview("number")} if layout.id == ROW else {}
        self.previews: Mapping[str, ColumnPreview] = {
            **row,
            **rest,
            TIME: ColumnPreview(kind, (layout.columns[0],)),
            VALUE: ColumnPreview("number"),
        }
        # For each row of the long table its cell, counted through the rows × columns.
        self._cells: NDArray[np.int64] = np.empty(0, np.int64)

    def row(self, index: int) -> str:
        """Name the row of the file, and the column in it."""
        row, column = divmod(int(self._cells[index]), len(self._layout.columns))
        return f"{self._table.row(row)}, column {self._layout.columns[column]}"

    def load(self, kinds: Mapping[str, ColumnKind]) -> LoadedColumns:
        """Read these columns; a value of the other columns is repeated for each step of its row."""
        layout = self._layout
        others = {name: kind for name, kind in kinds.items() if name not in (TIME, VALUE, ROW)}
        values: dict[str, ColumnKind] = dict.fromkeys(layout.columns, "number")
        year: dict[str, ColumnKind] = {layout.year: "number"} if layout.year else {}
        loaded = self._table.load({**others, **year, **values})
        grid = np.stack([loaded.columns[name] for name in layout.columns], axis=1)
        one_series = layout.year is not None  # from row to row
        self._cells = np.flatnonzero(_between_values(grid.reshape(1, -1) if one_series else grid))
        rows, steps = np.divmod(self._cells, len(layout.columns))
        columns: dict[str, Any] = {name: _take(loaded.columns[name], rows) for name in others}
        columns[VALUE] = grid.ravel()[self._cells]
        if layout.year is None:
            columns[TIME] = layout.times[steps]
        else:
            columns[TIME] = self._times_in_years(loaded.columns[layout.year], rows, steps)
        if layout.id == ROW:
            columns[ROW] = rows, tuple(self._table.row(index) for index in range(len(grid)))
        return LoadedColumns(
            {name: columns[name] for name in kinds}, loaded.notes, frozenset(), loaded.decimal
        )

    def _times_in_years(
        self, years: NDArray[Any], rows: NDArray[Any], steps: NDArray[Any]
    ) -> NDArray[Any]:
        wrong = ~((years >= FIRST_YEAR) & (years <= LAST_YEAR))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            assert self._layout.year is not None
            message = f"{years[row]:g} is not a year; expected {FIRST_YEAR} to {LAST_YEAR}"
            raise wrong_cell(self._table, self._layout.year, row, message)
        start = (years.astype(np.int64) - 1970).astype("datetime64[Y]").astype("datetime64[M]")
        return np.asarray((start[rows] + self._layout.times[steps]).astype("datetime64[ns]"))


def _take(column: Any, rows: NDArray[Any]) -> Any:
    return (column[0][rows], column[1]) if isinstance(column, tuple) else column[rows]


def _between_values(grid: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Mark the cells from the first value of each row to its last one."""
    present = ~np.isnan(grid)
    started = np.maximum.accumulate(present, axis=1)
    unfinished = np.maximum.accumulate(present[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(started & unfinished)
