"""Choose one number format for each column of a file, if the cells allow several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gatewright.data.columns.number_column import Fault, NumberColumn
from gatewright.data.columns.number_format import NumberFormat, number_of

_MAX_COLUMNS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class FormatChoice:
    """The result for a whole file: a fault, or notes and the decimal mark."""

    fault: tuple[str, Fault] | None = None  # a column, and its row with what is wrong
    notes: tuple[str, ...] = ()
    decimal: str | None = None  # the mark with which later files of this origin must be read


def choose_formats(
    columns: Mapping[str, Any], *, separator: str = ",", dotted_dates: bool = False
) -> FormatChoice:
    """Choose one number format for each column of numbers of a file.

    Args:
        columns: The columns of the file, of any kind.
        separator: The character between the cells; "," for sources that have none.
        dotted_dates: True if dates are written like 31.12.2024.
    """
    numbers = {name: column for name, column in columns.items() if isinstance(column, NumberColumn)}
    certain: set[str] = {
        column.number_formats[0].decimal
        for column in numbers.values()
        if len(column.number_formats) == 1
    }
    notes = []
    for name, column in numbers.items():
        number_format, reason = column.number_formats[0], ""
        if column.ambiguous is not None:
            row, cell = column.ambiguous
            chosen, reason = _choose(column, certain, separator, dotted_dates)
            if chosen is None:
                return FormatChoice((name, (row, _question(cell, column.number_formats))))
            number_format = chosen
        column.use_format(number_format)
        if reason and (number_format.decimal == "," or "," in cell):
            value = _value_text(cell, number_format)
            notes.append(f"column {name}: {cell!r} is read as {value}, {reason}")
    marked = {name: column for name, column in numbers.items() if column.has_mark}
    marks = {column.number_formats[0].decimal for column in marked.values()}
    commas = [name for name, column in marked.items() if column.number_formats[0].decimal == ","]
    if commas:
        notes.append(f"the decimal mark is a comma ({_list(commas)})")
    return FormatChoice(
        notes=tuple(notes),
        decimal=marks.pop() if len(marks) == 1 and (commas or separator == ";") else None,
    )


def _choose(
    column: NumberColumn, certain: set[str], separator: str, dotted_dates: bool
) -> tuple[NumberFormat | None, str]:
    """Choose the format of an ambiguous column, with the reason; None if nothing decides it."""
    point, comma = column.number_formats
    if certain == {"."}:
        return point, "as other columns have a decimal point"
    if certain == {","}:
        return comma, "as other columns have a decimal comma"
    if certain:
        return None, ""
    if separator == "," or (separator != ";" and not column.has_whole and not dotted_dates):
        return point, "as is usual where commas or tabs separate the cells"
    if separator == ";" and dotted_dates and column.has_whole:
        return comma, "as every mark has three digits after it and dates are written with points"
    return None, ""


def _question(cell: str, number_formats: tuple[NumberFormat, ...]) -> str:
    meanings = " or ".join(
        f"{_value_text(cell, number_format)} (decimal={number_format.decimal!r})"
        for number_format in number_formats
    )
    return f"{cell!r} may be {meanings}, and no other cell decides it; say which with decimal="


def _value_text(cell: str, number_format: NumberFormat) -> str:
    return f"{number_of(cell, (number_format,)):.15g}"


def _list(names: Iterable[str]) -> str:
    names = list(names)
    more = ", ..." if len(names) > _MAX_COLUMNS_SHOWN else ""
    return ", ".join(names[:_MAX_COLUMNS_SHOWN]) + more
