"""Any dataframe that narwhals knows (pandas, polars, pyarrow, ...), as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.cells import LARGEST, Kind, collector, kind_of, whole_if_possible
from gatewright.data.table import Columns, Look, check_names, wrong_cell
from gatewright.data.times import FIRST_YEAR, LAST_YEAR, parse
from gatewright.errors import ArgumentError, DataError

if TYPE_CHECKING:
    import narwhals as nw

_LOOK = 1000  # rows that a first look takes in


# Fetches these columns, of all rows or of the first so many, into memory.
Fetch = Callable[[list[str], int | None], "nw.DataFrame[Any]"]


def open_frame(native: Any) -> Frame:
    """A dataframe as a table.

    One column alone (a Series of pandas or polars) is a dataframe with one column. A lazy
    frame is collected one column at a time, as they are needed, so it may be larger
    than memory. The index of a pandas frame becomes columns where it has a name or holds times.
    """
    import narwhals

    source = "the dataframe"
    if hasattr(native, "to_frame"):  # one column alone: a Series of pandas or polars
        native = native.to_frame()
    with reading_with_others(source):
        try:
            frame = narwhals.from_native(native)
        except TypeError:
            raise ArgumentError(
                f"the data are of type {type(native).__name__}; expected a path, the name of a "
                "bundled data set, or a dataframe of pandas, polars, pyarrow or another library "
                "that narwhals knows"
            ) from None
        if frame.implementation.is_pandas_like():
            frame = narwhals.from_native(_with_index(native))
        types = dict(frame.collect_schema())

    def fetch(names: list[str], rows: int | None) -> nw.DataFrame[Any]:
        chosen = frame.select(names)
        chosen = chosen if rows is None else chosen.head(rows)
        return chosen.collect() if isinstance(chosen, narwhals.LazyFrame) else chosen

    return Frame(source, types, fetch)


class Frame:
    """Columns with types, of a dataframe or a Parquet file. Rows count from 0, as they do there."""

    notes: tuple[str, ...] = ()

    def __init__(self, source: str, types: Mapping[str, Any], fetch: Fetch) -> None:
        self.source = source
        self._types = types
        self._fetch = fetch
        check_names(source, tuple(types))
        self.looks = self._looks()

    def row(self, at: int) -> str:
        """Rows as dataframes count them."""
        return f"row {at} counted from 0"

    def load(self, wanted: Mapping[str, Kind]) -> tuple[Columns, tuple[str, ...]]:
        """These columns, one after the other."""
        columns: dict[str, Any] = {}
        notes: list[str] = []
        for name, kind in wanted.items():
            with reading_with_others(self.source):
                series = self._fetch([name], None)[name]
                direct = _direct(series, kind)
                cells = _texts(series) if direct is None else []
            if direct is not None:
                self._check_size(name, direct)
                columns[name] = direct.astype("M8[ns]") if kind == "time" else direct
                continue
            column = collector(kind)
            if fault := column.add(cells, 0) or column.problem():
                raise wrong_cell(self, name, *fault)
            columns[name] = column.done()
            notes += [f"column {name}: {note}" for note in column.notes()]
        return columns, tuple(notes)

    def _looks(self) -> dict[str, Look]:
        with reading_with_others(self.source):
            first = self._fetch(list(self._types), _LOOK)
            columns = {name: _texts(first[name]) for name in self._types}
        if not len(first):
            raise DataError(
                f"{self.source} has the columns {', '.join(self._types)} and no rows; "
                "expected data in it"
            )
        return {name: self._look(name, cells) for name, cells in columns.items()}

    def _look(self, name: str, cells: list[str]) -> Look:
        import narwhals

        kind, type_ = kind_of(cells), self._types[name]
        if kind == "nothing":
            return Look(kind)
        if type_.is_numeric() or isinstance(type_, narwhals.Boolean):
            kind = "number"
        elif isinstance(type_, narwhals.Datetime | narwhals.Date):
            kind = "time"
        present = [cell for cell in cells if kind_of([cell]) != "nothing"]
        digits = kind == "number" and all(parse(cell, "yearmonthday") for cell in present)
        return Look(kind, tuple(dict.fromkeys(present))[:5], digits)

    def _check_size(self, name: str, values: NDArray[Any]) -> None:
        if values.dtype.kind == "M":
            years = values.astype("datetime64[Y]").astype(np.int64) + 1970
            wrong = ~np.isnat(values) & ((years < FIRST_YEAR) | (years > LAST_YEAR))
            expected = f"is out of range; expected a year from {FIRST_YEAR} to {LAST_YEAR}"
        else:
            wrong = np.isfinite(values) & (np.abs(values) > LARGEST)
            expected = f"is too large; expected at most {LARGEST:g}"
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise wrong_cell(self, name, at, f"{values[at]} {expected}")


@contextmanager
def reading_with_others(source: str) -> Iterator[None]:
    """Whatever another library raises over a user's data becomes a `DataError`.

    Everything is caught: the engines below narwhals raise exceptions of their own making,
    with no common base.
    """
    try:
        yield
    except (ArgumentError, DataError):
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise DataError(f"{source} cannot be read as a table: {text[:300]}") from error


def _with_index(native: Any) -> Any:
    """A pandas frame with names of text, and its index as columns where it says something."""
    index = native.index
    times = index.dtype.kind == "M" or str(index.dtype).startswith("period")
    if times or any(name is not None for name in index.names):
        native = native.reset_index()
    return native.set_axis([str(name) for name in native.columns], axis="columns")


def _direct(series: Any, kind: Kind) -> NDArray[Any] | None:
    """The column by its type, where that fits what is wanted; None to go through texts."""
    import narwhals

    type_ = series.dtype
    if kind in ("number", "step") and (type_.is_numeric() or isinstance(type_, narwhals.Boolean)):
        values = np.asarray(series.cast(narwhals.Float64).to_numpy(), dtype=np.float64)
        return whole_if_possible(values) if kind == "step" else values
    if kind == "time" and isinstance(type_, narwhals.Datetime):
        if type_.time_zone is not None:
            series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return np.asarray(series.to_numpy())
    if kind == "time" and isinstance(type_, narwhals.Date):
        return np.asarray(series.to_numpy())
    return None


def _texts(series: Any) -> list[str]:
    """Each value as a text: a whole number without a point, what is missing as an empty one."""
    return ["" if value is None else _text(value) for value in series.to_list()]


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
