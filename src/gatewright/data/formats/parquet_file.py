"""Parquet, by pyarrow (the extra `parquet`): one column at a time, as they are needed.

So a file may be larger than memory, but not the numbers of the columns that are used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewright.data.columns.number_format import BOTH, Numerals
from gatewright.data.formats.frame_table import Frame, reading_with_others
from gatewright.errors import DataError

if TYPE_CHECKING:
    import narwhals as nw

# A file may have so many rows, or so many for each of its bytes: constant columns pack well.
_ROWS, _ROWS_A_BYTE = 50_000_000, 100


def open_parquet(path: Path, ways: tuple[Numerals, ...] = BOTH) -> Frame:
    """A Parquet file as a table. Rows count from 0."""
    import narwhals

    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(
            f"{path.name} is a Parquet file, and pyarrow is not installed; "
            "install it (pip install 'gatewright[parquet]'), or save the table as CSV"
        ) from error

    def fetch(names: list[str], rows: int | None) -> nw.DataFrame[Any]:
        with parquet.ParquetFile(path) as file:
            if rows is None:
                table = file.read(columns=names)
            else:
                first = next(file.iter_batches(batch_size=rows, columns=names), None)
                empty = file.schema_arrow.empty_table()
                table = empty if first is None else pyarrow.Table.from_batches([first])
        frame: nw.DataFrame[Any] = narwhals.from_native(table, eager_only=True)
        return frame.select(names)

    with reading_with_others(path.name), parquet.ParquetFile(path) as file:
        if file.metadata.num_rows > max(_ROWS, _ROWS_A_BYTE * path.stat().st_size):
            raise DataError(
                f"{path.name} claims {file.metadata.num_rows:,} rows in {path.stat().st_size:,} "
                "bytes, which would fill the memory; write it again with fewer rows"
            )
        types = dict(narwhals.from_native(file.schema_arrow.empty_table()).collect_schema())
    return Frame(path.name, types, fetch, ways=ways)
