"""Ways of writing numbers: the decimal mark, separators of thousands, signs of money and percent.

A column keeps to one way. `1.113` alone may be a little more than one or over a thousand, so both
ways are followed until a cell contradicts one of them; what stays open is decided by the other
columns of the file, or refused with the option that settles it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from gatewright.data.columns.missing import NO_VALUE
from gatewright.errors import ArgumentError

Decimal = Literal[".", ","]

_SPACES = " \u00a0\u202f'’"  # separate thousands beside either decimal mark
_SEPARATORS = ".," + _SPACES
_SIGNS = "$€£¥₹%"
_SIGNED = re.compile(
    rf"(?P<minus>[+-]?)\s*(?P<before>[{_SIGNS}]?)\s*(?P<number>[^{_SIGNS}]*?)\s*(?P<after>[{_SIGNS}]?)"
)


@dataclass(frozen=True, slots=True)
class Numerals:
    """One way of writing numbers."""

    decimal: Decimal
    thousands: str  # every mark that may separate groups of three digits

    def number(self, text: str) -> float | None:
        """The number that a text is in this way of writing, or None.

        >>> COMMA.number("1.234,5"), POINT.number("1,234.5"), POINT.number("1.234,5")
        (1234.5, 1234.5, None)
        """
        match = _pattern(self).fullmatch(text)
        if match is None:
            return None
        if mark := match["mark"]:
            text = text.replace(mark, "")
        return float(text.replace(",", ".") if self.decimal == "," else text)


POINT = Numerals(".", "," + _SPACES)
COMMA = Numerals(",", "." + _SPACES)
BOTH = (POINT, COMMA)


@lru_cache(maxsize=64)
def _pattern(numerals: Numerals) -> re.Pattern[str]:
    mark = re.escape(numerals.decimal)
    groups = re.escape(numerals.thousands)
    fraction = rf"{mark}\d*" if numerals.decimal == "." else rf"{mark}\d+"
    plain = rf"(?:\d+(?:{fraction})?|{mark}\d+)(?:[eE][+-]?\d+)?"
    grouped = rf"[1-9]\d{{0,2}}(?P<mark>[{groups}])\d{{3}}(?:(?P=mark)\d{{3}})*(?:{mark}\d+)?"
    return re.compile(rf"[+-]?(?:{grouped}|{plain}|inf(?:inity)?)", re.ASCII | re.IGNORECASE)


def numerals_for(decimal: str | None, thousands: str | None) -> tuple[Numerals, ...]:
    """The ways of writing that these options leave; `ArgumentError` for what is no mark.

    >>> [ways.decimal for ways in numerals_for(None, ".")]
    [',']
    """
    if decimal not in (None, ".", ","):
        raise ArgumentError(f"decimal is {decimal!r}; expected '.' or ','")
    if thousands is None:
        return tuple(ways for ways in BOTH if decimal in (None, ways.decimal))
    if len(thousands) != 1 or thousands not in _SEPARATORS or thousands == decimal:
        marks = ", ".join(repr(mark) for mark in ".,' " if mark != decimal)
        raise ArgumentError(f"thousands is {thousands!r}; expected one of {marks}")
    marks = _SPACES if thousands == " " else thousands  # several characters look like a space
    return tuple(
        Numerals(ways.decimal, marks)
        for ways in BOTH
        if decimal in (None, ways.decimal) and thousands != ways.decimal
    )


def unsigned(text: str) -> tuple[str, str]:
    """A text without a sign of money or percent, and that sign.

    >>> unsigned("-$12.50"), unsigned("12 %"), unsigned("7")
    (('-12.50', '$'), ('12', '%'), ('7', ''))
    """
    text = text.replace("−", "-")  # the minus of typesetting
    match = _SIGNED.fullmatch(text)
    if match is None or bool(match["before"]) == bool(match["after"]):
        return text, ""
    return match["minus"] + match["number"], match["before"] or match["after"]


def number_of(cell: str, ways: tuple[Numerals, ...] = (POINT,)) -> float | None:
    """The number in a cell, NaN where it is missing, None where it is something else.

    >>> number_of(" 1.5e3 "), number_of("1,5", ways=(COMMA,)), number_of("1_000")
    (1500.0, 1.5, None)
    """
    text, _ = unsigned(cell.strip())
    if text.lower() in NO_VALUE:
        return float("nan")
    return next((value for way in ways if (value := way.number(text)) is not None), None)
