"""The form of the UCR archive: no header, a recording a row, its class label first.

The cells are separated by tabs, commas or spaces. Other files of bare numbers are refused, since
nothing says what their columns are.
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

_LOOK = 50  # lines
_LEAST_STEPS = 8
_BETWEEN = re.compile(r"[\t,; ]\s*")
LABEL = "label"


def are_bare_numbers(path: Path, encoding: str) -> bool:
    """Does the file begin with rows of numbers, as many in each?"""
    return bool(_rows(path, encoding))


def open_ucr(path: Path, request: Request, encoding: str, notes: tuple[str, ...]) -> CsvFile:
    """The file as a table with a label and numbered steps; `DataError` where it is another one."""
    rows = _rows(path, encoding)
    labels = [number_of(row[0]) for row in rows]
    whole = all(label is not None and label.is_integer() for label in labels)
    if not whole or len(rows[0]) <= _LEAST_STEPS or len(set(labels)) > max(2, len(rows) // 2):
        raise DataError(
            f"{path.name} holds rows of numbers, {', '.join(rows[0][:3])} ..., without the names "
            "of their columns, and their first ones are no class labels; add a first row with the "
            "names and call it .csv, or read it as a text with task='next symbol'"
        )
    names = (LABEL, *(str(step) for step in range(1, len(rows[0]))))
    return CsvFile(path, path.name, encoding=encoding, ways=request.ways, names=names, notes=notes)


def _rows(path: Path, encoding: str) -> list[list[str]]:
    """The first rows, if they hold numbers alone, as many in each; else none."""
    with open_text(path, newline=None, encoding=encoding) as file:
        lines = [line.strip() for line in islice(lines_of(path.name, file), _LOOK)]
    rows = [_BETWEEN.split(line) for line in lines if line]
    if len(rows) < 2 or len(rows[0]) < 2 or len({len(row) for row in rows}) > 1:
        return []
    numbers = all(number_of(cell) is not None for row in rows for cell in row)
    return rows if numbers else []
