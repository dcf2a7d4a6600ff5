"""Tables in JSON: a list of records, one record per line, or a list per column.

A file is read as a whole, so its size is limited; larger tables belong in CSV or Parquet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gatewright.data.columns.column import ColumnKind, new_column
from gatewright.data.columns.number_format import NUMBER_FORMATS, NumberFormat
from gatewright.data.source.open_file import lines_of, open_text
from gatewright.data.tables.finish import finish_columns
from gatewright.data.tables.preview import preview_column
from gatewright.data.tables.table import LoadedColumns, check_names, wrong_cell
from gatewright.errors import DataError

_MAX_CHARACTERS = 1 << 27
_MAX_CELLS = 1 << 24
_PREVIEW_ROWS = 1000
_EXPECTED = "expected a list of records like [{...}, {...}]"


class JsonFile:
    """A table of records, which count from 1."""

    previews: Mapping[str, Any]

    def __init__(
        self,
        path: Path,
        source: str,
        *,
        encoding: str = "utf-8-sig",
        number_formats: tuple[NumberFormat, ...] = NUMBER_FORMATS,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.source = source
        self.notes = notes
        self._number_formats = number_formats
        is_document = ".json" in (part.lower() for part in path.suffixes)
        parse = _parse_document if is_document else _parse_lines
        self._cells = _cells_by_column(source, parse(path, source, encoding))
        check_names(source, tuple(self._cells))
        self.previews = {
            name: preview_column(cells[:_PREVIEW_ROWS]) for name, cells in self._cells.items()
        }

    def row(self, index: int) -> str:
        """Name a record by its number."""
        return f"record {index + 1}"

    def load(self, kinds: Mapping[str, ColumnKind]) -> LoadedColumns:
        """Read these columns."""
        columns = {name: new_column(kind, self._number_formats) for name, kind in kinds.items()}
        for name, column in columns.items():
            if fault := column.add(self._cells[name], 0):
                raise wrong_cell(self, name, *fault)
        return finish_columns(self, columns)


def _parse_lines(path: Path, source: str, encoding: str) -> Iterator[Any]:
    """Yield the records of a file with one record per line."""
    size = 0
    with open_text(path, newline=None, encoding=encoding) as file:
        for number, line in enumerate(lines_of(source, file), start=1):
            size += len(line)
            _check_size(source, size)
            if line.strip():
                yield _parse(f"{source}, line {number}", line)


def _parse_document(path: Path, source: str, encoding: str) -> Any:
    """Return the records of a file that is one JSON value."""
    with open_text(path, newline=None, encoding=encoding) as file:
        text = file.read(_MAX_CHARACTERS + 1)
    _check_size(source, len(text))
    value = _parse(source, text)
    if isinstance(value, dict):
        value = _records_of_object(source, value)
    if not isinstance(value, list):
        raise _not_a_table(source, value)
    return value


def _records_of_object(source: str, value: dict[str, Any]) -> Any:
    """Return the only list of records in an object, or its columns as records."""
    lists = [member for member in value.values() if isinstance(member, list)]
    tables = [member for member in lists if member and isinstance(member[0], dict)]
    if len(tables) == 1:
        return tables[0]
    if all(isinstance(column, dict) for column in value.values()):  # as pandas writes a frame
        rows = {key: None for column in value.values() for key in column}  # in order, once each
        return [{name: column.get(key) for name, column in value.items()} for key in rows]
    if len(lists) == len(value) and len({len(column) for column in lists}) == 1:
        return [dict(zip(value, row, strict=True)) for row in zip(*lists, strict=True)]
    raise _not_a_table(source, value)


def _parse(place: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DataError(
            f"{place} is not JSON ({reason[:200]}); correct it, or read it as a text with "
            "task='next symbol'"
        ) from None


def _check_size(source: str, size: int) -> None:
    if size > _MAX_CHARACTERS:
        raise DataError(
            f"{source} has more than {_MAX_CHARACTERS:,} characters; save a table of this size "
            "as CSV or Parquet"
        )


def _not_a_table(place: str, value: Any) -> DataError:
    return DataError(f"{place} has {_beginning(value)}, which is not a table; {_EXPECTED}")


def _beginning(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]} ..."


def _cells_by_column(source: str, records: Any) -> dict[str, list[str]]:
    """Return the cells of each column as text, empty where a record does not have the key."""
    columns: dict[str, list[str]] = {}
    count = 0
    for count, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise _not_a_table(f"{source}, record {count}", record)
        record = dict(_flat(record))
        for name, value in record.items():
            if name not in columns:
                columns[name] = [""] * (count - 1)
            columns[name].append(_cell(f"{source}, record {count}, column {name}", value))
        if len(record) < len(columns):
            for cells in columns.values():
                if len(cells) < count:
                    cells.append("")
        if len(columns) * count > _MAX_CELLS:
            raise DataError(
                f"{source} has more than {_MAX_CELLS:,} cells, up to record {count}; save a table "
                "of this size as CSV or Parquet"
            )
    if not count:
        raise DataError(f"{source} has no record; {_EXPECTED}")
    return columns


def _flat(record: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the values of a record; those of an object in it as `object.name`."""
    for name, value in record.items():
        if isinstance(value, dict) and value:
            yield from ((f"{name}.{inner}", member) for inner, member in value.items())
        else:
            yield name, value


def _cell(place: str, value: Any) -> str:
    if isinstance(value, dict | list):
        raise DataError(
            f"{place}: the value is {json.dumps(value)[:60]}; expected a number, a text, true, "
            "false or null: write nested values as separate columns"
        )
    if value is None:
        return ""
    return str(value) if isinstance(value, str | bool | int) else repr(value)
