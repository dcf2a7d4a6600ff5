"""Any dataframe that narwhals knows (pandas, polars, pyarrow, ...), as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.column import Cells, Kind, collector
from gatewright.data.columns.number_column import LARGEST, whole_if_possible
from gatewright.data.columns.number_format import BOTH, Numerals
from gatewright.data.columns.time_column import FIRST_YEAR, LAST_YEAR, same_hour
from gatewright.data.formats.pandas_index import with_index
from gatewright.data.tables.preview import finish, look_at
from gatewright.data.tables.table import Loaded, Look, check_names, wrong_cell
from gatewright.errors import ArgumentError, DataError

if TYPE_CHECKING:
    import narwhals as nw

_LOOK = 1000  # rows that a first look takes in


# Fetches these columns, of all rows or of the first so many, into memory.
Fetch = Callable[[list[str], int | None], "nw.DataFrame[Any]"]


def open_frame(native: Any, ways: tuple[Numerals, ...] = BOTH) -> Frame:
    """A dataframe as a table.

    One column alone (a Series of pandas or polars) is a dataframe with one column. A lazy
    frame is collected one column at a time, as they are needed, so it may be larger
    than memory. The index of a pandas frame becomes columns where it says something.
    """
    import narwhals

    source = "the dataframe"
    if hasattr(native, "to_frame"):  # one column alone: a Series of pandas or polars
        native = native.to_frame()
    notes: tuple[str, ...] = ()
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
            native, notes = with_index(native)
            frame = narwhals.from_native(native)
        types = dict(frame.collect_schema())

    def fetch(names: list[str], rows: int | None) -> nw.DataFrame[Any]:
        chosen = frame.select(names)
        chosen = chosen if rows is None else chosen.head(rows)
        return chosen.collect() if isinstance(chosen, narwhals.LazyFrame) else chosen

    return Frame(source, types, fetch, ways=ways, notes=notes)


class Frame:
    """Columns with types, of a dataframe or a Parquet file. Rows count from 0, as they do there."""

    def __init__(
        self,
        source: str,
        types: Mapping[str, Any],
        fetch: Fetch,
        *,
        ways: tuple[Numerals, ...] = BOTH,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.source = source
        self.notes = notes
        self._types = types
        self._fetch = fetch
        self._ways = ways
        check_names(source, tuple(types))
        self.looks = self._looks()

    def row(self, at: int) -> str:
        """Rows as dataframes count them."""
        return f"row {at} counted from 0"

    def load(self, kinds: Mapping[str, Kind]) -> Loaded:
        """Read these columns, one after the other."""
        columns: dict[str, Any] = {}
        cells: dict[str, Cells] = {}
        zoned = set()
        for name, kind in kinds.items():
            with reading_with_others(self.source):
                series = self._fetch([name], None)[name]
                direct = _direct(series, kind)
                texts = _texts(series) if direct is None else []
            if direct is not None:
                self._check_size(name, direct)
                columns[name] = direct.astype("M8[ns]") if kind == "time" else direct
                if getattr(series.dtype, "time_zone", None) is not None:
                    zoned.add(name)
                continue
            cells[name] = collector(kind, self._ways)
            if fault := cells[name].add(texts, 0):
                raise wrong_cell(self, name, *fault)
        texts_of = finish(self, cells)
        return Loaded(
            {**columns, **texts_of.columns},
            texts_of.notes,
            texts_of.zoned | zoned,
            texts_of.decimal,
        )

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

        look, type_ = look_at(cells), self._types[name]
        if look.kind == "nothing":
            return look
        if isinstance(type_, narwhals.Boolean):
            return replace(look, kind="flag")
        if type_.is_numeric():
            return replace(look, kind="number")
        if isinstance(type_, narwhals.Datetime | narwhals.Date):
            return replace(look, kind="time")
        return look

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


def _direct(series: Any, kind: Kind) -> NDArray[Any] | None:
    """The column by its type, where that fits what is wanted; None to go through texts."""
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
            if same_hour(np.asarray(clock.to_numpy())):  # days: in UTC summer time would break them
                return np.asarray(clock.to_numpy())
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
