"""Read a table of any format: find the roles of its columns, then build the data for its task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gatewright.data.calendar.decimal_years import from_decimal_years
from gatewright.data.columns.placeholders import find_placeholder
from gatewright.data.containers.tagged import Tagged
from gatewright.data.source.request import Reading, Request, Roles, TaskName
from gatewright.data.tables.counters import find_counter
from gatewright.data.tables.daylight import to_winter_time
from gatewright.data.tables.find_id import find_id
from gatewright.data.tables.find_label import find_label
from gatewright.data.tables.parts import (
    TablePart,
    check_rising,
    in_order,
    repair,
    sort_by_time,
    split_by_id,
    without_repeated_rows,
)
from gatewright.data.tables.refine_roles import refine_roles
from gatewright.data.tables.roles import find_roles, kinds_of
from gatewright.data.tables.table import LoadedColumns, Table
from gatewright.data.tables.time_parts import join_time_columns, season_as_id
from gatewright.data.tables.to_sequences import build_sequences
from gatewright.data.tables.to_series import build_series
from gatewright.data.tables.wide import to_long
from gatewright.errors import ArgumentError


def read_table(table: Table, name: str, request: Request) -> Reading:
    """Return series if no column is a label, else labelled sequences; everything is checked."""
    if request.task == "next symbol":
        raise ArgumentError(
            f"the task next symbol does not go with a table, and {table.source} has the columns "
            f"{', '.join(list(table.previews)[:5])}; save the text as a .txt file"
        )
    season_notes = season_as_id(table, request)
    table, request = to_long(*join_time_columns(table, request))
    roles, role_notes = find_roles(table.source, table.previews, request)
    loaded = _load(table, roles)
    finders = [find_counter]
    if request.labelled:  # the columns of new data for a model are known
        finders += [find_id, *([find_label] if _is_open(request) else [])]
    for find in finders:
        roles, more_notes = find(table, loaded.columns, roles, request.stated)
        if more_notes:
            loaded = _load(table, roles)
            role_notes = (*_still_true(role_notes, roles), *more_notes)
    needed = request.stated.union(request.numbers)
    roles, column_notes = refine_roles(table, loaded.columns, roles, needed)
    parts = split_by_id(table, loaded.columns, roles, name)
    parts, repeated_notes = without_repeated_rows(parts, roles)
    order_notes: tuple[str, ...] = ()
    if not request.labelled:  # new data for a model, whose step and columns are known
        parts = tuple(map(sort_by_time, parts))
    else:
        parts, order_notes = in_order(table, parts, roles)
    parts, clock_notes, zone = _on_one_clock(table, parts, roles, loaded, request)
    for part in parts:
        check_rising(table, part, roles)
    notes = (
        *table.notes,
        *season_notes,
        *role_notes,
        *loaded.notes,
        *column_notes,
        *repeated_notes,
        *order_notes,
        *clock_notes,
    )
    options = {"decimal": loaded.decimal, "timezone": zone, **request.form}
    form = {option: value for option, value in options.items() if value is not None}
    task: TaskName
    if request.task == "forecast" or (request.task is None and roles.label is None):
        series, step_notes, filled = build_series(
            table, parts, loaded.columns, roles, name, request.fill
        )
        why, notes = _why(request, roles, "forecast"), (*notes, *step_notes, *filled)
        return Reading(series, "forecast", why, table.source, notes, filled, roles=roles, form=form)
    parts, filled = repair(table, parts, roles, request.fill)
    data, label_notes = build_sequences(
        table, parts, loaded.columns, roles, name, request.task, request.labelled
    )
    task = "tag" if isinstance(data, Tagged) else "classify"
    why = _why(request, roles, task)
    notes = (*notes, *filled, *label_notes)
    return Reading(data, task, why, table.source, notes, filled, roles=roles, form=form)


def _still_true(notes: tuple[str, ...], roles: Roles) -> tuple[str, ...]:
    """Return the notes but for those on columns left out that are the id or the label now."""
    taken = tuple(f"column {name} is text (" for name in (roles.id, roles.label))
    return tuple(note for note in notes if not note.startswith(taken))


def _load(table: Table, roles: Roles) -> LoadedColumns:
    """Load the columns with a role: decimal years as dates, placeholders as missing values."""
    loaded = table.load(kinds_of(roles, table.previews))
    columns, notes = dict(loaded.columns), list(loaded.notes)
    times = None if roles.time is None else from_decimal_years(columns[roles.time])
    if roles.time is not None and times is not None:
        columns[roles.time] = times
        notes.append(f"column {roles.time}: its decimal years are read as months")
    for name in roles.channels:
        placeholder = find_placeholder(columns[name])
        if placeholder is not None:
            columns[name] = np.where(columns[name] == placeholder, np.nan, columns[name])
            notes.append(f"column {name}: {placeholder:g} is read as a missing value")
    return replace(loaded, columns=columns, notes=tuple(notes))


def _is_open(request: Request) -> bool:
    """Return True if the user has stated nothing that decides between a forecast and labels."""
    decided = request.target or request.known or request.static or request.label
    return request.task is None and not decided


def _on_one_clock(
    table: Table,
    parts: tuple[TablePart, ...],
    roles: Roles,
    loaded: LoadedColumns,
    request: Request,
) -> tuple[tuple[TablePart, ...], tuple[str, ...], str | None]:
    """Convert the parts to winter time; return them, notes, and the zone of their clock."""
    if roles.time is None or roles.time in loaded.zoned:
        if request.timezone is not None:
            reason = (
                f"the times of {table.source} have a zone already"
                if roles.time
                else f"{table.source} has no column of times"
            )
            raise ArgumentError(
                f"timezone={request.timezone!r} was given, but {reason}; leave it out"
            )
        return parts, (), None
    return to_winter_time(table.source, parts, request.timezone)


def _why(request: Request, roles: Roles, task: TaskName) -> str:
    """Return the reason for the task, as the end of a sentence: "because ..."."""
    if request.task is not None:
        return "that was asked for"
    if task == "forecast":
        over = f"over time (column {roles.time})" if roles.time else "and each row is a step"
        return f"its columns are numbers {over}, and none is a label"
    if task == "classify":
        return f"each {roles.id} has one label (column {roles.label})"
    return f"column {roles.label} is a label that changes from row to row"
