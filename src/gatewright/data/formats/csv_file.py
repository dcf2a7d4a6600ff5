"""CSV and its relatives, by the standard library: strict, and with the place of each fault.

The file is read in chunks and never held as text. What is held are the columns that are used:
eight bytes a number. So a file may be larger than memory, but not its numbers.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from gatewright.data.cells import Kind, collector, kind_of
from gatewright.data.opening import inner_suffix, open_text
from gatewright.data.table import Columns, Look, check_names, wrong_cell
from gatewright.data.times import parse
from gatewright.errors import DataError

_CHUNK = 4096  # rows converted at once
_LOOK = 1000  # rows that a first look takes in
_DELIMITERS = ",;\t|"


class CsvFile:
    """A table in a text file, with the columns' names in its first row.

    Commas, semicolons, tabs or bars part the cells, whichever the first row has most of; where
    it is not the comma, numbers may have a decimal comma. Rows count from 1, the header.
    """

    def __init__(self, path: Path, source: str) -> None:
        self._path = path
        self.source = source
        self._delimiter = "\t" if inner_suffix(path) == ".tsv" else self._sniff()
        self._names: tuple[str, ...] = ()
        rows = self._rows()
        header = next(rows, None)
        if header is None:
            raise DataError(f"{self.source} holds only empty lines; expected a table")
        self._names = tuple(
            cell.strip() or f"column {at}" for at, cell in enumerate(header, start=1)
        )
        self._nameless = [
            name for name, cell in zip(self._names, header, strict=True) if not cell.strip()
        ]
        self._check_header(header)
        first = list(islice(rows, _LOOK))
        if not first:
            raise DataError(
                f"{self.source} has a header ({', '.join(self._names)}) and no rows; "
                "expected data below it"
            )
        self.looks = {
            name: self._look(cells)
            for name, cells in zip(self._names, zip(*first, strict=True), strict=True)
        }
        self.notes = self._noticed()

    def row(self, at: int) -> str:
        """Rows as an editor or a spreadsheet counts them: the header is row 1."""
        return f"row {at + 2}"

    def load(self, wanted: Mapping[str, Kind]) -> tuple[Columns, tuple[str, ...]]:
        """These columns, in one pass over the file."""
        places = [(name, self._names.index(name)) for name in wanted]
        cells = {name: collector(kind, self._decimal_comma) for name, kind in wanted.items()}
        rows = self._rows()
        next(rows)
        done = 0
        while chunk := list(islice(rows, _CHUNK)):
            columns = list(zip(*chunk, strict=True))
            for name, place in places:
                if fault := cells[name].add(columns[place], done):
                    raise wrong_cell(self, name, *fault)
            done += len(chunk)
        notes: list[str] = []
        for name, column in cells.items():
            if fault := column.problem():
                raise wrong_cell(self, name, *fault)
            notes += [f"column {name}: {note}" for note in column.notes()]
        return {name: column.done() for name, column in cells.items()}, tuple(notes)

    @property
    def _decimal_comma(self) -> bool:
        return self._delimiter != ","

    def _sniff(self) -> str:
        with open_text(self._path, newline="") as file:
            first = next((line for line in file if line.strip()), "")
        counts = {mark: len(next(csv.reader([first], delimiter=mark), [])) for mark in _DELIMITERS}
        return max(counts, key=lambda mark: counts[mark])  # of equals, the first

    def _rows(self) -> Iterator[list[str]]:
        """The header and then every row, each as wide as the header.

        Blank lines before the header and after the last row do not count; in between they
        are a fault, except where there is one column: there they are a missing value.
        """
        with open_text(self._path, newline="") as file:
            reader = csv.reader(file, delimiter=self._delimiter, strict=True)
            width, number, blank = 0, 0, 0
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
                        f"as in the header ({', '.join(self._names)})"
                    )
                width = len(row)
                yield row

    def _check_header(self, header: list[str]) -> None:
        numbers = [cell for cell in header if kind_of([cell]) in ("number", "time")]
        if numbers and len(numbers) == sum(bool(cell.strip()) for cell in header):
            raise DataError(
                f"{self.source}, row 1 holds {', '.join(numbers[:3])}, which are values; "
                "expected the columns' names: add a first row with them"
            )
        check_names(self.source, self._names)

    def _look(self, cells: tuple[str, ...]) -> Look:
        kind = kind_of(cells, self._decimal_comma)
        present = [cell.strip() for cell in cells if kind_of([cell]) != "nothing"]
        return Look(
            kind,
            tuple(dict.fromkeys(present))[:5],
            kind == "number" and all(parse(cell, "yearmonthday") for cell in present),
        )

    def _noticed(self) -> tuple[str, ...]:
        notes = [f"{name} has no name in the header: it is called so" for name in self._nameless]
        if self._delimiter != ",":
            mark = {";": "semicolons", "\t": "tabs", "|": "bars"}[self._delimiter]
            notes.append(f"cells are parted by {mark}, so a number may have a decimal comma")
        return tuple(notes)
