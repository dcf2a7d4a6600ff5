"""Any dataframe that narwhals knows (pandas, polars, pyarrow, ...), as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.column import Column, ColumnKind, new_column
from gatewright.data.columns.number_column import LARGEST_NUMBER, whole_if_possible
from gatewright.data.columns.number_format import NUMBER_FORMATS, NumberFormat
from gatewright.data.columns.time_column import same_hour
from gatewright.data.columns.time_format import FIRST_YEAR, LAST_YEAR
from gatewright.data.formats.pandas_index import with_index
from gatewright.data.tables.finish import finish_columns
from gatewright.data.tables.preview import preview_column
from gatewright.data.tables.table import ColumnPreview, LoadedColumns, check_names, wrong_cell
from gatewright.errors import ArgumentError, DataError

if TYPE_CHECKING:
    import narwhals as nw

_PREVIEW_ROWS = 1000
#: Rows whose cells are texts at once: each takes 50 bytes or more.
_PIECE_ROWS = 1 << 16

# Loads these columns into memory, for all rows or for this number of first rows.
Fetch = Callable[[list[str], int | None], "nw.DataFrame[Any]"]


def open_frame(
    native: Any, number_formats: tuple[NumberFormat, ...] = NUMBER_FORMATS
) -> FrameTable:
    """Open a dataframe as a table.

    A Series of pandas or polars is a dataframe with one column. A lazy frame is collected
    column by column, as they are needed, so it may be larger than memory. The index of a pandas
    frame becomes columns if it has names, times or ids.
    """
    import narwhals

    source = "the dataframe"
    if hasattr(native, "to_frame"):  # a Series of pandas or polars
        native = native.to_frame()
    notes: tuple[str, ...] = ()
    with converted_errors(source):
        try:
            frame = narwhals.from_native(native)
        except TypeError:
            raise ArgumentError(
                f"the data are of type {type(native).__name__}; expected a path, the name of a "
                "bundled data set, or a dataframe of pandas, polars, pyarrow or another library "
                "that narwhals knows"
            ) from None
        if frame.implementation.is_pandas_like():
            native, notes = with_index(native)
            frame = narwhals.from_native(native)
        types = dict(frame.collect_schema())

    def fetch(names: list[str], rows: int | None) -> nw.DataFrame[Any]:
        selection = frame.select(names)
        selection = selection if rows is None else selection.head(rows)
        return selection.collect() if isinstance(selection, narwhals.LazyFrame) else selection

    return FrameTable(source, types, fetch, number_formats=number_formats, notes=notes)


class FrameTable:
    """A table whose columns have types: a dataframe or a Parquet file. Rows count from 0."""

    def __init__(
        self,
        source: str,
        types: Mapping[str, Any],
        fetch: Fetch,
        *,
        number_formats: tuple[NumberFormat, ...] = NUMBER_FORMATS,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.source = source
        self.notes = notes
        self._types = types
        self._fetch = fetch
        self._number_formats = number_formats
        check_names(source, tuple(types))
        self.previews = self._preview_columns()

    def row(self, index: int) -> str:
        """Name a row as dataframes count it."""
        return f"row {index} counted from 0"

    def load(self, kinds: Mapping[str, ColumnKind]) -> LoadedColumns:
        """Read these columns one by one: by their type if possible, else from texts."""
        by_type: dict[str, Any] = {}
        by_text: dict[str, Column] = {}
        zoned = set()
        for name, kind in kinds.items():
            with converted_errors(self.source):
                series = self._fetch([name], None)[name]
                array = _array_by_type(series, kind)
            if array is not None:
                self._check_range(name, array)
                by_type[name] = array.astype("M8[ns]") if kind == "time" else array
                if getattr(series.dtype, "time_zone", None) is not None:
                    zoned.add(name)
                continue
            by_text[name] = new_column(kind, self._number_formats)
            for first in range(0, len(series), _PIECE_ROWS):
                with converted_errors(self.source):
                    texts = _texts(series[first : first + _PIECE_ROWS])
                if fault := by_text[name].add(texts, first):
                    raise wrong_cell(self, name, *fault)
        loaded = finish_columns(self, by_text)
        return replace(loaded, columns={**by_type, **loaded.columns}, zoned=loaded.zoned | zoned)

    def _preview_columns(self) -> dict[str, ColumnPreview]:
        with converted_errors(self.source):
            first = self._fetch(list(self._types), _PREVIEW_ROWS)
            columns = {name: _texts(first[name]) for name in self._types}
        if not len(first):
            raise DataError(
                f"{self.source} has the columns {', '.join(self._types)} and no rows; "
                "expected data in it"
            )
        return {name: self._preview_column(name, cells) for name, cells in columns.items()}

    def _preview_column(self, name: str, cells: list[str]) -> ColumnPreview:
        import narwhals

        preview, type_ = preview_column(cells), self._types[name]
        if preview.kind == "nothing":
            return preview
        if isinstance(type_, narwhals.Boolean):
            return replace(preview, kind="flag")
        if type_.is_numeric():
            return replace(preview, kind="number")
        if isinstance(type_, narwhals.Datetime | narwhals.Date):
            return replace(preview, kind="time")
        return preview

    def _check_range(self, name: str, values: NDArray[Any]) -> None:
        if values.dtype.kind == "M":
            years = values.astype("datetime64[Y]").astype(np.int64) + 1970
            wrong = ~np.isnat(values) & ((years < FIRST_YEAR) | (years > LAST_YEAR))
            expected = f"is out of range; expected a year from {FIRST_YEAR} to {LAST_YEAR}"
        else:
            wrong = np.isfinite(values) & (np.abs(values) > LARGEST_NUMBER)
            expected = f"is too large; expected at most {LARGEST_NUMBER:g}"
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise wrong_cell(self, name, row, f"{values[row]} {expected}")


@contextmanager
def converted_errors(source: str) -> Iterator[None]:
    """Convert every exception that another library raises over a user's data to `DataError`.

    All exceptions are caught, since the engines below narwhals have their own ones without a
    common base class.
    """
    try:
        yield
    except (ArgumentError, DataError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise DataError(
            f"{source} cannot be read as a table: {text[:300]}; check that it is complete, or "
            "save it as CSV"
        ) from error


def _array_by_type(series: Any, kind: ColumnKind) -> NDArray[Any] | None:
    """Convert a column by its type; None if the type does not fit and texts must be read."""
    import narwhals

    type_ = series.dtype
    if kind in ("number", "step", "flag") and (
        type_.is_numeric() or isinstance(type_, narwhals.Boolean)
    ):
        values = np.asarray(series.cast(narwhals.Float64).to_numpy(), dtype=np.float64)
        return whole_if_possible(values) if kind == "step" else values
    if kind == "time" and isinstance(type_, narwhals.Datetime):
        if type_.time_zone is not None:
            clock = series.dt.replace_time_zone(None)
            # Days keep their local clock: in UTC they would shift where summer time begins.
            if same_hour(np.asarray(clock.to_numpy())):
                return np.asarray(clock.to_numpy())
            series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return np.asarray(series.to_numpy())
    if kind == "time" and isinstance(type_, narwhals.Date):
        return np.asarray(series.to_numpy())
    return None


def _texts(series: Any) -> list[str]:
    """Convert values to text: whole numbers without a point, missing ones as empty text."""
    return ["" if value is None else _text(value) for value in series.to_list()]


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
