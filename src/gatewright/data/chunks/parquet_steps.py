"""The rows of a Parquet file, read by row groups (with pyarrow, the extra `parquet`)."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.chunks.forward_reader import ForwardReader
from gatewright.data.chunks.step_source import check_numbers
from gatewright.data.chunks.unchanged import UnchangedFile
from gatewright.errors import ArgumentError, DataError
from gatewright.names import did_you_mean

#: Rows that are decoded together, and bytes of a column that are in memory before they are.
BLOCK_ROWS = 1 << 13
BUFFER = 1 << 16


class ParquetTable:
    """A Parquet file of numbers: its columns, and where its row groups begin."""

    def __init__(self, path: Path) -> None:
        """Open the file; only its description is read.

        Raises:
            DataError: if it is damaged, empty, or pyarrow is not installed.
        """
        try:
            from pyarrow import parquet
        except ImportError as error:
            raise DataError(
                f"{path.name} is a Parquet file, and pyarrow is not installed; "
                "install it (pip install 'gatewright[parquet]')"
            ) from error
        self.path = path
        self.file = UnchangedFile.of(path)
        with _pyarrow_errors(path), parquet.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            if len(set(schema.names)) < len(schema.names):
                raise DataError(f"{path.name} has two columns of one name: {schema.names}")
            self.columns = {name: _numpy_type(schema.field(name).type) for name in schema.names}
            groups = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
        self.borders = np.concatenate([[0], np.cumsum(groups, dtype=np.int64)])
        if not len(self):
            raise DataError(f"{path} has no rows; expected at least one")

    def __len__(self) -> int:
        return int(self.borders[-1])

    def check_columns(self, names: Sequence[str], role: str) -> None:
        """Refuse a name that is not a column's.

        Raises:
            ArgumentError: with the columns that there are.
        """
        for name in names:
            if name not in self.columns:
                nearest = did_you_mean(name, self.columns)
                raise ArgumentError(
                    f"{role} names {name!r}; {nearest}the columns of {self.path.name} are "
                    f"{', '.join(self.columns)}"
                )

    def batches_from(self, first: int, columns: Sequence[str]) -> Iterator[Any]:
        """Yield record batches of columns from the row `first` on."""
        from pyarrow import parquet

        group = int(np.searchsorted(self.borders, first, "right")) - 1
        skipped = first - int(self.borders[group])
        # A buffered column is read piece by piece, not as a whole row group.
        with (
            _pyarrow_errors(self.path),
            parquet.ParquetFile(self.path, pre_buffer=False, buffer_size=BUFFER) as file,
        ):
            groups = range(group, len(self.borders) - 1)
            batches = file.iter_batches(
                BLOCK_ROWS, row_groups=list(groups), columns=list(columns), use_threads=False
            )
            for batch in batches:
                if skipped < batch.num_rows:
                    yield batch.slice(skipped)
                skipped = max(skipped - batch.num_rows, 0)


class ParquetSteps:
    """Some columns of a Parquet file as steps, (T, columns), or (T,) of a single target."""

    def __init__(
        self, table: ParquetTable, columns: Sequence[str], *, single: bool = False
    ) -> None:
        self.table = table
        self.columns = tuple(columns)
        self.name = table.path.name
        self.single = single
        types = [table.columns[column] for column in columns]
        for column, kind in zip(columns, types, strict=True):
            try:
                check_numbers(kind, f"column {column!r} of {self.name}")
            except DataError as error:
                hint = f"; or leave the column out with ignore={column!r}"
                raise DataError(f"{error}{hint}") from None
        self.step_shape: tuple[int, ...] = () if single else (len(self.columns),)
        self.dtype = np.result_type(*types)
        self.reader = ForwardReader(self.name, self._blocks_from)

    def __len__(self) -> int:
        return len(self.table)

    def read(self, first: int, stop: int) -> NDArray[Any]:
        """Return the rows from `first` up to `stop`."""
        self.table.file.check()
        return self.reader.read(first, stop)

    def _blocks_from(self, first: int) -> Iterator[NDArray[Any]]:
        for batch in self.table.batches_from(first, self.columns):
            # A missing whole number would become another one: as a real number it is NaN.
            values = [batch.column(name).to_numpy(zero_copy_only=False) for name in self.columns]
            if self.single and batch.column(0).null_count:
                raise DataError(
                    f"column {self.columns[0]!r} of {self.name} has missing values; expected a "
                    "target at every step"
                )
            yield values[0] if self.single else np.stack(values, 1)


def sequence_borders(table: ParquetTable, column: str) -> NDArray[np.int64]:
    """Return the rows where the values of a column change, with 0 and the number of rows.

    Only this column is read, block by block.

    Raises:
        DataError: if a value comes again after another one: its sequence would be in two pieces;
            also if one is NaN, which equals nothing, or a list.
    """
    borders, names, last, row = [0], set(), None, 0
    for batch in table.batches_from(0, [column]):
        values = np.asarray(batch.column(0).to_pylist(), dtype=object)
        changes = np.flatnonzero(values[1:] != values[:-1]) + 1
        places = changes.tolist() if row and values[0] == last else [0, *changes.tolist()]
        for place in places:
            name = values[place]
            if not isinstance(name, Hashable) or name != name:
                raise DataError(
                    f"{table.path.name}: {column} is {name!r} in row {row + place:,}; expected "
                    "a number or a text that tells sequences apart"
                )
            if name in names:
                raise DataError(
                    f"{table.path.name}: the rows of {column} {name!r} do not follow each other, "
                    f"from row {row + place:,} on; sort the table by {column} first"
                )
            names.add(name)
            if row + place:
                borders.append(row + place)
        row, last = row + len(values), values[-1]
    return np.array([*borders, row], np.int64)


def _numpy_type(kind: Any) -> np.dtype[Any]:
    """Return the type of a column's values in numpy; those that have none are Python objects."""
    try:
        own: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
        return own
    except (NotImplementedError, TypeError):  # such as a column of categories
        return np.dtype(object)


@contextmanager
def _pyarrow_errors(path: Path) -> Iterator[None]:
    """Turn the errors of pyarrow into ours."""
    import pyarrow

    try:
        yield
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(
            f"{path} cannot be read as Parquet ({error}); is it damaged, or still being written?"
        ) from error
