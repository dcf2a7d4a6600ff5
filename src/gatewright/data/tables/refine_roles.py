"""Refine the roles of columns by their whole content, after the previews have suggested them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gatewright.data.source.request import Roles
from gatewright.data.tables.table import Columns, Table, length
from gatewright.errors import DataError

# Names of columns with row numbers, such as the index of a dataframe that was saved to a file.
_ROW_NUMBERS = ("column 1", "unnamed: 0", "index", "rownames", "")


def refine_roles(
    table: Table, columns: Columns, roles: Roles, stated: frozenset[str]
) -> tuple[Roles, tuple[str, ...]]:
    """Leave out columns that number the rows or are empty, and make constant ones static.

    Columns to which the user gave a role (`stated`) keep it. Also returns a note on each change.
    """
    notes: list[str] = []

    def leave_out(name: str, why: str) -> None:
        nonlocal roles
        notes.append(f"column {name} {why}: left out")
        roles = replace(
            roles,
            id=None if roles.id == name else roles.id,
            channels=tuple(other for other in roles.channels if other != name),
            ignored=(*roles.ignored, name),
        )

    count = length(columns)
    if roles.id is not None and roles.id not in stated and len(columns[roles.id][1]) == count > 1:
        leave_out(roles.id, "has another value in every row")
    for name in roles.channels:
        if name in stated:
            continue
        values = columns[name]
        if np.isnan(values).all():
            leave_out(name, "is empty")
        elif name.lower() in _ROW_NUMBERS and count > 1 and (np.diff(values) == 1).all():
            leave_out(name, "numbers the rows")
    if not roles.channels:
        raise DataError(
            f"{table.source} has no column of numbers to learn from; expected at least one "
            "that is not empty and does not number the rows"
        )
    constant = _constant_within_id(columns, roles, stated)
    if constant:
        notes.append(f"{', '.join(constant)}: the same in every row of an id, so static")
        roles = replace(
            roles,
            channels=tuple(name for name in roles.channels if name not in constant),
            static=(*roles.static, *constant),
        )
    return roles, tuple(notes)


def _constant_within_id(columns: Columns, roles: Roles, stated: frozenset[str]) -> tuple[str, ...]:
    """Return the channels of a forecast that are constant within each id but differ between ids."""
    if roles.id is None or roles.label is not None:
        return ()
    codes, ids = columns[roles.id]
    if len(ids) < 2 or (codes < 0).any() or len(codes) < 2 * len(ids):
        return ()
    first_rows = np.unique(codes, return_index=True)[1]
    constant = tuple(
        name
        for name in roles.channels
        if name not in stated
        and (columns[name] == columns[name][first_rows][codes]).all()
        and len(np.unique(columns[name][first_rows])) > 1
    )
    return constant if len(constant) < len(roles.channels) else ()
