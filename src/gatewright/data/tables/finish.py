"""Finish the columns that a format has collected: choose number formats, check, gather notes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gatewright.data.columns.choose_format import choose_formats
from gatewright.data.columns.column import Column
from gatewright.data.columns.time_column import TimeColumn
from gatewright.data.tables.table import LoadedColumns, Table, wrong_cell

_DOTTED_DATE = re.compile(r"\d\d?\.\d\d?\.(?:\d\d){1,2}.*", re.ASCII | re.DOTALL)


def finish_columns(
    table: Table, columns: Mapping[str, Column], separator: str = ","
) -> LoadedColumns:
    """Return the arrays of the collected columns, once each of them has one meaning."""
    dotted_dates = any(
        _DOTTED_DATE.fullmatch(example)
        for preview in table.previews.values()
        if preview.kind == "time"
        for example in preview.examples
    )
    choice = choose_formats(columns, separator=separator, dotted_dates=dotted_dates)
    if choice.fault is not None:
        name, fault = choice.fault
        raise wrong_cell(table, name, *fault)
    notes: list[str] = []
    for name, column in columns.items():
        if (problem := column.problem()) is not None:
            raise wrong_cell(table, name, *problem)
        notes += [f"column {name}: {note}" for note in column.notes()]
    return LoadedColumns(
        {name: column.result() for name, column in columns.items()},
        (*choice.notes, *notes),
        frozenset(
            name
            for name, column in columns.items()
            if isinstance(column, TimeColumn) and column.zoned
        ),
        choice.decimal,
    )
