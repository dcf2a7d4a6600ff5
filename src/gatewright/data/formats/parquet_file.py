"""Parquet, by pyarrow (the extra `parquet`): one column at a time, as they are needed.

So a file may be larger than memory, but not the numbers of the columns that are used.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gatewright.data.formats.frame import Frame, reading_with_others
from gatewright.errors import DataError

if TYPE_CHECKING:
    import narwhals as nw


def open_parquet(path: Path) -> Frame:
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
        types = dict(narwhals.from_native(file.schema_arrow.empty_table()).collect_schema())
    return Frame(path.name, types, fetch)
