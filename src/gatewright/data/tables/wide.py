"""Wide tables: a row a series and a column a time, or a row a year, or a row a recording.

They are turned into long ones, in which each row is a step, and read like those from then on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gatewright.data.columns.column import Kind
from gatewright.data.columns.time_column import TimeCells
from gatewright.data.source.request import Request
from gatewright.data.tables.roles import LABEL_NAMES
from gatewright.data.tables.table import Loaded, Look, Table
from gatewright.errors import DataError

_LEAST_TIMES = 3  # columns named by times that make a table wide
_LEAST_STEPS = 8  # numbered columns that may be the steps of a recording
_YEAR = re.compile(r"[XYxy]?((?:1[6-9]|20|21)\d\d)(?: \[YR\d{4}\])?")  # also of R, the World Bank
_NUMBERED = re.compile(r"(.*?)(\d+)")
_OF_TIME = ("", "t", "t_", "t-", "time", "time_", "time ", "step", "step_", "step ", "timestep_")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_LONG_MONTHS = tuple(
    [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ]
)
_PARTS_OF_A_YEAR = (_MONTHS, _LONG_MONTHS, ("q1", "q2", "q3", "q4"))

TIME, VALUE, ROW = "time", "value", "row"  # the columns of the long table


@dataclass(frozen=True, slots=True)
class Shape:
    """The layout of a wide table."""

    columns: tuple[str, ...]  # those that hold the values, in order of time
    times: NDArray[Any]  # of each of them; within a year months, where `year` is a column
    note: str
    id: str | None  # the column that names each row's series; None: they are one, ROW: each its own
    year: str | None = None
    left_out: tuple[str, ...] = ()  # columns that are neither


def long(table: Table, request: Request) -> tuple[Table, Request]:
    """A wide table as a long one, and the request for it; other tables stay as they are."""
    if request.time not in (None, TIME) or TIME in table.looks:
        return table, request
    shape = (
        _row_a_recording(table, request)
        or _row_a_year(table, request)
        or _row_a_series(table, request)
    )
    if shape is None:
        return table, request
    ignore = (*request.ignore, *shape.left_out)
    return LongTable(table, shape), replace(request, id=shape.id, time=TIME, ignore=ignore)


class LongTable:
    """A wide table with a row for each of its values.

    What is missing before the first and after the last value of a row is not there.
    """

    def __init__(self, table: Table, shape: Shape) -> None:
        self._table, self._shape = table, shape
        self.source = table.source
        self.notes = (*table.notes, shape.note)
        own = {*shape.columns, shape.year}
        rest = {
            name: replace(look, named=False)
            for name, look in table.looks.items()
            if name not in own
        }
        kind: Kind = "time" if shape.times.dtype.kind in "mM" else "number"
        row = {ROW: Look("number")} if shape.id == ROW else {}
        self.looks: Mapping[str, Look] = {
            **row,
            **rest,
            TIME: Look(kind, (shape.columns[0],)),
            VALUE: Look("number"),
        }
        self._places: NDArray[np.int64] = np.empty(0, np.int64)  # in the rows × columns

    def row(self, at: int) -> str:
        """The row of the file, and the column in it."""
        row, column = divmod(int(self._places[at]), len(self._shape.columns))
        return f"{self._table.row(row)}, column {self._shape.columns[column]}"

    def load(self, kinds: Mapping[str, Kind]) -> Loaded:
        """Read these columns, each value of the others repeated for every step of its row."""
        shape = self._shape
        inner = {name: kind for name, kind in kinds.items() if name not in (TIME, VALUE, ROW)}
        values: dict[str, Kind] = dict.fromkeys(shape.columns, "number")
        year: dict[str, Kind] = {shape.year: "number"} if shape.year else {}
        loaded = self._table.load({**inner, **year, **values})
        grid = np.stack([loaded.columns[name] for name in shape.columns], axis=1)
        self._places = np.flatnonzero(_inside(grid, whole=shape.year is not None))
        rows, steps = np.divmod(self._places, len(shape.columns))
        columns: dict[str, Any] = {name: _at(loaded.columns[name], rows) for name in inner}
        columns[VALUE] = grid.ravel()[self._places]
        if shape.year is None:
            columns[TIME] = shape.times[steps]
        else:
            columns[TIME] = self._within_years(loaded.columns[shape.year], rows, steps)
        if shape.id == ROW:
            names = tuple(self._table.row(at) for at in range(len(grid)))
            columns[ROW] = rows, names
        return Loaded(
            {name: columns[name] for name in kinds}, loaded.notes, frozenset(), loaded.decimal
        )

    def _within_years(
        self, years: NDArray[Any], rows: NDArray[Any], steps: NDArray[Any]
    ) -> NDArray[Any]:
        wrong = ~((years >= 1678) & (years <= 2261))
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            raise DataError(
                f"{self.source}, {self._table.row(at)}, column {self._shape.year}: "
                f"{years[at]:g} is no year"
            )
        start = (years.astype(np.int64) - 1970).astype("datetime64[Y]").astype("datetime64[M]")
        return np.asarray((start[rows] + self._shape.times[steps]).astype("datetime64[ns]"))


def _at(column: Any, rows: NDArray[Any]) -> Any:
    return (column[0][rows], column[1]) if isinstance(column, tuple) else column[rows]


def _inside(grid: NDArray[np.float64], *, whole: bool) -> NDArray[np.bool_]:
    """Mark what lies between the first and the last value of each row, or of the whole."""
    there = ~np.isnan(grid.reshape(1, -1) if whole else grid)
    after = np.maximum.accumulate(there, axis=1)
    before = np.maximum.accumulate(there[:, ::-1], axis=1)[:, ::-1]
    return (after & before).reshape(grid.shape)


def _free(table: Table, request: Request) -> dict[str, Look]:
    taken = {name for names in request.columns.values() for name in names}
    return {name: look for name, look in table.looks.items() if name not in taken}


def _are_numbers(looks: Mapping[str, Look], names: list[str]) -> bool:
    return all(looks[name].kind in ("number", "nothing") for name in names)


def _row_a_series(table: Table, request: Request) -> Shape | None:
    free = _free(table, request)
    if request.task not in (None, "forecast") or any(k.kind == "time" for k in free.values()):
        return None
    years = {name: int(match[1]) for name in free if (match := _YEAR.fullmatch(name.strip()))}
    names = list(years) if len(years) >= _LEAST_TIMES else _named_by_times(free)
    timed = set(names)
    others = [name for name in table.looks if name not in timed]
    if len(names) < max(_LEAST_TIMES, len(others)) or not _are_numbers(free, names):
        return None
    times = np.array(list(years.values())) if years else _times_of(names)
    if times is None or not all(later > earlier for earlier, later in pairwise(times)):
        return None
    own = request.id or next(
        (name for name in others if table.looks[name].kind == "text" and table.looks[name].named),
        ROW,
    )
    what = "the row" if own == ROW else f"column {own}"
    note = (
        f"each row is read as a series, named by {what}, and each of the {len(names)} columns "
        f"{names[0]} to {names[-1]} as a time"
    )
    return Shape(tuple(names), times, note, own)


def _named_by_times(free: Mapping[str, Look]) -> list[str]:
    return [name for name in free if TimeCells().add([name.strip()], 0) is None and _has_year(name)]


def _has_year(name: str) -> bool:
    """Does a column's name hold four digits in a row that are no number of another kind?"""
    return bool(re.search(r"(?<!\d)\d{4}(?!\d)|(?<!\d)\d{8}(?!\d)", name)) and not name.isdigit()


def _times_of(names: list[str]) -> NDArray[Any] | None:
    column = TimeCells()
    cells = [name.strip() for name in names]
    return None if column.add(cells, 0) or column.problem() else np.asarray(column.done())


def _row_a_year(table: Table, request: Request) -> Shape | None:
    free = _free(table, request)
    if request.task not in (None, "forecast"):
        return None
    year = next((name for name in free if name.lower() == "year"), None)
    lower = {name.strip().lower(): name for name in free}
    parts = next((all_ for all_ in _PARTS_OF_A_YEAR if all(name in lower for name in all_)), None)
    if year is None or parts is None:
        return None
    names = [lower[part] for part in parts]
    if not _are_numbers(free, names):
        return None
    months = 12 // len(parts)
    times = np.arange(len(parts)) * np.timedelta64(months, "M")
    text = next(
        (name for name, look in free.items() if look.kind == "text" and not look.named), None
    )
    note = (
        f"each row is read as a year, and each of the columns {names[0]} to {names[-1]} as a time"
    )
    # Means of the year, of its seasons: they are made of the other columns.
    more = tuple(
        name for name, look in free.items() if look.kind == "number" and name not in (*names, year)
    )
    if more:
        note += f"; {', '.join(more[:5])}: left out"
    return Shape(tuple(names), times, note, request.id or text, year, more)


def _row_a_recording(table: Table, request: Request) -> Shape | None:
    """A label and numbered columns, and nothing else; or new data of which a model knows that."""
    free = _free(table, request)
    if request.task not in (None, "classify") or request.id not in (None, ROW):
        return None
    label = request.label or next((name for name in free if name.lower() in LABEL_NAMES), None)
    names = [name for name in free if name != label]
    if len(names) < _LEAST_STEPS or not _are_numbers(free, names):
        return None
    matches = [_NUMBERED.fullmatch(name.strip()) for name in names]
    numbers = [int(match[2][:9]) for match in matches if match is not None]
    prefixes = {match[1] for match in matches if match is not None}
    if len(numbers) < len(names) or len(prefixes) > 1:
        return None
    if numbers != list(range(numbers[0], numbers[0] + len(names))):
        return None
    if label is None and request.id != ROW and request.task != "classify":
        return None
    if request.task is None and prefixes.pop().lower() not in _OF_TIME:
        raise DataError(
            f"{table.source} has a label and the columns {names[0]} to {names[-1]}: a row may be a "
            f"recording of {len(names)} steps, or one step of {len(names)} channels; say "
            "task='classify' for the first or task='tag' for the second"
        )
    note = (
        f"each row is read as a recording, and each of the {len(names)} columns {names[0]} to "
        f"{names[-1]} as a step"
    )
    return Shape(tuple(names), np.arange(len(names)), note, ROW)
