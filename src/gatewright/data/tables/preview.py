"""Preview a column: its likely kind, and examples, from its first cells."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from gatewright.data.columns.column import kind_of
from gatewright.data.columns.missing import is_missing
from gatewright.data.columns.number_format import NUMBER_FORMATS, number_of
from gatewright.data.columns.time_format import is_unix_time, parse_time
from gatewright.data.tables.table import ColumnPreview

CLOCK = re.compile(r"(\d\d?)[:.h](\d\d)(?:[:.](\d\d)(?:\.\d+)?)?(?: ?([AaPp][Mm]))?", re.ASCII)
_DIGIT = re.compile(r"[0-9]")
_MAX_EXAMPLES = 5
_MANY_VALUES = 10  # different texts from which on a column may number its rows
_NAMED_SHARE = 0.9  # different cells per row from which on a column names its rows


def preview_column(cells: Sequence[str]) -> ColumnPreview:
    """Judge a column by its first cells."""
    kind = kind_of(cells)
    present = [cell.strip() for cell in cells if not is_missing(cell)]
    different = dict.fromkeys(present)
    number = kind == "number"
    return ColumnPreview(
        kind,
        tuple(different)[:_MAX_EXAMPLES],
        days=number and all(parse_time(cell, "yearmonthday") for cell in different),
        months=number and _are_months(tuple(different)),
        rises=number and _increase(present),
        unix=number
        and len(different) > 1
        and all(is_unix_time(cell) for cell in different)
        and _increase(present),
        clock=bool(present) and all(CLOCK.fullmatch(cell) for cell in different),
        numbered=len(different) >= _MANY_VALUES and all(_DIGIT.search(cell) for cell in different),
        named=len(present) > 1 and len(different) >= _NAMED_SHARE * len(present),
    )


def _are_months(cells: Sequence[str]) -> bool:
    """Return True for evenly spaced months like 199911, 199912, 200001, which cross a year's end.

    Numbers that only rise by 1 may be anything.
    """
    if not all(parse_time(cell, "yearmonth") for cell in cells):
        return False
    months = sorted(12 * int(cell[:4]) + int(cell[4:]) for cell in cells)
    steps = {later - earlier for earlier, later in pairwise(months)}
    return len(steps) == 1 and len({cell[:4] for cell in cells}) > 1


def _increase(cells: Sequence[str]) -> bool:
    """Return True if at most a tenth of the numbers falls, as times do from series to series."""
    numbers = [number for cell in cells if (number := number_of(cell, NUMBER_FORMATS)) is not None]
    if len(numbers) < len(cells):
        return False
    falls = sum(later < earlier for earlier, later in pairwise(numbers))
    return 10 * falls <= len(numbers)
