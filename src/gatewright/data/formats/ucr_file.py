"""The format of the UCR archive: no header, one recording per row, its class label first.

The cells are separated by tabs, commas or spaces. Other files of numbers without a header are
refused, since the meaning of their columns is unknown.
"""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

from gatewright.data.columns.number_format import number_of
from gatewright.data.formats.csv_file import CsvFile
from gatewright.data.source.open_file import lines_of, open_text
from gatewright.data.source.request import Request
from gatewright.errors import DataError

_PREVIEW_LINES = 50
_MIN_STEPS = 8
_SEPARATOR = re.compile(r"[\t,; ]\s*")
LABEL = "label"


def are_bare_numbers(path: Path, encoding: str) -> bool:
    """Return True if the file starts with rows of numbers, the same number in each."""
    return bool(_first_rows(path, encoding))


def open_ucr(path: Path, request: Request, encoding: str, notes: tuple[str, ...]) -> CsvFile:
    """Open the file as a table with a label and numbered steps.

    Raises `DataError` if its first column cannot be labels.
    """
    rows = _first_rows(path, encoding)
    labels = [number_of(row[0]) for row in rows]
    whole = all(label is not None and label.is_integer() for label in labels)
    if not whole or len(rows[0]) <= _MIN_STEPS or len(set(labels)) > max(2, len(rows) // 2):
        raise DataError(
            f"{path.name} has rows of numbers, {', '.join(rows[0][:3])} ..., without the names "
            "of their columns, and the first number of a row is not a class label; add a first "
            "row with the names and rename the file to .csv, or read it as a text with "
            "task='next symbol'"
        )
    names = (LABEL, *(str(step) for step in range(1, len(rows[0]))))
    return CsvFile(
        path,
        path.name,
        encoding=encoding,
        number_formats=request.number_formats,
        names=names,
        notes=notes,
    )


def _first_rows(path: Path, encoding: str) -> list[list[str]]:
    """Return the first rows if they are only numbers, the same number in each; else none."""
    with open_text(path, newline=None, encoding=encoding) as file:
        lines = [line.strip() for line in islice(lines_of(path.name, file), _PREVIEW_LINES)]
    rows = [_SEPARATOR.split(line) for line in lines if line]
    if len(rows) < 2 or len(rows[0]) < 2 or len({len(row) for row in rows}) > 1:
        return []
    numbers = all(number_of(cell) is not None for row in rows for cell in row)
    return rows if numbers else []
