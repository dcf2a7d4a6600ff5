"""Tables in JSON: a list of records, a record a line, or a list for each column.

A file is read whole, so its size is bounded; larger tables belong into CSV or Parquet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gatewright.data.columns.column import Kind, collector
from gatewright.data.columns.number_format import BOTH, Numerals
from gatewright.data.source.open_file import lines_of, open_text
from gatewright.data.tables.preview import finish, look_at
from gatewright.data.tables.table import Loaded, check_names, wrong_cell
from gatewright.errors import DataError

_MOST_CHARACTERS = 1 << 27
_MOST_CELLS = 1 << 24
_LOOK = 1000  # rows that a first look takes in
_EXPECTED = "expected a list of records like [{...}, {...}]"


class JsonFile:
    """A table of records. Rows count from 1; in a file of lines they are its lines."""

    looks: Mapping[str, Any]

    def __init__(
        self,
        path: Path,
        source: str,
        *,
        encoding: str = "utf-8-sig",
        ways: tuple[Numerals, ...] = BOTH,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.source = source
        self.notes = notes
        self._ways = ways
        whole = _whole if ".json" in (part.lower() for part in path.suffixes) else _lines
        self._columns = _columns(source, whole(path, source, encoding))
        check_names(source, tuple(self._columns))
        self.looks = {name: look_at(cells[:_LOOK]) for name, cells in self._columns.items()}

    def row(self, at: int) -> str:
        """Records as people count them."""
        return f"record {at + 1}"

    def load(self, kinds: Mapping[str, Kind]) -> Loaded:
        """Read these columns."""
        cells = {name: collector(kind, self._ways) for name, kind in kinds.items()}
        for name, column in cells.items():
            if fault := column.add(self._columns[name], 0):
                raise wrong_cell(self, name, *fault)
        return finish(self, cells)


def _lines(path: Path, source: str, encoding: str) -> Iterator[Any]:
    size = 0
    with open_text(path, newline=None, encoding=encoding) as file:
        for number, line in enumerate(lines_of(source, file), start=1):
            size += len(line)
            _check_size(source, size)
            if line.strip():
                yield _parsed(f"{source}, line {number}", line)


def _whole(path: Path, source: str, encoding: str) -> Any:
    with open_text(path, newline=None, encoding=encoding) as file:
        text = file.read(_MOST_CHARACTERS + 1)
    _check_size(source, len(text))
    value = _parsed(source, text)
    if isinstance(value, dict):
        value = _from_object(source, value)
    if not isinstance(value, list):
        raise _no_records(source, value)
    return value


def _from_object(source: str, value: dict[str, Any]) -> Any:
    """The records of an object: its one list of objects, or its columns turned into records."""
    lists = [own for own in value.values() if isinstance(own, list)]
    tables = [own for own in lists if own and isinstance(own[0], dict)]
    if len(tables) == 1:
        return tables[0]
    if all(isinstance(own, dict) for own in value.values()):  # as pandas writes a frame
        rows = {key: None for own in value.values() for key in own}
        return [{name: own.get(key) for name, own in value.items()} for key in rows]
    if len(lists) == len(value) and len({len(own) for own in lists}) == 1:
        return [dict(zip(value, row, strict=True)) for row in zip(*lists, strict=True)]
    raise _no_records(source, value)


def _parsed(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise DataError(
            f"{where} is not JSON ({reason[:200]}); correct it, or read it as a text with "
            "task='next symbol'"
        ) from None


def _check_size(source: str, size: int) -> None:
    if size > _MOST_CHARACTERS:
        raise DataError(
            f"{source} has more than {_MOST_CHARACTERS:,} characters; write so large a table as "
            "CSV or Parquet"
        )


def _no_records(source: str, value: Any) -> DataError:
    shown = json.dumps(value)[:60]
    return DataError(
        f"{source} holds {shown} ..., which is no table; {_EXPECTED}, or read it as a text with "
        "task='next symbol'"
    )


def _columns(source: str, records: Any) -> dict[str, list[str]]:
    """The cells of each column as texts; an empty one where a record has no such key."""
    columns: dict[str, list[str]] = {}
    count = 0
    for count, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise _no_records(f"{source}, record {count},", record)
        for name, value in record.items():
            if name not in columns:
                columns[name] = [""] * (count - 1)
            columns[name].append(_cell(f"{source}, record {count}, column {name}", value))
        if len(record) < len(columns):
            for cells in columns.values():
                if len(cells) < count:
                    cells.append("")
        if len(columns) * count > _MOST_CELLS:
            raise DataError(
                f"{source} has more than {_MOST_CELLS:,} cells, up to record {count}; write so "
                "large a table as CSV or Parquet"
            )
    if not count:
        raise DataError(f"{source} holds no record; {_EXPECTED}")
    return columns


def _cell(where: str, value: Any) -> str:
    if isinstance(value, dict | list):
        raise DataError(
            f"{where}: it holds {json.dumps(value)[:60]}; expected a number, a text, true, false "
            "or null: write nested values as columns of their own"
        )
    if value is None:
        return ""
    return str(value) if isinstance(value, str | bool | int) else repr(value)
