"""Lines around a table in a text file: titles above its header, units below it, notes at its end.

Instruments, spreadsheets and offices write such lines. They are left out, with a note.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Sequence

from gatewright.data.columns.column import kind_of
from gatewright.data.columns.missing import is_missing
from gatewright.data.columns.number_format import NUMBER_FORMATS, number_of
from gatewright.data.columns.time_format import could_be_time

SEPARATORS = ",;\t|"
#: Lines of a file that its form is judged by.
SAMPLE_LINES = 60
#: Most lines below the last row that are left out.
MAX_NOTES = 20
#: Rows that a header needs below it, to be found under other lines.
_MIN_ROWS = 3
#: Names of a row at the end that sums up the others.
_TOTALS = frozenset(
    {
        "total",
        "totals",
        "grand total",
        "sum",
        "average",
        "mean",
        "summe",
        "gesamt",
        "gesamtsumme",
        "insgesamt",
        "mittelwert",
        "totale",
        "somme",
        "suma",
    }
)


def split_line(line: str, separator: str) -> list[str]:
    """Split a line into cells; return none if the line is not valid with this separator."""
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


def find_table(lines: Sequence[str], separators: str = SEPARATORS) -> tuple[str, int]:
    """Return the separator of the cells, and the number of lines before the header.

    The table is in the longest block of lines without a blank one, where several lines have the
    same number of cells. Unless it has a header below other lines, it starts with the first line,
    and the most frequent separator in that line separates the cells.

    >>> find_table(["Station: Kew", "", "day,rain,wind", "1,2,3", "2,0,4", "3,1,1", "4,2,5"])
    (',', 2)
    """
    blocks = _blocks(lines)
    if not blocks:
        return separators[0], 0
    top = blocks[0][1][0]
    counts = {separator: len(split_line(top, separator)) for separator in separators}
    usual = max(counts, key=lambda separator: counts[separator])  # the first of equal ones
    above, block = max(blocks, key=lambda block: len(block[1]))
    widths = {len(split_line(line, usual)) for line in block[:2]}
    if above == blocks[0][0] and not _is_comment(top) and len(widths) == 1 and counts[usual] > 1:
        return usual, 0
    headers = {separator: _find_header(block, separator) for separator in separators}
    best = max(separators, key=lambda separator: headers[separator][1])
    start, rows = headers[best]
    below = above + start > blocks[0][0]
    return (best, above + start) if rows and below else (usual, 0)


def find_separator(lines: Sequence[str]) -> str | None:
    """Return the separator of a table's cells, or None if the lines are a text.

    A table has a header and, below it, lines with as many cells, of which a column has numbers and
    all have numbers or times if only spaces separate them.

    >>> find_separator(["year  rain", "2001    14", "2002     9", "2003    11"])
    ' '
    >>> find_separator(["It was late, and cold.", "He sat, and slept.", "She read, and slept."])
    """
    filled = [line for line in lines if line.strip()]
    for separator in ("\t", ";", "|", ",", " "):
        rows = [
            line.split() if separator == " " else split_line(line, separator) for line in filled
        ]
        if len(rows) <= _MIN_ROWS or len(rows[0]) < 2 or len({len(row) for row in rows}) > 1:
            continue
        header, *below = rows
        kinds = [kind_of(cells) for cells in zip(*below, strict=True)]
        enough = "number" in kinds and (separator != " " or "text" not in kinds)
        if enough and not any(map(_is_value, header)):
            return separator
    return None


def _blocks(lines: Sequence[str]) -> list[tuple[int, list[str]]]:
    """Return the lines between blank ones, each block with the number of lines before it."""
    blocks: list[tuple[int, list[str]]] = []
    for number, line in enumerate(lines):
        if line.strip() and number and blocks and lines[number - 1].strip():
            blocks[-1][1].append(line)
        elif line.strip():
            blocks.append((number, [line]))
    return blocks


def _find_header(block: Sequence[str], separator: str) -> tuple[int, int]:
    """Return the line from which on all have as many cells, and the number of such lines, or 0."""
    widths = [len(split_line(line, separator)) for line in block]
    width = Counter(widths).most_common(1)[0][0]
    start = next(k for k, other in enumerate(widths) if other == width)
    while start + 1 < len(block) and _is_comment(block[start]):
        start += 1
    # Notes below a short table are judged later, by `are_notes`.
    rows = next((k for k, other in enumerate(widths[start:]) if other != width), len(block) - start)
    is_header = width > 1 and not _is_value(split_line(block[start], separator)[0])
    return start, rows if is_header and rows > _MIN_ROWS else 0


def _is_comment(line: str) -> bool:
    """Return True for a line like "# Station: Kew"; "#day,rain" may be a header."""
    return line.startswith(("# ", "## ", "//"))


def lacks_a_name(lines: Sequence[str], separator: str) -> bool:
    """Return True if all rows have one cell more than the header, as R writes the rows' names.

    >>> lacks_a_name(["day,x", "1,2024-01-01,5", "2,2024-01-02,6", "3,2024-01-03,4"], ",")
    True
    """
    widths = [len(split_line(line, separator)) for line in lines if line.strip()]
    if len(widths) <= _MIN_ROWS:
        return False
    return widths[0] > 1 and set(widths[1:]) == {widths[0] + 1}


def are_units(
    first: Sequence[str], rows: Sequence[Sequence[str]], below_units: bool = False
) -> bool:
    """Return True if the first row has units, such as °C, of numbers below it, and no values.

    Below another such row it may have a single text, as pandas writes the name of the index.

    >>> are_units(["", "°C"], [["2024-01-01", "3.5"], ["2024-01-02", "4.5"], ["2024-01-03", "2"]])
    True
    """
    if len(rows) < _MIN_ROWS or any(_is_value(cell) for cell in first):
        return False
    if below_units and [cell for cell in first if cell.strip()] == [first[0]]:
        return True
    columns = zip(first, zip(*rows, strict=True), strict=True)
    return any(
        not is_missing(unit) and any(map(_is_value, cells)) and kind_of(cells) == "number"
        for unit, cells in columns
    )


def _is_value(cell: str) -> bool:
    number = number_of(cell, NUMBER_FORMATS)
    if number is not None:
        return not math.isnan(number)
    return could_be_time(cell.strip())


def are_notes(rows: Sequence[Sequence[str]], width: int) -> bool:
    """Return True if these last lines of a file begin with text and have fewer cells than rows."""
    if len(rows) > MAX_NOTES:
        return False
    filled = [[cell for cell in row if cell.strip()] for row in rows]
    return all(not row or (len(row) < width and not _is_value(row[0])) for row in filled)


def is_total(row: Sequence[str]) -> bool:
    """Return True if a row is called "Total" or so, by its first cell that is not empty.

    >>> is_total(["Total:", "1,234"]), is_total(["", "Sum", "5"]), is_total(["2024-12", "99"])
    (True, True, False)
    """
    name = next(filter(None, map(str.strip, row)), "")
    return name.rstrip(":").strip().lower() in _TOTALS
