"""Read whatever a user has: a file, a dataframe or the name of a bundled data set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from gatewright.data.catalogue import BUNDLED
from gatewright.data.formats.csv_file import CsvFile
from gatewright.data.formats.frame import open_frame
from gatewright.data.formats.parquet_file import open_parquet
from gatewright.data.formats.text_file import read_text
from gatewright.data.formats.ts_pair import read_ts_pair
from gatewright.data.from_table import read_table
from gatewright.data.missing import Fill
from gatewright.data.opening import inner_suffix, steady
from gatewright.data.request import Names, Reading, Request, Task, Unit, as_names
from gatewright.errors import DataError


def read(
    source: Any,
    *,
    task: Task | None = None,
    target: Names = None,
    time: str | None = None,
    id: str | None = None,
    label: str | None = None,
    known: Names = (),
    static: Names = (),
    ignore: Names = (),
    text: Unit = "characters",
    fill: Fill | None = None,
    labelled: bool = True,
) -> Reading:
    """Read data, find out what they are for, and say so.

    Args:
        source: The path of a `.csv`, `.tsv`, `.parquet` or `.ts` file, of any other file as
            plain text (packed ones too, but for Parquet: `.csv.gz`); the name of a bundled
            data set; or a dataframe of pandas, polars, pyarrow or what else narwhals knows.
            Beside `NAME_TRAIN.ts` a file `NAME_TEST.ts` is taken as its test part.
        task: "forecast", "classify", "tag" or "next symbol". Without it: a table with a
            label is to classify where the label is one for each id, else to tag; a table
            without one is to forecast; a `.ts` file with class labels is to classify; a text
            is for the next symbol.
        target: The columns to forecast; without it, all channels that are not known.
        time: The column that holds times or counts steps. Found by what it holds or its name.
        id: The column that tells several series or sequences apart. Found by its name.
        label: The column of class labels. Found by its name.
        known: Columns whose future is known. Rows at the end that have them and no target are
            taken as that future.
        static: Columns that do not change over time.
        ignore: Columns to leave out.
        text: Read a text as "characters" (UTF-8) or as "bytes" (any file).
        fill: What to do about missing and infinite values, and missing steps of a forecast:
            None refuses them, "linear" draws a line between their neighbours in time,
            "previous" repeats the value before, "drop" leaves the rows out.
        labelled: False where new data need no label; where one is missing, the result has
            the classes () and the labels -1.

    Returns:
        A `Reading`; its `data` is a `Series`, `Recordings`, `Tagged` or a `Text`.

    Raises:
        DataError: The data cannot be used; the message has the row, the column and the mend.
        ArgumentError: An argument is not allowed, or two exclude each other.

    A CSV or Parquet file may be larger than memory, the columns that are used may not: they
    are held as eight bytes a number. What other formats hold is in `formats/`.

    >>> days = {"day": ["2024-01-01", "2024-01-02", "2024-01-03"], "sold": [3, 5, 4]}
    >>> import pyarrow
    >>> read(pyarrow.table(days)).data
    Series('dataframe', n=1, steps=3, channels=1, period=1 day)
    """
    request = Request(
        task,
        as_names(target),
        time,
        id,
        label,
        as_names(known),
        as_names(static),
        as_names(ignore),
        text,
        fill,
        labelled,
    )
    if not isinstance(source, str | os.PathLike):
        return read_table(open_frame(source), "dataframe", request)
    path = Path(os.fsdecode(source))
    if not os.fspath(source):
        raise DataError("the path is empty; give a file, or the name of a bundled data set")
    if str(path) in BUNDLED and not path.exists():
        return BUNDLED[str(path)](request)
    try:
        if "\0" in str(path):  # no system has such a name, and Python's error would be its own
            raise FileNotFoundError
        with steady(path):
            return _read_file(path, request)
    except FileNotFoundError:
        names = ", ".join(sorted(BUNDLED))
        raise DataError(
            f"there is no file {str(path)!r}, and no bundled data set of this name; expected a "
            f"path, or one of: {names}"
        ) from None


def _read_file(path: Path, request: Request) -> Reading:
    """By the ending of the name, and by the task where that says that it is a text."""
    suffix = inner_suffix(path)
    name = path.name.split(".", 1)[0] or path.name
    if request.task == "next symbol":
        return read_text(path, name, request, "that was asked for")
    if suffix in (".csv", ".tsv"):
        return read_table(CsvFile(path, path.name), name, request)
    if suffix in (".parquet", ".pq"):
        return read_table(open_parquet(path), name, request)
    if suffix == ".ts":
        return read_ts_pair(path, name, request)
    why = f"its name ends with {suffix or 'nothing'}, none of .csv, .tsv, .parquet and .ts"
    return read_text(path, name, request, "it is plain text" if suffix == ".txt" else why)
