"""CSV and its relatives, by the standard library: strict, and with the place of each fault.

The file is read in chunks and never held as text. What is held are the columns that are used:
eight bytes a number. So a file may be larger than memory, but not its numbers.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from gatewright.data.columns.column import Kind, collector, kind_of
from gatewright.data.columns.number_format import BOTH, Numerals
from gatewright.data.source.open_file import inner_suffix, lines_of, open_text
from gatewright.data.tables.preview import finish, look_at
from gatewright.data.tables.table import Loaded, check_names, wrong_cell
from gatewright.errors import DataError

_CHUNK = 4096  # rows converted at once
_LOOK = 1000  # rows that a first look takes in
_DELIMITERS = ",;\t|"
_MARKS = {";": "semicolons", "\t": "tabs", "|": "bars", " ": "spaces"}
_NAMED_SEPARATOR = re.compile(r"\"?sep=([,;\t|])\"?\s*", re.IGNORECASE)  # Excel's first line


class CsvFile:
    """A table in a text file, with the columns' names in its first row.

    Commas, semicolons, tabs or bars separate the cells, whichever the first row has most of or a
    line `sep=;` before it names, as Excel does. Rows count from 1, the first line of the file.
    """

    def __init__(
        self,
        path: Path,
        source: str,
        *,
        encoding: str = "utf-8-sig",
        ways: tuple[Numerals, ...] = BOTH,
        names: tuple[str, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> None:
        self._path = path
        self.source = source
        self._encoding = encoding
        self._ways = ways
        self._names = names
        self._delimiter, self._before = self._sniff()
        self._header = not names
        self._nameless: list[str] = []
        rows = self._rows()
        if self._header:
            self._read_header(next(rows, None))
        first = list(islice(rows, _LOOK))
        if not first:
            raise DataError(
                f"{self.source} has a header ({_some(self._names)}) and no rows; "
                "expected data below it"
            )
        self.looks = {
            name: look_at(cells)
            for name, cells in zip(self._names, zip(*first, strict=True), strict=True)
        }
        self.notes = (*notes, *self._noticed())

    def row(self, at: int) -> str:
        """Rows as an editor or a spreadsheet counts them: the header is row 1."""
        return f"row {at + self._before + 1 + self._header}"

    def load(self, kinds: Mapping[str, Kind]) -> Loaded:
        """Read these columns, in one pass over the file."""
        places = [(name, place) for place, name in enumerate(self._names) if name in kinds]
        cells = {name: collector(kind, self._ways) for name, kind in kinds.items()}
        rows = self._rows()
        if self._header:
            next(rows)
        done = 0
        while chunk := list(islice(rows, _CHUNK)):
            columns = list(zip(*chunk, strict=True))
            for name, place in places:
                if fault := cells[name].add(columns[place], done):
                    raise wrong_cell(self, name, *fault)
            done += len(chunk)
        return finish(self, cells, self._delimiter)

    def _sniff(self) -> tuple[str, int]:
        """The mark that separates the cells, and the number of lines before the header."""
        with open_text(self._path, newline="", encoding=self._encoding) as file:
            first = next((line for line in lines_of(self.source, file) if line.strip()), "")
        if match := _NAMED_SEPARATOR.fullmatch(first):
            return match[1], 1
        if inner_suffix(self._path) == ".tsv":
            return "\t", 0
        counts = {mark: len(_cells(first, mark)) for mark in _DELIMITERS}
        best = max(counts, key=lambda mark: counts[mark])  # of equals, the first
        return (" " if self._names and counts[best] < 2 else best), 0

    def _rows(self) -> Iterator[list[str]]:
        """The header and then every row, each as wide as the header.

        Blank lines before the header and after the last row do not count; in between they
        are a fault, except where there is one column: there they are a missing value.
        """
        with open_text(self._path, newline="", encoding=self._encoding) as file:
            lines = lines_of(self.source, file)
            if self._before:
                next(line for line in lines if line.strip())
            if self._delimiter == " ":  # several stand for one
                lines = (" ".join(line.split()) + "\n" for line in lines)
            reader = csv.reader(lines, delimiter=self._delimiter, strict=True)
            width, number, blank = len(self._names) * (not self._header), self._before, 0
            while True:
                try:
                    row = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    raise DataError(
                        f"{self.source}, row {number + blank + 1} (line {reader.line_num}): "
                        f"{error}; check its quotes"
                    ) from None
                if not row:
                    blank += bool(width)
                    continue
                if blank:
                    if width > 1:
                        raise DataError(
                            f"{self.source}, row {number + 1} is empty; take the line out"
                        )
                    for _ in range(blank):
                        yield [""]
                    number, blank = number + blank, 0
                number += 1
                if width and len(row) != width:
                    raise DataError(
                        f"{self.source}, row {number} has {len(row)} cells; expected {width}, "
                        f"as in the header ({_some(self._names)})"
                    )
                width = len(row)
                yield row

    def _read_header(self, header: list[str] | None) -> None:
        if header is None:
            raise DataError(f"{self.source} holds only empty lines; expected a table")
        self._names = tuple(
            cell.strip() or f"column {at}" for at, cell in enumerate(header, start=1)
        )
        self._nameless = [
            name for name, cell in zip(self._names, header, strict=True) if not cell.strip()
        ]
        check_names(self.source, self._names)
        numbers = [cell for cell in header if kind_of([cell]) in ("number", "time")]
        if numbers and len(numbers) == sum(bool(cell.strip()) for cell in header):
            raise DataError(
                f"{self.source}, row 1 holds {', '.join(numbers[:3])}, which are values; "
                "expected the columns' names: add a first row with them"
            )

    def _noticed(self) -> tuple[str, ...]:
        notes = [f"{name} has no name in the header: it is called so" for name in self._nameless]
        if self._delimiter != ",":
            mark = _MARKS[self._delimiter]
            notes.append(f"cells are separated by {mark}")
        return tuple(notes)


def _cells(line: str, mark: str) -> list[str]:
    """The cells of a line; none where it cannot be separated by this mark."""
    try:
        return next(csv.reader([line], delimiter=mark), [])
    except csv.Error:
        return []


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return (", ".join(names[:20]) + more)[:500]
