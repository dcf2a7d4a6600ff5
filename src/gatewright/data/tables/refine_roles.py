"""What only the whole columns can tell of their roles, after a first look has found the rest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gatewright.data.source.request import Roles
from gatewright.data.tables.table import Columns, Table, length
from gatewright.errors import DataError

# How the number of a row comes into a file: by the index of a dataframe that was saved.
_ROW_NUMBERS = ("column 1", "unnamed: 0", "index", "rownames", "")


def settle(
    table: Table, columns: Columns, roles: Roles, said: frozenset[str]
) -> tuple[Roles, tuple[str, ...]]:
    """The roles without columns that number the rows or are empty, static ones apart.

    What the user said of a column (`said`) is left as it is.
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
    found = roles.id if roles.id not in said else None
    if found is not None and len(columns[found][1]) == count > 1:
        leave_out(found, "has another value in every row")
    for name in roles.channels:
        if name in said:
            continue
        values = columns[name]
        if np.isnan(values).all():
            leave_out(name, "is empty")
        elif name.lower() in _ROW_NUMBERS and count > 1 and (np.diff(values) == 1).all():
            leave_out(name, "numbers the rows")
    if not roles.channels:
        raise DataError(f"{table.source} has no column of numbers to learn from")
    still = _constant(columns, roles, said)
    if still:
        names = ", ".join(still)
        notes.append(f"{names}: the same in every row of an id, so static")
        roles = replace(
            roles,
            channels=tuple(name for name in roles.channels if name not in still),
            static=(*roles.static, *still),
        )
    return roles, tuple(notes)


def _constant(columns: Columns, roles: Roles, said: frozenset[str]) -> tuple[str, ...]:
    """The channels of a forecast that never change within an id, but from one id to the next."""
    if roles.id is None or roles.label is not None:
        return ()
    codes, names = columns[roles.id]
    if len(names) < 2 or (codes < 0).any() or len(codes) < 2 * len(names):
        return ()
    first = np.unique(codes, return_index=True)[1]
    found = tuple(
        name
        for name in roles.channels
        if name not in said
        and (columns[name] == columns[name][first][codes]).all()
        and len(np.unique(columns[name][first])) > 1
    )
    return found if len(found) < len(roles.channels) else ()
