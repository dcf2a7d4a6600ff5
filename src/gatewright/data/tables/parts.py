"""The rows of a table, parted by their id: each in order, and with nothing missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.missing import Fill, filled
from gatewright.data.source.request import Roles
from gatewright.data.tables.table import Columns, Table, length, wrong_cell
from gatewright.errors import DataError


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one id, in the table's order."""

    id: str
    rows: NDArray[np.int64]  # (T,), positions in the table; -1 for a step that was put in
    times: NDArray[Any]  # (T,)
    values: NDArray[np.float64]  # (T, C), NaN or infinite where something is missing


def parts_of(table: Table, columns: Columns, roles: Roles, name: str) -> tuple[Part, ...]:
    """One part for each id, in the order in which they come; without ids, one for all rows."""
    count = length(columns)
    values = np.stack([columns[channel] for channel in roles.channels], axis=1)
    times = np.arange(count) if roles.time is None else columns[roles.time]
    if roles.time is not None:
        lost = np.isnat(times) if times.dtype.kind == "M" else ~np.isfinite(times)
        if lost.any():
            at = int(np.flatnonzero(lost)[0])
            raise wrong_cell(table, roles.time, at, "the time is missing; write it")
    if roles.id is None:
        groups = [(name, np.arange(count))]
    else:
        codes, names = columns[roles.id]
        if (codes < 0).any():
            at = int(np.flatnonzero(codes < 0)[0])
            raise wrong_cell(table, roles.id, at, "the id is missing; write it")
        order = np.argsort(codes, kind="stable")
        edges = np.cumsum(np.bincount(codes))[:-1]
        groups = list(zip(names, np.split(order, edges), strict=True))
    parts = []
    for one, rows in groups:
        own = np.arange(len(rows)) if roles.time is None else times[rows]
        parts.append(Part(one, rows, own, values[rows]))
    return tuple(parts)


def in_order_of_time(part: Part) -> Part:
    """The part with its rows sorted by time; as it is where two of them have the same time."""
    order = np.argsort(part.times, kind="stable")
    times = part.times[order]
    if not (times[1:] > times[:-1]).all():
        return part
    return Part(part.id, part.rows[order], times, part.values[order])


def check_rising(table: Table, part: Part, roles: Roles) -> None:
    """`DataError` that names the first time that does not lie after the one before it."""
    times = part.times
    wrong = np.flatnonzero(~(times[1:] > times[:-1]))
    if roles.time is None or not len(wrong):
        return
    at = int(wrong[0])
    before, row = table.row(int(part.rows[at])), int(part.rows[at + 1])
    of = f" of {part.id}" if roles.id is not None else ""
    more = f" ({len(wrong)} times like this{of})" if len(wrong) > 1 else of
    if times[at + 1] == times[at]:
        what = f"{say_time(times[at])} stands in {before} already{more}; keep one of the two rows"
    else:
        what = (
            f"{say_time(times[at + 1])} comes after {say_time(times[at])} in {before}{more}; "
            "sort the rows by time"
        )
    if roles.id is None:
        texts = [name for name in roles.ignored if table.looks[name].kind == "text"]
        hint = f" (is it {' or '.join(texts[:3])}?)" if texts else ""
        what += f", or say with id= which column tells several series apart{hint}"
    raise wrong_cell(table, roles.time, row, what)


def say_time(time: Any) -> str:
    """A time as short as it can be written."""
    if not isinstance(time, np.datetime64):
        return f"{time}"
    return str(time).removesuffix("." + "0" * 9).removesuffix("T00:00:00")


def repaired(
    table: Table, parts: Iterable[Part], roles: Roles, fill: Fill | None
) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """The parts with what is missing filled or left out, and a note of how much it was.

    Without `fill` the first missing or infinite value is a `DataError` with its place.
    """
    done, count = [], 0
    for part in parts:
        missing = ~np.isfinite(part.values)
        put_in = (part.rows < 0).sum() * len(roles.channels)
        count += int(missing.sum() - put_in) if fill != "drop" else int(missing.any(axis=1).sum())
        if missing.any():
            part = _mended(table, part, roles, fill, missing)
        done.append(part)
    if not count:
        return tuple(done), ()
    what = "rows with a missing value left out" if fill == "drop" else f"missing values: {fill}"
    return tuple(done), (f"{count} {what}",)


def _mended(
    table: Table, part: Part, roles: Roles, fill: Fill | None, missing: NDArray[np.bool_]
) -> Part:
    if fill is None:
        raise _missing_value(table, part, roles, missing)
    if fill == "drop":
        kept = ~missing.any(axis=1)
        if not kept.any():
            raise DataError(
                f"{table.source}: every row of {part.id} has a missing value, so fill='drop' "
                "leaves a sequence of length zero; take it out, or leave a column out with ignore="
            )
        return Part(part.id, part.rows[kept], part.times[kept], part.values[kept])
    part = replace(part, values=filled(part.values, part.times, fill))
    left = ~np.isfinite(part.values)
    if left.any():
        channel = int(np.flatnonzero(left.any(axis=0))[0])
        first = int(np.flatnonzero(left[:, channel])[0])
        why = "no value at all" if left[:, channel].all() else "no value before it"
        raise wrong_cell(
            table,
            roles.channels[channel],
            int(part.rows[first]),
            f"the value is missing and {part.id} has {why} to fill it with fill={fill!r}; "
            "leave the column out with ignore=, or the rows",
        )
    return part


def _missing_value(table: Table, part: Part, roles: Roles, missing: NDArray[np.bool_]) -> DataError:
    at, channel = (int(place) for place in np.argwhere(missing)[0])
    value = part.values[at, channel]
    what = "the value is missing" if np.isnan(value) else f"{value} is no finite number"
    more = f" ({missing.sum()} such cells)" if missing.sum() > 1 else ""
    return wrong_cell(
        table,
        roles.channels[channel],
        int(part.rows[at]),
        f"{what}{more}; write a number, or say fill='linear', 'previous' or 'drop'",
    )
