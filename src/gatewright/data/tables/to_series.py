"""Build time series from the parts of a table: their step, gaps, future and static values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gatewright.data.calendar.periods import Period, Step, say_period, season_of, step_numbers
from gatewright.data.calendar.regular import find_gaps, find_period, without_gaps
from gatewright.data.calendar.snapping import snapped
from gatewright.data.columns.missing import MAX_FILLED, Fill, fill_missing
from gatewright.data.containers.series import Series
from gatewright.data.source.request import Roles
from gatewright.data.tables.parts import TablePart, repair, say_time
from gatewright.data.tables.table import Columns, Table, wrong_cell
from gatewright.errors import DataError

_MAX_INSERTED = 10  # steps inserted per row of the table; more of them mean a wrong time


def build_series(
    table: Table,
    parts: tuple[TablePart, ...],
    columns: Columns,
    roles: Roles,
    name: str,
    fill: Fill | None,
) -> tuple[Series, tuple[str, ...], tuple[str, ...]]:
    """Return the series, notes on its step, and notes on inserted steps and repaired values."""
    static, static_names = _static(table, parts, columns, roles)
    ends = [_end_of_history(table, part, roles) for part in parts]
    notes: tuple[str, ...] = ()
    if fill == "drop":
        parts, ends, notes = _drop_incomplete(table, parts, ends, roles)
    period, parts, period_notes, gap_notes = _period(table, parts, roles, fill)
    if fill != "drop" and period is not None:
        parts, ends = _insert_steps(parts, ends, period)
    history = tuple(part.select(slice(0, end)) for part, end in zip(parts, ends, strict=True))
    if max(len(part.rows) for part in history) < 2:
        raise DataError(
            f"{table.source} has one step in each series; expected at least two for a forecast"
        )
    history, fill_notes = repair(table, history, roles, fill)
    future = None
    if roles.known:
        after = tuple(part.select(slice(end, None)) for part, end in zip(parts, ends, strict=True))
        future = _future(table, after, roles, fill)
    return (
        Series(
            ids=tuple(part.id for part in history),
            times=tuple(part.times for part in history),
            values=tuple(part.values for part in history),
            channels=roles.channels,
            targets=roles.targets,
            known=roles.known,
            future=future,
            static=static,
            static_names=static_names,
            period=period,
            steps_a_season=season_of(period),
            name=name,
        ),
        period_notes,
        notes + gap_notes + fill_notes,
    )


def _target_positions(roles: Roles) -> list[int]:
    targets = roles.targets or tuple(name for name in roles.channels if name not in roles.known)
    return [roles.channels.index(name) for name in targets]


def _end_of_history(table: Table, part: TablePart, roles: Roles) -> int:
    """Return the number of rows up to the last one with a target; the rest is the known future."""
    if not roles.known:
        return len(part.rows)
    targets = _target_positions(roles)
    if not targets:
        raise DataError(
            f"every channel of {table.source} is known: nothing is left to forecast; take at "
            "least one out of known="
        )
    with_target = np.flatnonzero(~np.isnan(part.values[:, targets]).all(axis=1))
    if not len(with_target):
        raise DataError(
            f"{table.source} has no value of a target for {part.id}; expected at least two steps "
            "with one"
        )
    return int(with_target[-1]) + 1


def _drop_incomplete(
    table: Table, parts: tuple[TablePart, ...], ends: list[int], roles: Roles
) -> tuple[tuple[TablePart, ...], list[int], tuple[str, ...]]:
    """Leave out rows of the history with a missing value; the future stays as it is."""
    history = tuple(part.select(slice(0, end)) for part, end in zip(parts, ends, strict=True))
    complete, notes = repair(table, history, roles, "drop")
    joined = []
    for part, end, own in zip(parts, ends, complete, strict=True):
        after = part.select(slice(end, None))
        both = TablePart(
            part.id,
            np.concatenate([own.rows, after.rows]),
            np.concatenate([own.times, after.times]),
            np.concatenate([own.values, after.values]),
        )
        # Without a time column the time of a step is its position.
        joined.append(both if roles.time else replace(both, times=np.arange(len(both.rows))))
    return tuple(joined), [len(part.rows) for part in complete], notes


def _period(
    table: Table, parts: tuple[TablePart, ...], roles: Roles, fill: Fill | None
) -> tuple[Period, tuple[TablePart, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the regular step, the parts with even times, notes, and those on inserted steps.

    Raises `DataError` for gaps that `fill` does not repair.
    """
    period, irregular = find_period([part.times for part in parts])
    notes: tuple[str, ...] = ()
    if irregular is not None:
        even = snapped([part.times for part in parts])
        period = None if even is None else find_period(even)[0]
        if even is None or period is None:
            return None, parts, (_uneven(table, parts, *irregular),), ()
        off = max(np.abs(own - part.times).max() for own, part in zip(even, parts, strict=True))
        notes = (
            f"the times are moved to even steps of {say_period(period)}, by at most "
            f"{_say_duration(off)}",
        )
        parts = tuple(replace(part, times=own) for own, part in zip(even, parts, strict=True))
    gaps = [
        (part, gap) for part in parts if period is not None for gap in find_gaps(part.times, period)
    ]
    if not gaps or period is None:
        return period, parts, notes, ()
    steps = sum(gap.steps for _, gap in gaps)
    rows = sum(len(part.rows) for part in parts)
    if fill == "drop":
        missing = f"{steps} steps of {say_period(period)} are missing: times are irregular"
        return None, parts, (*notes, missing), ()
    part, gap = gaps[0]
    fact = (
        f"{gap.steps} step{'s' if gap.steps > 1 else ''} of {say_period(period)} "
        f"{'are' if gap.steps > 1 else 'is'} missing between "
        f"{say_time(part.times[gap.after])} ({table.row(int(part.rows[gap.after]))}) and "
        f"{say_time(part.times[gap.after + 1])}"
    )
    if len(gaps) > 1:
        fact += f", and there are {len(gaps) - 1} more gaps"
    assert roles.time is not None  # steps without times have no gaps
    row = int(part.rows[gap.after + 1])
    if fill is None and steps <= MAX_FILLED * (rows + steps):
        inserted = f"{steps} step{'s are' if steps > 1 else ' is'} inserted and interpolated"
        return period, parts, notes, (f"{fact}: {inserted}; fill= sets another way",)
    if fill is None:
        hint = "add the rows, or have them inserted with fill='linear' or 'previous'"
        raise wrong_cell(table, roles.time, row, f"{fact}; {hint}")
    if steps > _MAX_INSERTED * rows:
        hint = f"expected at most {_MAX_INSERTED} times as many as rows: is a time wrong?"
        raise wrong_cell(table, roles.time, row, f"{fact}, {steps} steps in all; {hint}")
    return period, parts, notes, (f"{fact}: {steps} steps inserted by fill={fill!r}",)


def _say_duration(duration: np.timedelta64) -> str:
    """Write a duration in its largest usual unit.

    >>> _say_duration(np.timedelta64(36, "h")), _say_duration(np.timedelta64(2, "ms"))
    ('1.5 days', '0.002 seconds')
    """
    seconds = duration / np.timedelta64(1, "s")
    units = (("day", 86_400), ("hour", 3600), ("minute", 60), ("second", 1))
    unit, size = next((pair for pair in units if seconds >= pair[1]), units[-1])
    return f"{seconds / size:.3g} {unit}{'' if seconds == size else 's'}"


def _uneven(table: Table, parts: Sequence[TablePart], number: int, step: int) -> str:
    part = parts[number]
    return (
        f"the times are irregular: {say_time(part.times[step + 1])} follows "
        f"{say_time(part.times[step])} ({table.row(int(part.rows[step + 1]))}), which is not "
        "a multiple of the usual step"
    )


def _insert_steps(
    parts: tuple[TablePart, ...], ends: list[int], period: Step
) -> tuple[tuple[TablePart, ...], list[int]]:
    """Insert the missing steps, with NaN for their values; return the parts and their new ends."""
    complete, new_ends = [], []
    for part, end in zip(parts, ends, strict=True):
        times, numbers = without_gaps(part.times, period), step_numbers(part.times, period)
        rows = np.full(len(times), -1, dtype=np.int64)
        values = np.full((len(times), part.values.shape[1]), np.nan)
        rows[numbers], values[numbers] = part.rows, part.values
        complete.append(TablePart(part.id, rows, times, values))
        new_ends.append(int(numbers[end - 1]) + 1)
    return tuple(complete), new_ends


def _future(
    table: Table, after: tuple[TablePart, ...], roles: Roles, fill: Fill | None
) -> tuple[NDArray[np.float64], ...]:
    """Return the known channels in the rows after the history, (F, K) per series."""
    known = [roles.channels.index(name) for name in roles.known]
    futures = []
    for part in after:
        values = part.values[:, known]
        if fill in ("linear", "previous"):
            values = fill_missing(values, part.times, fill)
        missing = np.argwhere(~np.isfinite(values))
        if len(missing):
            row, channel = int(missing[0][0]), roles.known[missing[0][1]]
            message = (
                "the value is missing in a row of the future, where it must be known; write it"
            )
            raise wrong_cell(table, channel, int(part.rows[row]), message)
        futures.append(values)
    return tuple(futures)


def _static(
    table: Table, parts: tuple[TablePart, ...], columns: Columns, roles: Roles
) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    """Return the static values (N, S) and their names; text is encoded as 0 or 1 per value."""
    arrays, names = [], []
    for name in roles.static:
        column = columns[name]
        if isinstance(column, tuple):
            codes, texts = column
            # NaN for a missing text, as for a missing number.
            numbers = np.where(codes < 0, np.nan, codes.astype(np.float64))
            values = np.array([_constant(table, name, part, numbers) for part in parts])
            arrays += [(values == code).astype(np.float64) for code in range(len(texts))]
            names += [f"{name}={text}" for text in texts]
        else:
            arrays.append(np.array([_constant(table, name, part, column) for part in parts]))
            names.append(name)
    return (np.stack(arrays, axis=1), tuple(names)) if arrays else (None, ())


def _constant(table: Table, name: str, part: TablePart, values: NDArray[np.float64]) -> float:
    """Return the value of a static column in a part, where its cells are the same or missing."""
    own = values[part.rows]
    present = np.flatnonzero(np.isfinite(own))
    if not len(present):
        message = f"the value is missing in every row of {part.id}; write it"
        raise wrong_cell(table, name, int(part.rows[0]), message)
    different = present[own[present] != own[present[0]]]
    if len(different):
        message = f"a static column changes within {part.id}; take it out of static="
        raise wrong_cell(table, name, int(part.rows[different[0]]), message)
    return float(own[present[0]])
