"""Read a user's data: a file, a dataframe or the name of a bundled data set."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from gatewright.data.catalogue import BUNDLED
from gatewright.data.columns.missing import Fill
from gatewright.data.formats.csv_file import CsvFile, table_separator
from gatewright.data.formats.frame_table import open_frame
from gatewright.data.formats.json_file import JsonFile
from gatewright.data.formats.parquet_file import open_parquet
from gatewright.data.formats.text_file import read_text
from gatewright.data.formats.ts_file import read_ts
from gatewright.data.formats.ts_pair import read_pair
from gatewright.data.formats.tsf_file import read_tsf
from gatewright.data.formats.ucr_file import are_bare_numbers, open_ucr
from gatewright.data.source.compression import inner_suffix
from gatewright.data.source.encoding import Encoding, find_encoding
from gatewright.data.source.open_file import guarded
from gatewright.data.source.request import Names, Reading, Request, TaskName, Unit
from gatewright.data.tables.from_table import read_table
from gatewright.errors import DataError
from gatewright.names import did_you_mean

# Endings of data files in formats that are not read, so that they are not taken for text.
_UNSUPPORTED = {
    ".arff": "an ARFF file",
    ".xml": "an XML file",
    ".html": "a web page",
    ".yaml": "a YAML file",
    ".yml": "a YAML file",
    ".xlsx": "an Excel workbook",
    ".xls": "an Excel workbook",
    ".ods": "a spreadsheet",
    ".npy": "a NumPy array",
    ".npz": "a NumPy archive",
    ".mat": "a MATLAB file",
    ".h5": "an HDF5 file",
    ".hdf5": "an HDF5 file",
    ".nc": "a NetCDF file",
    ".feather": "a Feather file",
    ".arrow": "an Arrow file",
    ".orc": "an ORC file",
    ".avro": "an Avro file",
    ".pkl": "a pickle",
    ".pickle": "a pickle",
    ".sav": "an SPSS file",
    ".dta": "a Stata file",
    ".rds": "an R file",
    ".db": "a database",
    ".sqlite": "a database",
    ".zip": "an archive",
    ".wav": "a sound recording",
    ".mp3": "a sound recording",
    ".edf": "an EDF recording",
}


# Endings of plain text, which may be a table all the same.
_MAYBE_TABLES = (".txt", ".dat", ".data", ".asc", ".tab")


def read(
    source: Any,
    *,
    task: TaskName | None = None,
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
    """Read data, and detect the task they are for.

    Args:
        source: The path of a `.csv`, `.tsv`, `.parquet`, `.json`, `.jsonl`, `.ts` or `.tsf`
            file, of a `.txt` file that is a table, of a `.txt` or `.tsv` file in the format of the
            UCR archive, or of any other file as plain text (all but Parquet may be compressed:
            `.csv.gz`); the name of a
            bundled data set; or a dataframe of pandas, polars, pyarrow or another library that
            narwhals knows. For `NAME_TRAIN.ts` a file `NAME_TEST.ts` in the same folder is read
            as the test part.
        task: "forecast", "classify", "tag" or "next symbol". By default a table without a label
            is for forecast; with a label it is for classify if each id has a single label, else
            for tag; a `.ts` file with class labels is for classify, and a text for next symbol.
        target: The columns to forecast; by default all channels that are not known.
        time: The column with times or numbers of steps. Detected by its values or its name.
        id: The column that separates several series or sequences. Detected by its name, or
            because each time comes once with it.
        label: The column of class labels. Detected by its name, or in a table without dates
            because it stays the same in each recording or in long runs of rows, and recurs.
        known: Columns whose future is known. Rows at the end that have them but no target are
            read as that future.
        static: Columns that do not change over time.
        ignore: Columns to leave out.
        text: Read a text as "characters" (UTF-8), as "bytes" (any file), or as "pairs": characters
            that a model joins to the most frequent pieces of words.
        fill: Treatment of missing and infinite values, and of missing steps of a forecast:
            "linear" interpolates between their neighbours in time, "previous" repeats the value
            before, "drop" leaves the rows out. By default values and steps are interpolated, with
            a note, where at most a quarter is missing, and columns with more are left out of a
            table that has others; the rest, and infinite values, are refused.
        labelled: False if new data need no label; if one is missing, the result has the classes
            () and the labels -1.
        decimal: The decimal mark, "." or ",". Detected for each column; required only if 1.113
            may be a little more than one or more than a thousand and no other cell decides it.
        thousands: The separator of thousands: "." or ",", a space or an apostrophe.
        encoding: The encoding of a file, by its name in Python. Detected: UTF-8, UTF-16 with a
            byte-order mark, else Windows-1252, which includes Latin-1.
        timezone: The zone, such as "Europe/Berlin", whose clock the times show. They are
            converted to its winter time, so that every hour comes once. Detected if an hour is
            missing in spring or comes twice in autumn.

    Returns:
        A `Reading`; its `data` is a `Series`, `Recordings`, `Tagged` or a `Text`.

    Raises:
        DataError: The data cannot be used; the message has the row, the column and a hint.
        ArgumentError: An argument is not valid, or two exclude each other.

    A CSV or Parquet file may be larger than memory, but not the columns that are used, which
    take eight bytes per number. The modules in `formats` document the limits of other formats.

    >>> days = {"day": ["2024-01-01", "2024-01-02", "2024-01-03"], "sold": [3, 5, 4]}
    >>> import pyarrow
    >>> read(pyarrow.table(days)).data
    Series('dataframe', n=1, steps=3, channels=1, period=1 day)
    """
    request = Request.of(
        task=task,
        target=target,
        time=time,
        id=id,
        label=label,
        known=known,
        static=static,
        ignore=ignore,
        text=text,
        fill=fill,
        labelled=labelled,
        decimal=decimal,
        thousands=thousands,
        encoding=encoding,
        timezone=timezone,
    )
    return read_as(source, request)


def read_as(source: Any, request: Request) -> Reading:
    """Read data by a request; see `read`."""
    if not isinstance(source, str | os.PathLike):
        return read_table(open_frame(source, request.number_formats), "dataframe", request)
    path = Path(os.fsdecode(source))
    if not os.fspath(source):
        raise DataError("the path is empty; expected a file or the name of a bundled data set")
    if str(path) in BUNDLED and not path.exists():
        return BUNDLED[str(path)](request.without_marks(f"the bundled data set {path}"))
    try:
        if "\0" in str(path):  # no file has such a name, and Python would raise `ValueError`
            raise FileNotFoundError
        with guarded(path):
            return _read_file(path, request)
    except FileNotFoundError:
        raise _no_such_file(path) from None


def check_exists(source: str) -> None:
    """Refuse the name of data that do not exist, before anything slow is imported to use them.

    Raises:
        DataError: as `read` does, if it is neither a bundled data set nor the path of anything.
    """
    if source and source not in BUNDLED and not os.path.lexists(source):
        raise _no_such_file(Path(source))


def _no_such_file(path: Path) -> DataError:
    names = ", ".join(sorted(BUNDLED))
    return DataError(
        f"there is no file {str(path)!r}, and no bundled data set with this name; "
        f"{did_you_mean(str(path), BUNDLED)}expected a path, or one of: {names}"
    )


def _read_file(path: Path, request: Request) -> Reading:
    """Read a file in the format of its name's ending; the task next symbol reads it as text."""
    suffix = inner_suffix(path)
    name = path.name.split(".", 1)[0] or path.name
    as_text = request.task == "next symbol"
    if suffix in (".parquet", ".pq") and not as_text:
        return read_table(open_parquet(path, request.number_formats), name, request)
    encoding = _encoding(path, request)
    notes = (encoding.note,) if encoding.note else ()
    options: dict[str, Any] = {
        "encoding": encoding.name,
        "number_formats": request.number_formats,
        "notes": notes,
    }
    if not as_text:
        if suffix in (".json", ".jsonl", ".ndjson"):
            return read_table(JsonFile(path, path.name, **options), name, request)
        if suffix == ".tsf":
            return _with_notes(notes, read_tsf(path, name, request, encoding.name))
        if suffix == ".ts":
            read_part = partial(read_ts, name=name, request=request, encoding=encoding.name)
            return _with_notes(notes, read_pair(path, request, read_part))
        if _is_ucr(path, suffix, request, encoding):
            return read_pair(
                path,
                request,
                lambda part: read_table(
                    open_ucr(part, request, encoding.name, notes), name, request
                ),
            )
        if suffix in (".csv", ".tsv"):
            return read_table(CsvFile(path, path.name, **options), name, request)
        if suffix in _MAYBE_TABLES and request.text == "characters":
            separator = table_separator(path, encoding.name)
            if separator is not None:
                note = "each of its lines has as many cells: it is read as a table"
                options["notes"] = (*notes, f"{note}; task='next symbol' reads it as a text")
                file = CsvFile(path, path.name, separator=separator, **options)
                return read_table(file, name, request)
        if suffix in _UNSUPPORTED and request.text != "bytes":
            raise DataError(
                f"{path.name} is {_UNSUPPORTED[suffix]}, which is not read: save its data as CSV "
                "or Parquet, or read it as a text with task='next symbol'"
            )
    why = _why_text(suffix, as_text)
    return _with_notes(notes, read_text(path, name, request, why, encoding.name))


def _is_ucr(path: Path, suffix: str, request: Request, encoding: Encoding) -> bool:
    if suffix not in (".tsv", ".txt") or request.text == "bytes":
        return False
    return are_bare_numbers(path, encoding.name)


def _why_text(suffix: str, asked_for: bool) -> str:
    if asked_for:
        return "that was asked for"
    if suffix == ".txt":
        return "it is plain text"
    return f"its name ends with {suffix or 'nothing'}, which is not the ending of a table"


def _encoding(path: Path, request: Request) -> Encoding:
    if request.encoding is not None:
        return Encoding(request.encoding)
    # Read as bytes, any file is a text, so its encoding does not matter.
    return Encoding("utf-8-sig") if request.text == "bytes" else find_encoding(path)


def _with_notes(notes: tuple[str, ...], reading: Reading) -> Reading:
    """Put notes before those of a reading."""
    return replace(reading, notes=(*notes, *reading.notes))
