"""The result of a measurement that compares no pairs: rows, their table, and JSON."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gatewright.bench.machine import machine
from gatewright.escaping import terminal_text

if TYPE_CHECKING:
    from rich.console import Group

#: A column's title, and the text of its value in a row.
Column = tuple[str, Callable[[dict[str, Any]], str]]


@dataclass
class Measurement:
    """Rows of figures.

    Attributes:
        what: "build", "memory", "curves" or "stream".
        title: The table's title.
        columns: The table's columns; `rows` hold more than they show.
        notes: The conclusions, as sentences under the table.
        wrong: Pairs that do not compute the same and were not timed, each with the reason.
        page: The figures as pictures, in HTML; empty where there are none.
    """

    what: str
    title: str
    columns: Sequence[Column]
    rows: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    wrong: list[dict[str, Any]] = field(default_factory=list)
    machine: dict[str, Any] = field(default_factory=machine)
    page: str = ""

    def to_json(self) -> dict[str, Any]:
        """All rows, with the machine."""
        return {
            "format": 1,
            "what": self.what,
            "machine": self.machine,
            "rows": self.rows,
            "notes": self.notes,
            "wrong": self.wrong,
        }

    def to_rich(self) -> Group:
        """The table, the notes and the machine, to be printed by rich."""
        from rich.console import Group
        from rich.table import Table

        table = Table(title=self.title)
        for title, _ in self.columns:
            table.add_column(title, no_wrap=True)
        for row in self.rows:
            table.add_row(*(terminal_text(text_of(row)) for _, text_of in self.columns))
        wrong = [f"WRONG, not timed: {pair['reason']}" for pair in self.wrong]
        return Group(
            table, *self.notes, *wrong, f"{self.machine['cpu']}, {self.machine['cores']} cores"
        )


def text(key: str) -> Column:
    """A column of words."""
    return key, lambda row: str(row[key])


def figure(title: str, key: str, factor: float, form: str) -> Column:
    """A column of figures, each multiplied by `factor` and formatted as `form`."""
    return title, lambda row: "–" if row.get(key) is None else format(row[key] * factor, form)
