"""CSV files and their relatives, read strictly with the standard library.

A file is read in chunks, and only the columns that are used are stored, with eight bytes per
number. So a file may be larger than memory, but not its numbers.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from gatewright.data.columns.column import ColumnKind, kind_of, new_column
from gatewright.data.columns.number_format import NUMBER_FORMATS, NumberFormat
from gatewright.data.formats.csv_frame import (
    MAX_NOTES,
    SAMPLE_LINES,
    SEPARATORS,
    are_notes,
    are_units,
    find_separator,
    find_table,
    is_total,
    lacks_a_name,
    split_line,
)
from gatewright.data.source.compression import inner_suffix
from gatewright.data.source.open_file import lines_of, open_text
from gatewright.data.tables.finish import finish_columns
from gatewright.data.tables.preview import preview_column
from gatewright.data.tables.table import LoadedColumns, check_names, wrong_cell
from gatewright.errors import DataError

_CHUNK = 4096  # rows converted at once
_PREVIEW_ROWS = 1000
_SEPARATOR_NAMES = {";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
_SEPARATOR_LINE = re.compile(r"\"?sep=([,;\t|])\"?\s*", re.IGNORECASE)  # Excel's first line
_MAX_NAMES_SHOWN, _MAX_TEXT_SHOWN = 20, 500


class CsvFile:
    """A table in a text file, with the columns' names in its first row.

    The cells are separated by commas, semicolons, tabs or bars: the most frequent of them in the
    first row, or the one in a line `sep=;` before it, as Excel writes it. Lines around the table
    are left out, see `csv_frame`. Rows count from 1, the first line of the file.

    Args:
        names: The names of the columns, for a file without a header.
        separator: The separator of the cells, if it is known.
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
        separator: str | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self._path = path
        self.source = source
        self._encoding = encoding
        self._number_formats = number_formats
        self._names = names
        self._notes = list(notes)
        self._lacks_a_name = False  # of the first column, in the header
        self._separator, self._lines_before_header = self._detect_separator()
        self._separator = separator or self._separator
        self._header = not names
        self._unit_rows = 0  # below the header
        self._nameless: list[str] = []
        self._left_out: list[str] = []  # notes on lines at the end, once they were reached
        rows = self._rows()
        if self._header:
            self._read_header(next(self._table_rows(), None))
            next(rows)
        first = list(islice(rows, _PREVIEW_ROWS))
        units: list[str] = []
        while self._header and first and are_units(first[0], first[1:SAMPLE_LINES], bool(units)):
            units += first.pop(0)
            self._unit_rows += 1
        if not first:
            raise DataError(
                f"{self.source} has a header ({_list(self._names)}) and no rows; "
                "expected data below it"
            )
        self.previews = {
            name: preview_column(cells)
            for name, cells in zip(self._names, zip(*first, strict=True), strict=True)
        }
        self.notes = (*self._notes, *self._notes_on_form(units))

    def row(self, index: int) -> str:
        """Name a row as an editor or a spreadsheet counts it: the header is row 1."""
        above = self._lines_before_header + self._header + self._unit_rows
        return f"row {index + above + 1}"

    def load(self, kinds: Mapping[str, ColumnKind]) -> LoadedColumns:
        """Read these columns, in one pass over the file."""
        positions = [(name, index) for index, name in enumerate(self._names) if name in kinds]
        columns = {name: new_column(kind, self._number_formats) for name, kind in kinds.items()}
        rows = self._rows()
        for _ in range(self._header + self._unit_rows):
            next(rows)
        rows_read = 0
        while chunk := list(islice(rows, _CHUNK)):
            cells = list(zip(*chunk, strict=True))  # by column
            for name, index in positions:
                if fault := columns[name].add(cells[index], rows_read):
                    raise wrong_cell(self, name, *fault)
            rows_read += len(chunk)
        loaded = finish_columns(self, columns, self._separator)
        return replace(loaded, notes=(*loaded.notes, *self._left_out))

    def _detect_separator(self) -> tuple[str, int]:
        """Return the separator of the cells, and the number of lines before the header."""
        with open_text(self._path, newline="", encoding=self._encoding) as file:
            lines = list(islice(lines_of(self.source, file), SAMPLE_LINES))
        first = next((number for number, line in enumerate(lines) if line.strip()), 0)
        if lines and (match := _SEPARATOR_LINE.fullmatch(lines[first])):
            return match[1], first + 1
        if self._names:
            best, _ = find_table(lines[first : first + 1])
            return (" " if len(split_line(lines[first], best)) < 2 else best), 0
        separator, above = find_table(
            lines, "\t" if inner_suffix(self._path) == ".tsv" else SEPARATORS
        )
        self._lacks_a_name = lacks_a_name(lines[above:], separator)
        if above:
            count = f"{above} lines come" if above > 1 else "line comes"
            self._notes.append(f"the first {count} before the header: left out")
        return separator, above

    def _rows(self) -> Iterator[list[str]]:
        """Yield the header and then every row, but a last one with the total of the others."""
        self._left_out = []
        rows = self._table_rows()
        latest = next(rows, None)
        is_header = self._header
        for row in rows:
            assert latest is not None
            yield latest
            latest, is_header = row, False
        if latest is None:
            return
        if is_total(latest) and not is_header:
            name = next(filter(None, map(str.strip, latest)))
            self._left_out.append(f"the last row, {name}, sums up others: left out")
        else:
            yield latest

    def _table_rows(self) -> Iterator[list[str]]:
        """Yield the header and then every row, each with as many cells as the header.

        Blank lines before the header and after the last row are skipped, and so are notes at the
        end. Elsewhere blank lines are a fault, except in a table of one column, where they are a
        missing value.
        """
        with open_text(self._path, newline="", encoding=self._encoding) as file:
            lines = iter(lines_of(self.source, file))
            for _ in range(self._lines_before_header):
                next(lines)
            if self._separator == " ":  # several spaces separate like one
                lines = (" ".join(line.split()) + "\n" for line in lines)
            reader = csv.reader(lines, delimiter=self._separator, strict=True)
            width = 0 if self._header else len(self._names)
            number, blank = self._lines_before_header, 0  # of the last row; lines since then
            empty: list[list[str]] = []  # rows of empty cells, which count if another row follows
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
                problem = self._problem(row, width, number, blank)
                if problem and self._ends_with_notes(row, reader, width):
                    return
                if problem:
                    raise DataError(problem)
                for _ in range(blank):  # in a table of one column
                    yield [""]
                number, blank = number + blank + 1, 0
                if self._lacks_a_name and not width:
                    row = ["", *row]
                is_first, width = not width, len(row)
                if width > 1 and not is_first and not any(map(str.strip, row)):
                    empty.append(row)
                    continue
                yield from empty
                empty.clear()
                yield row

    def _problem(self, row: Sequence[str], width: int, number: int, blank: int) -> str:
        """Return the reason that a line is no row of the table, or nothing."""
        if blank and width > 1:
            return f"{self.source}, row {number + 1} is empty; remove the line"
        if width and len(row) != width:
            return (
                f"{self.source}, row {number + blank + 1} has {len(row)} "
                f"cell{'s' * (len(row) != 1)}; expected {width}, "
                f"as in the header ({_list(self._names)})"
            )
        return ""

    def _ends_with_notes(self, row: list[str], rest: Iterator[list[str]], width: int) -> bool:
        """Return True if a line and all after it are notes below the table."""
        try:
            lines = [row, *islice(rest, MAX_NOTES)]
        except csv.Error:
            return False
        if width < 2 or not are_notes(lines, width):
            return False
        count = sum(bool(line) for line in lines)
        self._left_out.append(
            f"the last {'line is no row' if count == 1 else f'{count} lines are no rows'} of the "
            f"table ({_list(row)}): left out"
        )
        return True

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

    def _notes_on_form(self, units: Sequence[str]) -> tuple[str, ...]:
        notes = [
            f"{name} has no name in the header: it is named by its number"
            for name in self._nameless
        ]
        if units:
            written = _list([cell for cell in units if cell.strip()])
            rows = "row" if self._unit_rows == 1 else f"{self._unit_rows} rows"
            notes.append(f"units or names in the {rows} below the header ({written}): left out")
        if self._separator != ",":
            notes.append(f"cells are separated by {_SEPARATOR_NAMES[self._separator]}")
        return tuple(notes)


def table_separator(path: Path, encoding: str) -> str | None:
    """Return what separates the cells of a text whose lines are the rows of a table, or None."""
    with open_text(path, newline=None, encoding=encoding) as file:
        lines = list(islice(lines_of(path.name, file), SAMPLE_LINES))
    return find_separator(lines)


def _list(names: Sequence[str]) -> str:
    omitted = len(names) - _MAX_NAMES_SHOWN
    more = f" and {omitted} more" if omitted > 0 else ""
    return (", ".join(names[:_MAX_NAMES_SHOWN]) + more)[:_MAX_TEXT_SHOWN]
