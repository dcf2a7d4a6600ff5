"""Number formats: the decimal mark, thousands separators, signs of currencies and percent.

A column uses one format. `1.113` may be a little more than one or more than a thousand, so both
formats are tried until a cell rules one of them out. If both remain, the other columns of the
file decide (see `choose_format`); otherwise the file is refused and the user is asked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from gatewright.data.columns.missing import NO_VALUE
from gatewright.errors import ArgumentError

DecimalMark = Literal[".", ","]

_SPACES = " \u00a0\u202f'’"  # thousands separators that go with either decimal mark
_SEPARATORS = ".," + _SPACES
_SIGNS = "$€£¥₹%"
_SIGNED = re.compile(
    rf"(?P<minus>[+-]?)\s*(?P<before>[{_SIGNS}]?)\s*(?P<number>[^{_SIGNS}]*?)\s*(?P<after>[{_SIGNS}]?)"
)
_BRACKETS = re.compile(rf"([{_SIGNS}]?)\s*\(\s*([{_SIGNS}\d][^()+-]*)\)")


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """One format of numbers: a decimal mark and the thousands separators that go with it."""

    decimal: DecimalMark
    thousands: str  # every character that may separate groups of three digits

    def number(self, text: str) -> float | None:
        """Convert a text in this format to a number; None if it is not in this format.

        >>> COMMA.number("1.234,5"), POINT.number("1,234.5"), POINT.number("1.234,5")
        (1234.5, 1234.5, None)
        """
        match = _pattern(self).fullmatch(text)
        if match is None:
            return None
        if separator := match["separator"]:
            text = text.replace(separator, "")
        return float(text.replace(",", ".") if self.decimal == "," else text)


POINT = NumberFormat(".", "," + _SPACES)
COMMA = NumberFormat(",", "." + _SPACES)
NUMBER_FORMATS = (POINT, COMMA)


@lru_cache(maxsize=64)
def _pattern(number_format: NumberFormat) -> re.Pattern[str]:
    mark = re.escape(number_format.decimal)
    separators = re.escape(number_format.thousands)
    fraction = rf"{mark}\d*" if number_format.decimal == "." else rf"{mark}\d+"
    plain = rf"(?:\d+(?:{fraction})?|{mark}\d+)(?:[eE][+-]?\d+)?"
    # A group of thousands never starts with 0, so 0.113 has a decimal point.
    grouped = (
        rf"[1-9]\d{{0,2}}(?P<separator>[{separators}])\d{{3}}"
        rf"(?:(?P=separator)\d{{3}})*(?:{mark}\d+)?"
    )
    return re.compile(rf"[+-]?(?:{grouped}|{plain}|inf(?:inity)?)", re.ASCII | re.IGNORECASE)


def number_formats_for(decimal: str | None, thousands: str | None) -> tuple[NumberFormat, ...]:
    """Return the formats that agree with these options.

    Raises `ArgumentError` if an option is not one of the known marks.

    >>> [number_format.decimal for number_format in number_formats_for(None, ".")]
    [',']
    """
    if decimal not in (None, ".", ","):
        raise ArgumentError(f"decimal is {decimal!r}; expected '.' or ','")
    if thousands is None:
        return tuple(known for known in NUMBER_FORMATS if decimal in (None, known.decimal))
    if len(thousands) != 1 or thousands not in _SEPARATORS or thousands == decimal:
        marks = ", ".join(repr(mark) for mark in ".,' " if mark != decimal)
        raise ArgumentError(f"thousands is {thousands!r}; expected one of {marks}")
    separators = _SPACES if thousands == " " else thousands  # several characters look like a space
    return tuple(
        NumberFormat(known.decimal, separators)
        for known in NUMBER_FORMATS
        if decimal in (None, known.decimal) and thousands != known.decimal
    )


def split_sign(text: str) -> tuple[str, str]:
    """Return the text without its sign of a currency or percent, and that sign.

    Accountants write -7 as (7).

    >>> split_sign("-$12.50"), split_sign("12 %"), split_sign("(7)")
    (('-12.50', '$'), ('12', '%'), ('-7', ''))
    """
    text = text.replace("−", "-")  # the typographic minus
    if match := _BRACKETS.fullmatch(text):
        text = "-" + (match[1] + match[2]).strip()
    match = _SIGNED.fullmatch(text)
    if match is None or bool(match["before"]) == bool(match["after"]):
        return text, ""
    return match["minus"] + match["number"], match["before"] or match["after"]


def number_of(cell: str, number_formats: tuple[NumberFormat, ...] = (POINT,)) -> float | None:
    """Convert a cell to a number: NaN if it is missing, None if it is something else.

    >>> number_of(" 1.5e3 "), number_of("1,5", number_formats=(COMMA,)), number_of("1_000")
    (1500.0, 1.5, None)
    """
    text, _ = split_sign(cell.strip())
    if text.lower() in NO_VALUE:
        return float("nan")
    numbers = (number_format.number(text) for number_format in number_formats)
    return next((number for number in numbers if number is not None), None)
