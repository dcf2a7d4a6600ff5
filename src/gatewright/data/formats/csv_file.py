"""CSV files and their relatives, read strictly with the standard library.

A file is read in chunks, and only the columns that are used are stored, with eight bytes per
number. So a file may be larger than memory, but not its numbers.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from gatewright.data.columns.column import ColumnKind, kind_of, new_column
from gatewright.data.columns.number_format import NUMBER_FORMATS, NumberFormat
from gatewright.data.source.compression import inner_suffix
from gatewright.data.source.open_file import lines_of, open_text
from gatewright.data.tables.finish import finish_columns
from gatewright.data.tables.preview import preview_column
from gatewright.data.tables.table import LoadedColumns, check_names, wrong_cell
from gatewright.errors import DataError

_CHUNK = 4096  # rows converted at once
_PREVIEW_ROWS = 1000
_SEPARATORS = ",;\t|"
_SEPARATOR_NAMES = {";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
_SEPARATOR_LINE = re.compile(r"\"?sep=([,;\t|])\"?\s*", re.IGNORECASE)  # Excel's first line
_MAX_NAMES_SHOWN, _MAX_TEXT_SHOWN = 20, 500


class CsvFile:
    """A table in a text file, with the columns' names in its first row.

    The cells are separated by commas, semicolons, tabs or bars: the most frequent of them in the
    first row, or the one in a line `sep=;` before it, as Excel writes it. Rows count from 1, the
    first line of the file.

    Args:
        names: The names of the columns, for a file without a header.
        notes: Notes for the user that are known already.
    """

    def __init__(
        self,
        path: Path,
        source: str,
        *,
        encoding: str = "utf-8-sig",
        number_formats: tuple[NumberFormat, ...] = NUMBER_FORMATS,
        names: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> None:
        self._path = path
        self.source = source
        self._encoding = encoding
        self._number_formats = number_formats
        self._names = names
        self._separator, self._lines_before_header = self._detect_separator()
        self._header = not names
        self._nameless: list[str] = []
        rows = self._rows()
        if self._header:
            self._read_header(next(rows, None))
        first = list(islice(rows, _PREVIEW_ROWS))
        if not first:
            raise DataError(
                f"{self.source} has a header ({_list(self._names)}) and no rows; "
                "expected data below it"
            )
        self.previews = {
            name: preview_column(cells)
            for name, cells in zip(self._names, zip(*first, strict=True), strict=True)
        }
        self.notes = (*notes, *self._notes_on_form())

    def row(self, index: int) -> str:
        """Name a row as an editor or a spreadsheet counts it: the header is row 1."""
        return f"row {index + self._lines_before_header + 1 + self._header}"

    def load(self, kinds: Mapping[str, ColumnKind]) -> LoadedColumns:
        """Read these columns, in one pass over the file."""
        positions = [(name, index) for index, name in enumerate(self._names) if name in kinds]
        columns = {name: new_column(kind, self._number_formats) for name, kind in kinds.items()}
        rows = self._rows()
        if self._header:
            next(rows)
        rows_read = 0
        while chunk := list(islice(rows, _CHUNK)):
            cells = list(zip(*chunk, strict=True))  # by column
            for name, index in positions:
                if fault := columns[name].add(cells[index], rows_read):
                    raise wrong_cell(self, name, *fault)
            rows_read += len(chunk)
        return finish_columns(self, columns, self._separator)

    def _detect_separator(self) -> tuple[str, int]:
        """Return the separator of the cells, and the number of lines before the header."""
        with open_text(self._path, newline="", encoding=self._encoding) as file:
            first = next((line for line in lines_of(self.source, file) if line.strip()), "")
        if match := _SEPARATOR_LINE.fullmatch(first):
            return match[1], 1
        if inner_suffix(self._path) == ".tsv":
            return "\t", 0
        counts = {separator: len(_split(first, separator)) for separator in _SEPARATORS}
        best = max(counts, key=lambda separator: counts[separator])  # the first of equal ones
        return (" " if self._names and counts[best] < 2 else best), 0

    def _rows(self) -> Iterator[list[str]]:
        """Yield the header and then every row, each with as many cells as the header.

        Blank lines before the header and after the last row are skipped. In between they are a
        fault, except in a table of one column, where they are a missing value.
        """
        with open_text(self._path, newline="", encoding=self._encoding) as file:
            lines = lines_of(self.source, file)
            if self._lines_before_header:
                next(line for line in lines if line.strip())
            if self._separator == " ":  # several spaces separate like one
                lines = (" ".join(line.split()) + "\n" for line in lines)
            reader = csv.reader(lines, delimiter=self._separator, strict=True)
            width = 0 if self._header else len(self._names)
            number, blank = self._lines_before_header, 0  # of the last row; lines since then
            while True:
                try:
                    row = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    raise DataError(
                        f"{self.source}, row {number + blank + 1} (line {reader.line_num}): "
                        f"{error}; check the quotes"
                    ) from None
                if not row:
                    blank += bool(width)
                    continue
                if blank:
                    if width > 1:
                        raise DataError(
                            f"{self.source}, row {number + 1} is empty; remove the line"
                        )
                    for _ in range(blank):
                        yield [""]
                    number, blank = number + blank, 0
                number += 1
                if width and len(row) != width:
                    raise DataError(
                        f"{self.source}, row {number} has {len(row)} "
                        f"cell{'s' * (len(row) != 1)}; expected {width}, "
                        f"as in the header ({_list(self._names)})"
                    )
                width = len(row)
                yield row

    def _read_header(self, header: list[str] | None) -> None:
        if header is None:
            raise DataError(f"{self.source} has only empty lines; expected a table")
        self._names = tuple(
            cell.strip() or f"column {number}" for number, cell in enumerate(header, start=1)
        )
        self._nameless = [
            name for name, cell in zip(self._names, header, strict=True) if not cell.strip()
        ]
        check_names(self.source, self._names)
        numbers = [cell for cell in header if kind_of([cell]) in ("number", "time")]
        if numbers and len(numbers) == sum(bool(cell.strip()) for cell in header):
            raise DataError(
                f"{self.source}, row 1 has {', '.join(numbers[:3])}, which are values; "
                "expected the columns' names: add a first row with them"
            )

    def _notes_on_form(self) -> tuple[str, ...]:
        notes = [
            f"{name} has no name in the header: it is named by its number"
            for name in self._nameless
        ]
        if self._separator != ",":
            notes.append(f"cells are separated by {_SEPARATOR_NAMES[self._separator]}")
        return tuple(notes)


def _split(line: str, separator: str) -> list[str]:
    """Split a line into cells; return none if the line is not valid with this separator."""
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


def _list(names: Sequence[str]) -> str:
    omitted = len(names) - _MAX_NAMES_SHOWN
    more = f" and {omitted} more" if omitted > 0 else ""
    return (", ".join(names[:_MAX_NAMES_SHOWN]) + more)[:_MAX_TEXT_SHOWN]
