"""Recognise columns that form one time: a date and an hour, or a year and a quarter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from gatewright.data.columns.time_format import FIRST_YEAR, LAST_YEAR
from gatewright.data.source.request import Request
from gatewright.data.tables.joined_table import (
    LARGEST_OF_PART,
    PART_OF_NAME,
    JoinedTable,
    is_date,
    joined_name,
    whole_number,
)
from gatewright.data.tables.table import ColumnPreview, Table

_CLOCK_NAMES = ("time", "hour", "clock", "time_of_day", "hhmm")


def join_time_columns(table: Table, request: Request) -> tuple[Table, Request]:
    """Join the columns that form a time to one; return the table and the request for it.

    A table without such columns is returned unchanged.
    """
    stated = request.stated
    free = {name: preview for name, preview in table.previews.items() if name not in stated}
    if request.time is None:
        columns = _date_and_clock(free) or _year_and_parts(free)
    elif request.time in table.previews or "+" not in request.time:
        columns = ()
    else:
        columns = tuple(name.strip() for name in request.time.split("+"))
        columns = columns if all(name in table.previews for name in columns) else ()
    if not columns:
        return table, request
    if request.time is not None:
        request = replace(request, time=joined_name(columns))
    return JoinedTable(table, columns), request


def season_as_id(table: Table, request: Request) -> tuple[str, ...]:
    """Return a note if the user has named a part of the date as the id of series."""
    part = PART_OF_NAME.get((request.id or "").lower())
    if part not in LARGEST_OF_PART or request.id not in table.previews:
        return ()
    if not any(PART_OF_NAME.get(name.lower()) == "year" for name in table.previews):
        return ()
    return (
        f"column {request.id} is a part of the date and the id, so each series has one {part} "
        "of every year; leave id= out to read one series in order of time",
    )


def _date_and_clock(free: Mapping[str, ColumnPreview]) -> tuple[str, ...]:
    """Find a column of dates, each in several rows, and the one with the time of the day."""
    dates = [
        name
        for name, preview in free.items()
        if is_date(preview)
        and not preview.named
        and not any(":" in cell for cell in preview.examples)
    ]
    clocks = [
        name
        for name, preview in free.items()
        if (preview.kind in ("text", "time") and preview.clock) or _fits_part(name, preview, "hour")
    ]
    named = [name for name in clocks if name.lower() in _CLOCK_NAMES]
    clocks = named[:1] or clocks
    return (dates[0], clocks[0]) if len(dates) == len(clocks) == 1 else ()


def _year_and_parts(free: Mapping[str, ColumnPreview]) -> tuple[str, ...]:
    """Find a column of years, each in several rows, and those with parts of the year."""
    if any(preview.kind == "time" for preview in free.values()):
        return ()
    parts: dict[str, str] = {}
    for name, preview in free.items():
        part = PART_OF_NAME.get(name.lower())
        if part and part not in parts and _fits_part(name, preview, part):
            parts[part] = name
    if "year" not in parts or free[parts["year"]].named:
        return ()
    finer = next((part for part in ("month", "quarter", "week") if part in parts), None)
    if finer is None:
        return ()
    chain = ["year", finer]
    for part in ("day", "hour", "minute") if finer == "month" else ():
        if part not in parts:
            break
        chain.append(part)
    return tuple(parts[part] for part in chain)


def _fits_part(name: str, preview: ColumnPreview, part: str) -> bool:
    """Return True if a column with this name and these values can be that part of a time."""
    if PART_OF_NAME.get(name.lower()) != part or not preview.examples:
        return False
    if part == "month" and preview.kind == "text":
        return all(cell.isalpha() and len(cell) >= 3 for cell in preview.examples)
    values = [whole_number(cell.lstrip("QqWw")) for cell in preview.examples]
    smallest, largest = (FIRST_YEAR, LAST_YEAR) if part == "year" else (0, LARGEST_OF_PART[part])
    return all(value is not None and smallest <= value <= largest for value in values)
