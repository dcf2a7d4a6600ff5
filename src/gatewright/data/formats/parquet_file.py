"""Parquet files, read with pyarrow (the extra `parquet`) column by column, as they are needed.

So a file may be larger than memory, but not the numbers of the columns that are used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewright.data.columns.number_format import NUMBER_FORMATS, NumberFormat
from gatewright.data.formats.frame_table import FrameTable, converted_errors
from gatewright.errors import DataError

if TYPE_CHECKING:
    import narwhals as nw

# A file may have the larger of these numbers of rows. Constant columns compress to far less than
# a byte per row, so a small file may claim more rows than the memory holds.
_MAX_ROWS, _MAX_ROWS_PER_BYTE = 50_000_000, 100


def open_parquet(
    path: Path, number_formats: tuple[NumberFormat, ...] = NUMBER_FORMATS
) -> FrameTable:
    """Open a Parquet file as a table. Rows count from 0."""
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

    with converted_errors(path.name), parquet.ParquetFile(path) as file:
        if file.metadata.num_rows > max(_MAX_ROWS, _MAX_ROWS_PER_BYTE * path.stat().st_size):
            raise DataError(
                f"{path.name} claims {file.metadata.num_rows:,} rows in {path.stat().st_size:,} "
                "bytes, which would fill the memory; write it again with fewer rows"
            )
        types = dict(narwhals.from_native(file.schema_arrow.empty_table()).collect_schema())
    return FrameTable(path.name, types, fetch, number_formats=number_formats)
