"""Read whatever a user has: a file, a dataframe or the name of a bundled data set."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from gatewright.data.catalogue import BUNDLED
from gatewright.data.columns.missing import Fill
from gatewright.data.formats.csv_file import CsvFile
from gatewright.data.formats.frame_table import open_frame
from gatewright.data.formats.json_file import JsonFile
from gatewright.data.formats.parquet_file import open_parquet
from gatewright.data.formats.text_file import read_text
from gatewright.data.formats.ts_file import read_ts
from gatewright.data.formats.ts_pair import read_pair
from gatewright.data.formats.tsf_file import read_tsf
from gatewright.data.formats.ucr_file import are_bare_numbers, open_ucr
from gatewright.data.source.open_file import Encoding, find_encoding, inner_suffix, steady
from gatewright.data.source.request import Names, Reading, Request, Task, Unit, as_names
from gatewright.data.tables.from_table import read_table
from gatewright.errors import DataError

# Endings of files with data that would be misread as prose.
OTHER_DATA = {
    ".arff": "an ARFF file",
    ".xml": "an XML file",
    ".html": "a web page",
    ".yaml": "a YAML file",
    ".yml": "a YAML file",
    ".xlsx": "an Excel workbook",
    ".xls": "an Excel workbook",
    ".ods": "a spreadsheet",
    ".npy": "an array of NumPy",
    ".npz": "an archive of NumPy",
    ".mat": "a file of MATLAB",
    ".h5": "an HDF5 file",
    ".hdf5": "an HDF5 file",
    ".nc": "a NetCDF file",
    ".feather": "a Feather file",
    ".arrow": "an Arrow file",
    ".orc": "an ORC file",
    ".avro": "an Avro file",
    ".pkl": "a pickle",
    ".pickle": "a pickle",
    ".sav": "a file of SPSS",
    ".dta": "a file of Stata",
    ".rds": "a file of R",
    ".db": "a database",
    ".sqlite": "a database",
    ".zip": "an archive",
    ".wav": "a recording of sound",
    ".mp3": "a recording of sound",
    ".edf": "an EDF recording",
}


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
    decimal: str | None = None,
    thousands: str | None = None,
    encoding: str | None = None,
    timezone: str | None = None,
) -> Reading:
    """Read data, find out what they are for, and say so.

    Args:
        source: The path of a `.csv`, `.tsv`, `.parquet`, `.json`, `.jsonl`, `.ts` or `.tsf`
            file, of a `.txt` or `.tsv` file in the form of the UCR archive, of any other file as
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
        decimal: The decimal mark, "." or ",". Found for each column; where 1.113 may be a little
            more than one or over a thousand and no other cell tells which, it is asked for.
        thousands: The mark between groups of three digits: "." or ",", a space or an apostrophe.
        encoding: How the bytes of a file are turned into text, by Python's name. Found: UTF-8,
            UTF-16 with a byte-order mark, else Windows-1252, which holds Latin-1.
        timezone: The zone, such as "Europe/Berlin", whose clock the times show. Its summer time
            is taken off, so that every hour is there once. Found where an hour is missing in
            spring or comes twice in autumn.

    Returns:
        A `Reading`; its `data` is a `Series`, `Recordings`, `Tagged` or a `Text`.

    Raises:
        DataError: The data cannot be used; the message has the row, the column and the hint.
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
        decimal,
        thousands,
        encoding,
        timezone,
    )
    if not isinstance(source, str | os.PathLike):
        return read_table(open_frame(source, request.ways), "dataframe", request)
    path = Path(os.fsdecode(source))
    if not os.fspath(source):
        raise DataError("the path is empty; give a file, or the name of a bundled data set")
    if str(path) in BUNDLED and not path.exists():
        return BUNDLED[str(path)](request.without_marks(f"the bundled data set {path}"))
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
    if suffix in (".parquet", ".pq") and request.task != "next symbol":
        return read_table(open_parquet(path, request.ways), name, request)
    encoding = _encoding(path, request)
    notes = (encoding.note,) if encoding.note else ()
    form: dict[str, Any] = {"encoding": encoding.name, "ways": request.ways, "notes": notes}
    if request.task == "next symbol":
        why = "that was asked for"
        return _noting(notes, read_text(path, name, request, why, encoding.name))
    if suffix in (".json", ".jsonl", ".ndjson"):
        return read_table(JsonFile(path, path.name, **form), name, request)
    if suffix == ".tsf":
        return _noting(notes, read_tsf(path, name, request, encoding.name))
    if suffix == ".ts":
        return _noting(
            notes,
            read_pair(path, request, lambda part: read_ts(part, name, request, encoding.name)),
        )
    bytes_ = request.text == "bytes"
    if suffix in (".tsv", ".txt") and not bytes_ and are_bare_numbers(path, encoding.name):
        return read_pair(
            path,
            request,
            lambda part: read_table(open_ucr(part, request, encoding.name, notes), name, request),
        )
    if suffix in (".csv", ".tsv"):
        return read_table(CsvFile(path, path.name, **form), name, request)
    if suffix in OTHER_DATA and not bytes_:
        raise DataError(
            f"{path.name} is {OTHER_DATA[suffix]}, which is not read: save its data as CSV or "
            "Parquet, or read it as a text with task='next symbol'"
        )
    why = f"its name ends with {suffix or 'nothing'}, which is no ending of a table"
    why = "it is plain text" if suffix == ".txt" else why
    return _noting(notes, read_text(path, name, request, why, encoding.name))


def _encoding(path: Path, request: Request) -> Encoding:
    if request.encoding is not None:
        return Encoding(request.encoding)
    # As bytes, any file is a text.
    return Encoding("utf-8-sig") if request.text == "bytes" else find_encoding(path)


def _noting(notes: tuple[str, ...], reading: Reading) -> Reading:
    """The same, with notes before its own."""
    return replace(reading, notes=(*notes, *reading.notes))
