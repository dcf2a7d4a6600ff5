"""The rows of a table, separated by their id: sorted by time, and without missing values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.missing import MAX_FILLED, Fill, fill_missing
from gatewright.data.source.request import Roles
from gatewright.data.tables.table import Columns, Table, length, wrong_cell
from gatewright.errors import DataError


@dataclass(frozen=True, slots=True)
class TablePart:
    """The rows with one id, in the table's order."""

    id: str
    rows: NDArray[np.int64]  # (T,), positions in the table; -1 for a step that was inserted
    times: NDArray[Any]  # (T,)
    values: NDArray[np.float64]  # (T, C), NaN or infinite if missing

    def select(self, selection: slice | NDArray[Any]) -> TablePart:
        """Return some of the rows."""
        return TablePart(
            self.id, self.rows[selection], self.times[selection], self.values[selection]
        )


def split_by_id(table: Table, columns: Columns, roles: Roles, name: str) -> tuple[TablePart, ...]:
    """Return one part per id, in order of appearance; one for all rows if there are no ids."""
    count = length(columns)
    values = np.stack([columns[channel] for channel in roles.channels], axis=1)
    times = np.arange(count) if roles.time is None else columns[roles.time]
    if roles.time is not None:
        missing = np.isnat(times) if times.dtype.kind == "M" else ~np.isfinite(times)
        if missing.any():
            row = int(np.flatnonzero(missing)[0])
            raise wrong_cell(table, roles.time, row, "the time is missing; write it")
    if roles.id is None:
        return (TablePart(name, np.arange(count), times, values),)
    codes, names = columns[roles.id]
    if (codes < 0).any():
        row = int(np.flatnonzero(codes < 0)[0])
        raise wrong_cell(table, roles.id, row, "the id is missing; write it")
    order = np.argsort(codes, kind="stable")
    edges = np.cumsum(np.bincount(codes))[:-1]
    return tuple(
        TablePart(
            id, rows, np.arange(len(rows)) if roles.time is None else times[rows], values[rows]
        )
        for id, rows in zip(names, np.split(order, edges), strict=True)
    )


def sort_by_time(part: TablePart) -> TablePart:
    """Sort the rows by time; leave them unchanged if two of them have the same time."""
    ordered = part.select(np.argsort(part.times, kind="stable"))
    return ordered if (ordered.times[1:] > ordered.times[:-1]).all() else part


def without_repeated_rows(
    parts: Iterable[TablePart], roles: Roles
) -> tuple[tuple[TablePart, ...], tuple[str, ...]]:
    """Leave out rows of a forecast that repeat the date and all values of another; with a note."""
    parts = tuple(parts)
    if roles.time is None or roles.label is not None or parts[0].times.dtype.kind != "M":
        return parts, ()
    different = tuple(part.select(_first_of_each(part)) for part in parts)
    count = sum(len(part.rows) for part in parts) - sum(len(part.rows) for part in different)
    if not count:
        return parts, ()
    rows = "row repeats" if count == 1 else "rows repeat"
    return different, (f"{count} {rows} the time and the values of another: left out",)


def _first_of_each(part: TablePart) -> NDArray[np.int64]:
    """Return the rows, in order, but for those that equal an earlier one."""
    order = np.argsort(part.times, kind="stable")
    if not (part.times[order][1:] == part.times[order][:-1]).any():
        return np.arange(len(order))
    table = np.column_stack([part.times.astype(np.int64).view(np.float64), part.values])
    # As bytes: a missing value equals another one.
    rows = np.ascontiguousarray(table).view(np.dtype((np.void, table.itemsize * table.shape[1])))
    return np.sort(np.unique(rows.ravel(), return_index=True)[1])


def in_order(
    table: Table, parts: tuple[TablePart, ...], roles: Roles
) -> tuple[tuple[TablePart, ...], tuple[str, ...]]:
    """Sort the rows by time if there is a single order, with a note.

    The newest may come first, or dates in any order, each once in its series. Without an id a
    column of text might separate several series, whose dates differ: such rows stay as they are.
    """
    if all(map(is_newest_first, parts)):
        note = "the newest rows come first: they are read in order of time"
        return tuple(map(sort_by_time, parts)), (note,)
    rising = [bool((part.times[1:] > part.times[:-1]).all()) for part in parts]
    could_be_ids = [name for name in roles.ignored if table.previews[name].kind == "text"]
    is_mixed = roles.id is None and bool(could_be_ids)
    if all(rising) or is_mixed or roles.time is None or parts[0].times.dtype.kind != "M":
        return parts, ()
    return tuple(map(sort_by_time, parts)), ("the rows are not in order of time: they are sorted",)


def is_newest_first(part: TablePart) -> bool:
    """Return True if every time is earlier than the one before it, in at least three rows."""
    return len(part.times) > 2 and bool((part.times[1:] < part.times[:-1]).all())


def check_rising(table: Table, part: TablePart, roles: Roles) -> None:
    """Raise `DataError` for the first time that is not later than the one before it."""
    times = part.times
    wrong = np.flatnonzero(~(times[1:] > times[:-1]))
    if roles.time is None or not len(wrong):
        return
    index = int(wrong[0])
    earlier_row, row = table.row(int(part.rows[index])), int(part.rows[index + 1])
    time = say_time(times[index + 1]) + (f" of {part.id}" if roles.id is not None else "")
    more = f" ({len(wrong)} such times)" if len(wrong) > 1 else ""
    if times[index + 1] == times[index]:
        message = f"{time} is in {earlier_row} already{more}; keep one of the rows"
    else:
        earlier_time = say_time(times[index])
        message = f"{time} comes after {earlier_time} in {earlier_row}{more}; sort the rows by time"
    if roles.id is None:
        texts = [name for name in roles.ignored if table.previews[name].kind == "text"]
        hint = f" (is it {' or '.join(texts[:3])}?)" if texts else ""
        message += f", or name the column that separates several series with id={hint}"
    raise wrong_cell(table, roles.time, row, message)


def say_time(time: Any) -> str:
    """Write a time as briefly as possible."""
    if not isinstance(time, np.datetime64):
        return f"{time}"
    return str(time).removesuffix("." + "0" * 9).removesuffix("T00:00:00")


def repair(
    table: Table, parts: Iterable[TablePart], roles: Roles, fill: Fill | None
) -> tuple[tuple[TablePart, ...], tuple[str, ...]]:
    """Fill or leave out missing values; return the parts and a note on the number of values.

    Without `fill` they are interpolated where they are at most `MAX_FILLED` of a channel;
    otherwise the first one raises `DataError` with its place.
    """
    parts = tuple(parts)
    repaired, count = [], 0
    is_asked = fill is not None
    if fill is None and _are_few(parts):
        fill = "linear"
    for part in parts:
        missing = ~np.isfinite(part.values)
        if fill is None:
            missing[part.rows < 0] = False  # an inserted step is nothing to complain about
        inserted = (part.rows < 0).sum() * len(roles.channels)
        count += int(missing.any(axis=1).sum() if fill == "drop" else missing.sum() - inserted)
        repaired.append(_repair_part(table, part, roles, fill, missing) if missing.any() else part)
    if not count:
        return tuple(repaired), ()
    if fill == "drop":
        return tuple(repaired), (f"{count} rows with a missing value left out",)
    if is_asked:
        return tuple(repaired), (f"{count} missing values: {fill}",)
    shape = f"{count} missing value{'s are' if count > 1 else ' is'} interpolated"
    return tuple(repaired), (f"{shape}; fill= sets another way",)


def _are_few(parts: Iterable[TablePart]) -> bool:
    """Return True if at most `MAX_FILLED` of each channel is missing, but for inserted steps."""
    present = np.concatenate([part.values[part.rows >= 0] for part in parts])
    return bool((np.isnan(present).mean(0) <= MAX_FILLED).all()) and not np.isinf(present).any()


def _repair_part(
    table: Table, part: TablePart, roles: Roles, fill: Fill | None, missing: NDArray[np.bool_]
) -> TablePart:
    if fill is None:
        raise _missing_value(table, part, roles, missing)
    if fill == "drop":
        complete = np.flatnonzero(~missing.any(axis=1))
        if not len(complete):
            raise DataError(
                f"{table.source}: every row of {part.id} has a missing value, so fill='drop' "
                "leaves a sequence of length zero; remove it, or leave a column out with ignore="
            )
        return part.select(complete)
    part = replace(part, values=fill_missing(part.values, part.times, fill))
    unfilled = ~np.isfinite(part.values)
    if unfilled.any():
        channel = int(np.flatnonzero(unfilled.any(axis=0))[0])
        first = int(np.flatnonzero(unfilled[:, channel])[0])
        reason = "no value at all" if unfilled[:, channel].all() else "no value before it"
        raise wrong_cell(
            table,
            roles.channels[channel],
            int(part.rows[first]),
            f"the value is missing and {part.id} has {reason} to fill it with fill={fill!r}; "
            "leave the column out with ignore=, or remove the rows",
        )
    return part


def _missing_value(
    table: Table, part: TablePart, roles: Roles, missing: NDArray[np.bool_]
) -> DataError:
    step, channel = map(int, np.argwhere(missing)[0])
    value = part.values[step, channel]
    fact = "the value is missing" if np.isnan(value) else f"{value} is not a finite number"
    more = f" ({missing.sum()} such cells)" if missing.sum() > 1 else ""
    return wrong_cell(
        table,
        roles.channels[channel],
        int(part.rows[step]),
        f"{fact}{more}; write a number, or pass fill='linear', 'previous' or 'drop'",
    )
