"""From the parts of a table to time series: their step, their gaps, their future."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from gatewright.data.calendar.periods import Period, Step, say_period, season_of, step_numbers
from gatewright.data.calendar.regular import find_gaps, find_period, without_gaps
from gatewright.data.columns.missing import Fill, filled
from gatewright.data.containers.series import Series
from gatewright.data.source.request import Roles
from gatewright.data.tables.parts import Part, repaired, say_time
from gatewright.data.tables.table import Columns, Table, wrong_cell
from gatewright.errors import DataError

_MOST_PUT_IN = 10  # steps that may be put in for each row that is there: more is a wrong time


def build_series(
    table: Table,
    parts: tuple[Part, ...],
    columns: Columns,
    roles: Roles,
    name: str,
    fill: Fill | None,
) -> tuple[Series, tuple[str, ...]]:
    """The series, and notes on what was found and repaired on the way."""
    static, static_names = _static(table, parts, columns, roles)
    ends = [_end_of_history(table, part, roles) for part in parts]
    notes: tuple[str, ...] = ()
    if fill == "drop":
        parts, ends, notes = _dropped(table, parts, ends, roles)
    period, told = _period(table, parts, roles, fill)
    notes += told
    if fill in ("linear", "previous") and period is not None:
        parts, ends = _put_in(parts, ends, period)
    history = tuple(_rows(part, slice(0, end)) for part, end in zip(parts, ends, strict=True))
    if max(len(part.rows) for part in history) < 2:
        raise DataError(
            f"{table.source} has one step in each series; expected at least two for a forecast"
        )
    history, told = repaired(table, history, roles, fill)
    future = None
    if roles.known:
        after = tuple(_rows(part, slice(end, None)) for part, end in zip(parts, ends, strict=True))
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
        notes + told,
    )


def _rows(part: Part, which: slice | NDArray[np.bool_]) -> Part:
    return Part(part.id, part.rows[which], part.times[which], part.values[which])


def _targets(roles: Roles) -> list[int]:
    named = roles.targets or tuple(name for name in roles.channels if name not in roles.known)
    return [roles.channels.index(name) for name in named]


def _end_of_history(table: Table, part: Part, roles: Roles) -> int:
    """Where the rows begin that hold known channels alone: the future of what is known."""
    if not roles.known:
        return len(part.rows)
    if not _targets(roles):
        raise DataError(f"every channel of {table.source} is known: nothing is left to forecast")
    there = np.flatnonzero(~np.isnan(part.values[:, _targets(roles)]).all(axis=1))
    if not len(there):
        raise DataError(f"{table.source} holds no value of a target for {part.id}")
    return int(there[-1]) + 1


def _dropped(
    table: Table, parts: tuple[Part, ...], ends: list[int], roles: Roles
) -> tuple[tuple[Part, ...], list[int], tuple[str, ...]]:
    """The parts without the rows of their history in which something is missing."""
    history = tuple(_rows(part, slice(0, end)) for part, end in zip(parts, ends, strict=True))
    kept, notes = repaired(table, history, roles, "drop")
    joined = []
    for part, end, own in zip(parts, ends, kept, strict=True):
        after = _rows(part, slice(end, None))
        both = Part(
            part.id,
            np.concatenate([own.rows, after.rows]),
            np.concatenate([own.times, after.times]),
            np.concatenate([own.values, after.values]),
        )
        # Without a time column a step is where it stands.
        joined.append(both if roles.time else replace(both, times=np.arange(len(both.rows))))
    return tuple(joined), [len(part.rows) for part in kept], notes


def _period(
    table: Table, parts: tuple[Part, ...], roles: Roles, fill: Fill | None
) -> tuple[Period, tuple[str, ...]]:
    """The regular step. Gaps in it are a `DataError`, unless they are to be repaired."""
    period, odd = find_period([part.times for part in parts])
    if odd is not None:
        part, at = parts[odd[0]], odd[1]
        return None, (
            f"the times are irregular: {say_time(part.times[at + 1])} follows "
            f"{say_time(part.times[at])} ({table.row(int(part.rows[at + 1]))}), which is no "
            "multiple of the usual step",
        )
    gaps = [
        (part, gap) for part in parts if period is not None for gap in find_gaps(part.times, period)
    ]
    if not gaps or period is None:
        return period, ()
    steps = sum(gap.steps for _, gap in gaps)
    if fill == "drop":
        return None, (f"{steps} steps of {say_period(period)} are not there: times are irregular",)
    part, gap = gaps[0]
    found = (
        f"{gap.steps} step{'s' if gap.steps > 1 else ''} of {say_period(period)} "
        f"{'are' if gap.steps > 1 else 'is'} missing between "
        f"{say_time(part.times[gap.after])} ({table.row(int(part.rows[gap.after]))}) and "
        f"{say_time(part.times[gap.after + 1])}"
    )
    if len(gaps) > 1:
        found += f", and there are {len(gaps) - 1} more gaps"
    assert roles.time is not None
    row = int(part.rows[gap.after + 1])
    if fill is None:
        hint = "add the rows, or have them put in with fill='linear' or 'previous'"
        raise wrong_cell(table, roles.time, row, f"{found}; {hint}")
    if steps > _MOST_PUT_IN * sum(len(part.rows) for part in parts):
        hint = f"expected at most {_MOST_PUT_IN} times as many as rows: is a time wrong?"
        raise wrong_cell(table, roles.time, row, f"{found}, {steps} steps in all; {hint}")
    return period, (f"{found}: {steps} steps put in by fill={fill!r}",)


def _put_in(
    parts: tuple[Part, ...], ends: list[int], period: Step
) -> tuple[tuple[Part, ...], list[int]]:
    """The parts with a step, and nothing in it yet, wherever one is missing."""
    whole, moved = [], []
    for part, end in zip(parts, ends, strict=True):
        times, numbers = without_gaps(part.times, period), step_numbers(part.times, period)
        rows = np.full(len(times), -1, dtype=np.int64)
        values = np.full((len(times), part.values.shape[1]), np.nan)
        rows[numbers], values[numbers] = part.rows, part.values
        whole.append(Part(part.id, rows, times, values))
        moved.append(int(numbers[end - 1]) + 1)
    return tuple(whole), moved


def _future(
    table: Table, after: tuple[Part, ...], roles: Roles, fill: Fill | None
) -> tuple[NDArray[np.float64], ...]:
    """The known channels of the rows after the last one, none of them missing."""
    known = [roles.channels.index(name) for name in roles.known]
    futures = []
    for part in after:
        values = part.values[:, known]
        if fill in ("linear", "previous"):
            values = filled(values, part.times, fill)
        wrong = np.argwhere(~np.isfinite(values))
        if len(wrong):
            row, channel = int(wrong[0][0]), roles.known[wrong[0][1]]
            what = "the value is missing in a row of the future, where it is to be known; write it"
            raise wrong_cell(table, channel, int(part.rows[row]), what)
        futures.append(values)
    return tuple(futures)


def _static(
    table: Table, parts: tuple[Part, ...], columns: Columns, roles: Roles
) -> tuple[NDArray[np.float64] | None, tuple[str, ...]]:
    """(N, S) and the S names; a text becomes one 0 or 1 for each value that it takes."""
    arrays, names = [], []
    for name in roles.static:
        column = columns[name]
        texts = column[1] if isinstance(column, tuple) else ()
        values = column[0].astype(np.float64) if isinstance(column, tuple) else column
        missing = -1.0 if isinstance(column, tuple) else np.nan
        found = np.array([_constant(table, name, part, values, missing) for part in parts])
        if texts:
            arrays += [(found == code).astype(np.float64) for code in range(len(texts))]
            names += [f"{name}={text}" for text in texts]
        else:
            arrays.append(found)
            names.append(name)
    return (np.stack(arrays, axis=1), tuple(names)) if arrays else (None, ())


def _constant(
    table: Table, name: str, part: Part, values: NDArray[np.float64], missing: float
) -> float:
    own = values[part.rows]
    there = np.flatnonzero(np.isfinite(own) & (own != missing))
    if not len(there):
        what = f"the value is missing in every row of {part.id}; write it"
        raise wrong_cell(table, name, int(part.rows[0]), what)
    other = there[own[there] != own[there[0]]]
    if len(other):
        what = f"a static column changes within {part.id}; take it out of static="
        raise wrong_cell(table, name, int(part.rows[other[0]]), what)
    return float(own[there[0]])
