"""A first look at the cells of a column, and the end of reading: what all formats do alike."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise

from gatewright.data.columns.column import Cells, kind_of
from gatewright.data.columns.missing import is_missing
from gatewright.data.columns.number_column import settle_numbers
from gatewright.data.columns.time_column import TimeCells, is_unix_time, parse
from gatewright.data.tables.table import Loaded, Look, Table, wrong_cell

CLOCK = re.compile(r"(\d\d?)[:.h](\d\d)(?:[:.](\d\d)(?:\.\d+)?)?(?: ?([AaPp][Mm]))?", re.ASCII)
_DOTTED_DATE = re.compile(r"\d\d?\.\d\d?\.(?:\d\d){1,2}.*", re.ASCII | re.DOTALL)
_DIGIT = re.compile(r"[0-9]")
_MANY = 10  # different cells
_MOST_NAMED = 0.9  # of the rows, from which on a column names each of them


def look_at(cells: Sequence[str]) -> Look:
    """Judge a column by its first cells."""
    kind = kind_of(cells)
    present = [cell.strip() for cell in cells if not is_missing(cell)]
    different = dict.fromkeys(present)
    number = kind == "number"
    return Look(
        kind,
        tuple(different)[:5],
        days=number and all(parse(cell, "yearmonthday") for cell in different),
        unix=number and all(is_unix_time(cell) for cell in different) and _rise(present),
        clock=bool(present) and all(CLOCK.fullmatch(cell) for cell in different),
        numbered=len(different) >= _MANY and all(_DIGIT.search(cell) for cell in different),
        named=len(present) > 1 and len(different) >= _MOST_NAMED * len(present),
    )


def _rise(cells: Sequence[str]) -> bool:
    """Do these numbers rise nearly everywhere, as times do, series after series?"""
    numbers = [float(cell) for cell in cells]
    falls = sum(later < earlier for earlier, later in pairwise(numbers))
    return 10 * falls <= len(numbers)


def finish(table: Table, cells: Mapping[str, Cells], separator: str = ",") -> Loaded:
    """The columns that were collected, once it is settled what each of them means."""
    notes: list[str] = []
    dotted = any(
        _DOTTED_DATE.fullmatch(example)
        for look in table.looks.values()
        if look.kind == "time"
        for example in look.examples
    )
    numbers = settle_numbers(cells, separator=separator, dotted_dates=dotted)
    if numbers.fault is not None:
        name, fault = numbers.fault
        raise wrong_cell(table, name, *fault)
    for name, column in cells.items():
        if (problem := column.problem()) is not None:
            raise wrong_cell(table, name, *problem)
        notes += [f"column {name}: {note}" for note in column.notes()]
    return Loaded(
        {name: column.done() for name, column in cells.items()},
        (*numbers.notes, *notes),
        frozenset(
            name for name, column in cells.items() if isinstance(column, TimeCells) and column.zoned
        ),
        numbers.decimal,
    )
