"""From a table of any format to data for a task: the roles of its columns, then the task."""

from __future__ import annotations

from gatewright.data.parts import check_rising, in_order_of_time, mended, parts_of
from gatewright.data.request import Reading, Request, Roles, Task
from gatewright.data.roles import find_roles, kinds_of
from gatewright.data.settling import settle
from gatewright.data.table import Table
from gatewright.data.tagged import Tagged
from gatewright.data.to_sequences import build_sequences
from gatewright.data.to_series import build_series
from gatewright.errors import ArgumentError


def read_table(table: Table, name: str, request: Request) -> Reading:
    """Series where nothing is a label, else labelled sequences; with everything checked."""
    if request.task == "next symbol":
        raise ArgumentError(
            f"the task next symbol does not go with a table; {table.source} has the columns "
            f"{', '.join(list(table.looks)[:5])}: save the text as a .txt file"
        )
    roles, found = find_roles(table.source, table.looks, request)
    columns, told = table.load(kinds_of(roles, table.looks))
    said = frozenset(name for names in request.columns.values() for name in names)
    roles, settled = settle(table, columns, roles, said)
    notes = (*table.notes, *found, *told, *settled)
    parts = parts_of(table, columns, roles, name)
    if not request.labelled:  # new data for a model, whose step and columns are known
        parts = tuple(map(in_order_of_time, parts))
    for part in parts:
        check_rising(table, part, roles)
    task: Task
    if request.task == "forecast" or (request.task is None and roles.label is None):
        series, told = build_series(table, parts, columns, roles, name, request.fill)
        return Reading(
            series,
            "forecast",
            _why(request, roles, "forecast"),
            table.source,
            (*notes, *told),
            roles=roles,
        )
    parts, told = mended(table, parts, roles, request.fill)
    data, unlabelled = build_sequences(
        table, parts, columns, roles, name, request.task, request.labelled
    )
    task = "tag" if isinstance(data, Tagged) else "classify"
    why = _why(request, roles, task)
    return Reading(data, task, why, table.source, (*notes, *told, *unlabelled), roles=roles)


def _why(request: Request, roles: Roles, task: Task) -> str:
    if request.task is not None:
        return "that was asked for"
    if task == "forecast":
        over = f"over time (column {roles.time})" if roles.time else "and each row is a step"
        return f"its columns are numbers {over}, and none is a label"
    if task == "classify":
        return f"column {roles.label} is a label that is the same in all rows of one {roles.id}"
    return f"column {roles.label} is a label that changes from row to row"
